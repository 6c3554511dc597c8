internal import Handshake
internal import Keyrings
internal import Policy
package import Settings
internal import System
internal import Unconfined

/// The settings in force, their files, and the detection of changes.
struct Configuration {
    private(set) var settings: DaemonSettings
    private(set) var source: ConfigurationSource
    /// Drop-in files in use.
    private(set) var dropIns: [String]
    /// Reason why the current files are not in force; empty if they are.
    var problem: String { files.problem.isEmpty ? refusal : "\(files.problem); \(consequence)" }
    private var refusal = ""
    private var consequence: String { "the settings from \(source) stay in force" }
    /// Problems of the settings in force: files that were ignored, lines without effect.
    private(set) var complaints: [String]
    private let search: ConfigurationSearch
    private let commandLineLevel: Int?
    private var seen: SettingsFiles.Seen?
    var files: FileWatch<ConfigurationSearch, SettingsFiles.Snapshot?>

    /// Reads the settings for the first time.
    ///
    /// - Parameter obstacle: for tests, see `FileWatch`.
    /// - Throws: An error if they cannot be used or do not answer: without settings it is unknown which peers to
    ///   refuse.
    init(
        options: DaemonOptions, log: DaemonLog, threads: FileThreads = FileThreads(),
        obstacle: (@Sendable (String) -> Void)? = nil
    ) throws {
        search = ConfigurationSearch(explicitPath: options.configuration)
        files = FileWatch(threads)
        files.obstacle = obstacle
        commandLineLevel = options.logLevel
        settings = DaemonSettings()
        source = .defaults
        dropIns = []
        complaints = []
        for notice in options.notices { log.notice(notice) }
        guard let snapshot = look(force: true, patience: FilePatience.start) else { throw TextError(files.problem) }
        seen = snapshot.seen
        let loaded = try search.load(read: snapshot.read, list: snapshot.list)
        settings = loaded.settings
        source = loaded.source
        dropIns = loaded.dropIns
        complaints = Self.complaints(loaded)
        Self.report(loaded, to: log)
    }

    /// `-l`, otherwise `[debug] loglevel`.
    var logLevel: Int { commandLineLevel ?? settings.debug.logLevel.value }

    /// Reads the settings if their files have changed, or if `force`. If they cannot be used or do not answer, the
    /// previous ones stay in force and an error is logged.
    ///
    /// - Returns: `true` if the settings have changed.
    mutating func refresh(force: Bool, patience: UInt64 = FilePatience.moment, log: DaemonLog) -> Bool {
        let snapshot = look(force: force, patience: patience)
        if let news = files.takeNews(consequence) { log.report(news, .settingsRefused) }
        guard let snapshot else { return false }
        seen = snapshot.seen
        do {
            let loaded = try search.load(inForce: source, read: snapshot.read, list: snapshot.list)
            defer {
                settings = loaded.settings
                source = loaded.source
                dropIns = loaded.dropIns
                complaints = Self.complaints(loaded)
            }
            refusal = ""
            Self.report(loaded, to: log)
            return loaded.settings != settings
        } catch {
            refusal = "\(consequence): \(error.description)"
            log.error(refusal, .settingsRefused)
            return false
        }
    }

    /// Contents of the files; `nil` if nothing has changed.
    private mutating func look(force: Bool, patience: UInt64) -> SettingsFiles.Snapshot? {
        let search = search, seen = seen
        let answer = files.look(at: search, force: force, patience: patience) { force, progress in
            SettingsFiles.Snapshot(unless: force ? nil : seen, progress) { list in
                search.watchedPaths + ((try? search.dropIns(list)) ?? [])
            }
        }
        return answer.flatMap { $0 }
    }

    /// The files in use.
    var paths: [String] {
        guard case .file(let path) = source else { return dropIns }
        return [path] + dropIns
    }

    /// The directories of drop-in files.
    var folders: [String] { search.folders }

    private static func complaints(_ loaded: LoadedConfiguration) -> [String] {
        loaded.errors.map(\.description) + loaded.settings.notices.map(\.description)
    }

    private static func report(_ loaded: LoadedConfiguration, to log: DaemonLog) {
        for error in loaded.errors { log.error(error.description, .settingsRefused) }
        for notice in loaded.notices { log.notice(notice) }
        for notice in loaded.settings.notices { log.notice(notice.description) }
        log.info(
            "settings are from \(([loaded.source.description] + loaded.dropIns).joined(separator: ", "))",
            .settingsInForce)
    }
}

/// The profiles in force, and the numbers that workers use for them.
struct ProfileTable {
    /// A profile, or the default.
    struct Entry {
        let number: ProfileNumber
        /// `nil` for the default.
        let name: String?
        let credentials: [Role: RoleSettings]
    }

    /// The profile and keyrings for a request.
    struct Choice {
        let number: ProfileNumber
        let name: String?
        let keyrings: KeyringScope
    }

    /// Identity of a profile that keeps its number. Credentials stay in force under a number if newer ones cannot be
    /// used, so a number must not be reused for another match: credentials for one namespace would serve another.
    private struct Identity: Hashable {
        let name: String
        let match: ProfileMatch
    }

    private var settings = DaemonSettings()
    private var numbers: [Identity: ProfileNumber] = [:]
    private var lastNumber = ProfileNumber.standard
    private var isolations: [ProfileNumber: Isolation] = [.standard: .shared]
    /// Roles in which some handshakes have workers of their own that end with them.
    private(set) var rolesWithSingleHandshakes: Set<Role> = []

    /// Applies new settings.
    ///
    /// - Returns: Numbers of removed profiles.
    mutating func update(_ settings: DaemonSettings) -> [ProfileNumber] {
        guard settings != self.settings else { return [] }
        self.settings = settings
        let wanted = Set(settings.profiles.map(Self.identity))
        let gone = numbers.filter { !wanted.contains($0.key) }
        for identity in gone.keys { numbers[identity] = nil }
        for identity in settings.profiles.map(Self.identity) where numbers[identity] == nil {
            numbers[identity] = nextNumber()
        }
        noteIsolation()
        return gone.values.sorted()
    }

    private mutating func noteIsolation() {
        let standard = settings.workers.isolation
        isolations = [.standard: standard]
        rolesWithSingleHandshakes = standard == .handshake ? Set(Role.allCases) : []
        for profile in settings.profiles {
            let isolation = profile.isolation ?? standard
            isolations[number(of: profile)] = isolation
            if isolation == .handshake { rolesWithSingleHandshakes.formUnion(profile.match.roles) }
        }
    }

    /// The default, then all profiles in the order of the settings.
    var entries: [Entry] {
        let standard = Entry(
            number: .standard, name: nil, credentials: [.client: settings.client, .server: settings.server])
        return [standard]
            + settings.profiles.map { profile in
                Entry(
                    number: number(of: profile), name: profile.name,
                    credentials: Dictionary(
                        uniqueKeysWithValues: profile.match.roles.map { ($0, profile.credentials) }))
            }
    }

    /// The isolation of a profile; `nil` if the settings have no such profile.
    func isolation(of number: ProfileNumber) -> Isolation? { isolations[number] }

    /// The choice for a request; `nil` if no profile matches it.
    func choose(for subject: ProfileSubject) -> Choice? {
        switch settings.choose(for: subject) {
        case .none: return nil
        case .standard:
            return Choice(number: .standard, name: nil, keyrings: standardKeyrings(for: subject.namespace))
        case .profile(let index):
            let profile = settings.profiles[index]
            return Choice(
                number: number(of: profile), name: profile.name,
                keyrings: keyrings(of: profile, for: subject.namespace))
        }
    }

    private func keyrings(of profile: ProfileSettings, for namespace: NamespaceName?) -> KeyringScope {
        if let own = profile.keyrings { return .only(own.map(\.value.description)) }
        // The kernel's keyrings are not separate for each namespace, so other namespaces use them only if the settings
        // say so.
        return namespace == nil ? standardKeyrings(for: nil) : .only([])
    }

    private func standardKeyrings(for namespace: NamespaceName?) -> KeyringScope {
        let names = KeyringSet.kernelNames + settings.keyringNames
        let isShared = settings.profileKeyringNames.contains { !names.contains($0) }
        return namespace == nil && !isShared ? .everything : .only(names)
    }

    private func number(of profile: ProfileSettings) -> ProfileNumber { numbers[Self.identity(profile)] ?? .standard }

    /// Cycles through all numbers, so that a number is reused as late as possible.
    private mutating func nextNumber() -> ProfileNumber {
        let used = Set(numbers.values)
        repeat {
            lastNumber = ProfileNumber(lastNumber.rawValue &+ 1)
        } while lastNumber == .standard || used.contains(lastNumber)
        return lastNumber
    }

    private static func identity(_ profile: ProfileSettings) -> Identity {
        Identity(name: profile.name, match: profile.match)
    }
}

extension DaemonSettings {
    /// Keyrings of `[authenticate]` and of `psk.file`, besides the kernel's.
    package var keyringNames: [String] {
        keyrings.map(\.value.description) + [psk?.keyring.value.description ?? ".nvme"]
    }

    /// True if keyrings have to be found by name.
    package var namesKeyrings: Bool {
        let references = keyrings + profiles.flatMap { $0.keyrings ?? [] } + (psk.map { [$0.keyring] } ?? [])
        return references.contains { if case .name = $0.value { true } else { false } }
    }

    /// Keyrings of profiles.
    package var profileKeyringNames: [String] {
        profiles.flatMap { $0.keyrings ?? [] }.map(\.value.description)
    }
}

/// File access for `ConfigurationSearch`.
package enum SettingsFiles {
    /// Maximum size of a file in bytes. Any longer one is a mistake.
    private static let limit: Int64 = 4 << 20

    /// Contents of a file; `nil` if it does not exist.
    package static func read(_ path: String) throws(ConfigurationError) -> [UInt8]? {
        let file: SealedFile
        do {
            file = try SealedFile(copying: path)
        } catch {
            if error.number == .enoent { return nil }
            throw .unreadable(path: path, reason: error.description)
        }
        guard file.identity.size <= limit else {
            throw .refused(
                path: path, reason: "it has \(file.identity.size) bytes, and tlshd reads at most \(limit)",
                remedy: "check that it is the right file, or remove what repeats")
        }
        // Checks the file that was opened, which the path may no longer refer to.
        try SettingsExposure.refuseForeignOwners(path, file.identity)
        do {
            return try SealedContents(of: file.descriptor).withSpan { span in span.indices.map { span[$0] } }
        } catch {
            throw .unreadable(path: path, reason: error.description)
        }
    }

    /// Names in a directory; none if it does not exist.
    package static func list(_ folder: String) throws(ConfigurationError) -> [String] {
        let names: [String]
        let identity: FileIdentity
        do {
            names = try FolderListing.names(in: folder)
            identity = try FileIdentity(ofPath: folder)
        } catch {
            if error.number == .enoent { return [] }
            throw .unreadable(path: folder, reason: error.description)
        }
        try SettingsExposure.refuseForeignOwners(folder, identity)
        return names
    }

    /// Identities of all files, known without reading them.
    struct Seen: Equatable, Sendable {
        fileprivate var identities: [String: FileIdentity] = [:]
        /// Directories that cannot be read.
        fileprivate var failures: [String: ConfigurationError] = [:]

        var paths: [String] { identities.keys.sorted() }
    }

    /// Contents of all files and directories at one time.
    struct Snapshot: Sendable {
        let seen: Seen
        private let folders: [String: [String]]
        private let files: [String: Result<[UInt8]?, ConfigurationError>]

        /// Reads the files that `paths` returns. `paths` may list directories.
        ///
        /// - Returns: `nil` if the identities are unchanged.
        init?(
            unless former: Seen?, _ progress: FileProgress, paths: (ConfigurationSearch.Lister) -> [String]
        ) {
            var seen = Seen()
            var folders: [String: [String]] = [:]
            let wanted = paths { (folder) throws(ConfigurationError) in
                progress.at(folder)
                do throws(ConfigurationError) {
                    let names = try SettingsFiles.list(folder)
                    folders[folder] = names
                    return names
                } catch {
                    seen.failures[folder] = error
                    throw error
                }
            }
            seen.identities = FileIdentity.all(of: wanted, progress)
            guard seen != former else { return nil }
            var files: [String: Result<[UInt8]?, ConfigurationError>] = [:]
            for path in wanted {
                progress.at(path)
                files[path] = Result { () throws(ConfigurationError) in try SettingsFiles.read(path) }
            }
            self.seen = seen
            self.folders = folders
            self.files = files
        }

        func read(_ path: String) throws(ConfigurationError) -> [UInt8]? { try files[path]?.get() ?? nil }

        func list(_ folder: String) throws(ConfigurationError) -> [String] {
            if let failure = seen.failures[folder] { throw failure }
            return folders[folder] ?? []
        }
    }
}

/// Finds users, other than root and the daemon's own, who can change the settings through files or their parent
/// directories.
package struct SettingsExposure {
    /// One line per finding, with the remedy.
    private(set) var lines: [String] = []
    private var watch: FileWatch<[[String]], [Finding]>

    init(_ threads: FileThreads = FileThreads()) { watch = FileWatch(threads) }

    /// A file or directory that other users can change.
    package struct Finding: Equatable, Sendable {
        package let text: String
        package let remedy: String
    }

    /// Checks again. Paths that do not answer change nothing; `Configuration` reports them.
    ///
    /// - Parameter patience: time to wait for the answer, in nanoseconds.
    /// - Returns: New lines.
    mutating func refresh(files: [String], folders: [String], patience: UInt64) -> [String] {
        let answer = watch.look(at: [files, folders], patience: patience) { _, progress in
            progress.at(files.first ?? folders.first ?? "/")
            return Self.findings(files: files, folders: folders)
        }
        guard let found = answer?.map({ "\($0.text); remedy: \($0.remedy)" }) else { return [] }
        defer { lines = found }
        return found.filter { !lines.contains($0) }
    }

    /// - Parameters:
    ///   - files: the files that were read.
    ///   - folders: the directories of drop-in files.
    package static func findings(files: [String], folders: [String]) -> [Finding] {
        var paths = files
        for path in folders + (files + folders).flatMap(FolderListing.above) where !paths.contains(path) {
            paths.append(path)
        }
        return paths.compactMap { path in
            guard let identity = try? FileIdentity(ofPath: path) else { return nil }
            if let owner = foreignOwner(identity) {
                return Finding(
                    text: "\(path) belongs to uid \(owner), who can change the settings", remedy: "chown root \(path)")
            }
            // In a directory with the sticky bit nobody can replace a file of root, and other files are refused.
            let isProtected = identity.isSticky && !folders.contains(path)
            guard identity.mode & 0o022 != 0, !isProtected, !FolderListing.isReadOnlyVolume(path) else { return nil }
            return Finding(
                text: "\(path) can be written by others, who can change the settings", remedy: "chmod go-w \(path)")
        }
    }

    /// Refuses a file or directory that another user owns, or whose parent directory another user owns: that user can
    /// replace it at any time.
    static func refuseForeignOwners(_ path: String, _ identity: FileIdentity) throws(ConfigurationError) {
        if let owner = foreignOwner(identity) {
            throw .refused(
                path: path, reason: "it belongs to uid \(owner), who can change it",
                remedy: "chown root \(path)")
        }
        for folder in FolderListing.above(path) {
            guard let owner = (try? FileIdentity(ofPath: folder)).flatMap(foreignOwner) else { continue }
            throw .refused(
                path: path, reason: "\(folder) belongs to uid \(owner), who can replace what is in it",
                remedy: "chown root \(folder), then reload tlshd")
        }
    }

    /// The owner, if it is neither root nor the daemon's own user.
    private static func foreignOwner(_ identity: FileIdentity) -> UInt32? {
        identity.owner == 0 || identity.owner == ThisProcess.user ? nil : identity.owner
    }
}
