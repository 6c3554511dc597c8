internal import Handshake
internal import Policy
internal import Settings
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
        loaded.errors + loaded.settings.notices.map(\.description)
    }

    private static func report(_ loaded: LoadedConfiguration, to log: DaemonLog) {
        for error in loaded.errors { log.error(error, .settingsRefused) }
        for notice in loaded.notices { log.notice(notice) }
        for notice in loaded.settings.notices { log.notice(notice.description) }
        log.info(
            "settings are from \(([loaded.source.description] + loaded.dropIns).joined(separator: ", "))",
            .settingsInForce)
    }
}
