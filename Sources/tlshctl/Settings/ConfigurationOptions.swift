internal import ArgumentParser
internal import Broker
internal import Glibc
internal import Settings

/// Settings used by a command: those that tlshd would read, unless given.
struct ConfigurationOptions: ParsableArguments {
    @Option(
        name: [.short, .customLong("config")],
        help: ArgumentHelp("Settings to use instead of tlshd's own.", valueName: "file"), completion: .file())
    var configuration: String?

    /// Reads the settings as tlshd does at start.
    func load() throws(ConfigurationError) -> LoadedConfiguration {
        try ConfigurationSearch(explicitPath: configuration).load(read: SettingsFiles.read, list: SettingsFiles.list)
    }

    /// Reads the settings for a command that requires them. Ends the command if they are invalid.
    func require() throws -> LoadedConfiguration {
        do throws(ConfigurationError) {
            return try load()
        } catch {
            throw CommandError("the settings cannot be used: \(error.description)")
        }
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
