internal import Handshake
internal import Settings
internal import System

/// The settings in force, the files they came from, and whether these have changed since.
struct Configuration {
    private(set) var settings: DaemonSettings
    private(set) var source: ConfigurationSource
    /// The files of the folder that were added.
    private(set) var dropIns: [String]
    /// Why what the files say now is not in force; empty when it is.
    private(set) var problem = ""
    /// What is wrong with those in force: files that were passed over, lines without effect.
    private(set) var complaints: [String]
    private let search: ConfigurationSearch
    private let commandLineLevel: Int?
    private var seen: [String: FileIdentity]

    /// Reads the settings for the first time.
    ///
    /// - Throws: `StartFailure` when they cannot be used.
    init(options: DaemonOptions, log: DaemonLog) throws(StartFailure) {
        search = ConfigurationSearch(explicitPath: options.configuration)
        commandLineLevel = options.logLevel
        seen = Self.identities(of: search)
        for notice in options.notices { log.notice(notice) }
        let loaded: LoadedConfiguration
        do {
            loaded = try search.load(read: SettingsFiles.read, list: SettingsFiles.list)
        } catch {
            throw StartFailure(error.description)
        }
        settings = loaded.settings
        source = loaded.source
        dropIns = loaded.dropIns
        complaints = Self.complaints(loaded)
        Self.report(loaded, to: log)
    }

    /// `-l`, else `[debug] loglevel`.
    var logLevel: Int { commandLineLevel ?? settings.debug.logLevel.value }

    /// Reads the settings again if their file has changed, or if `force`. What cannot be used leaves the former ones in
    /// force, with an error line.
    ///
    /// - Returns: whether they are others than before.
    mutating func refresh(force: Bool, log: DaemonLog) -> Bool {
        let identities = Self.identities(of: search)
        guard force || identities != seen else { return false }
        seen = identities
        do {
            let loaded = try search.load(inForce: source, read: SettingsFiles.read, list: SettingsFiles.list)
            defer {
                settings = loaded.settings
                source = loaded.source
                dropIns = loaded.dropIns
                complaints = Self.complaints(loaded)
            }
            problem = ""
            Self.report(loaded, to: log)
            return loaded.settings != settings
        } catch {
            problem = "the settings from \(source) stay in force: \(error.description)"
            log.error(problem, .settingsRefused)
            return false
        }
    }

    private static func identities(of search: ConfigurationSearch) -> [String: FileIdentity] {
        var identities: [String: FileIdentity] = [:]
        let dropIns = (try? search.dropIns(SettingsFiles.list)) ?? []
        for path in search.watchedPaths + dropIns { identities[path] = try? FileIdentity(ofPath: path) }
        return identities
    }

    /// The files that they are from.
    var files: [String] {
        guard case .file(let path) = source else { return dropIns }
        return [path] + dropIns
    }

    /// Where files are added from.
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
