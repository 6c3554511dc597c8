internal import ArgumentParser
internal import Broker
internal import Control
internal import Glibc
internal import Settings
internal import System

/// Settings used by a command: those that tlshd would read, unless given.
struct ConfigurationOptions: ParsableArguments {
    @Option(
        name: [.short, .customLong("config")],
        help: ArgumentHelp("Settings to use instead of tlshd's own.", valueName: "file"), completion: .file())
    var configuration: String?

    /// Reads the settings as tlshd does at start.
    func load() throws(ConfigurationError) -> LoadedConfiguration { try Self.load(configuration) }

    /// - Parameter path: the only file to read; `nil` for the standard ones.
    static func load(_ path: String?) throws(ConfigurationError) -> LoadedConfiguration {
        try ConfigurationSearch(explicitPath: path).load(read: SettingsFiles.read, list: SettingsFiles.list)
    }

    /// Reads the settings for a command that requires them. Ends the command if they are invalid.
    ///
    /// - Parameter running: the settings of the tlshd that runs, which are read unless the options name others.
    func require(running: RunningSettings? = nil) throws -> LoadedConfiguration {
        do throws(ConfigurationError) {
            return try Self.load(configuration ?? running?.explicitPath)
        } catch {
            throw CommandError("the settings cannot be used: \(error.description)")
        }
    }
}

/// The files from which the running tlshd took its settings.
struct RunningSettings {
    /// In reading order; empty for the built-in defaults.
    let files: [String]

    /// Asks the tlshd that runs; `nil` if none answers.
    ///
    /// - Throws: The reason why the tlshd at a socket that was named does not answer.
    init?(_ link: DaemonLink) throws(CommandError) {
        guard link.socket != nil || (try? FileIdentity(ofPath: link.path())) != nil else { return nil }
        let report: ServiceReport
        do throws(CommandError) {
            report = try link.ask(.status, as: ServiceReport.self)
        } catch {
            guard link.socket == nil else { throw error }
            return nil
        }
        files = report.settings.filter { $0 != "\(ConfigurationSource.defaults)" }
    }

    /// The file that tlshd was given on its command line; `nil` if it reads the standard files, or was given a relative
    /// path.
    var explicitPath: String? {
        guard let main = files.first, main.hasPrefix("/"),
            !ConfigurationSearch(explicitPath: nil).watchedPaths.contains(main),
            !main.hasPrefix(ConfigurationSearch.folder + "/")
        else { return nil }
        return main
    }

    /// Text for messages.
    var source: String { files.isEmpty ? "\(ConfigurationSource.defaults)" : files.joined(separator: ", ") }

    /// A remark if the options name other settings; `nil` if they do not.
    func remark(on options: ConfigurationOptions) -> String? {
        guard let path = options.configuration, files != [path] else { return nil }
        return "tlshd runs with other settings, of \(source)"
    }
}

/// Files that systemd passes to the service (`%d/` in settings). A shell does not have their location in its
/// environment.
enum ServiceCredentials {
    private static let folder = "/run/credentials/tlshd.service"

    /// Sets the location that systemd uses for tlshd.service, unless it is set.
    static func adopt() { _ = unsafe setenv("CREDENTIALS_DIRECTORY", folder, 0) }

    /// Returns `true` if a path refers to such a file and the directory does not exist, because the service does not
    /// run.
    static func areGone(_ path: String) -> Bool {
        guard path.hasPrefix("%d/"), let folder = unsafe getenv("CREDENTIALS_DIRECTORY") else { return false }
        return unsafe access(folder, F_OK) != 0
    }
}
