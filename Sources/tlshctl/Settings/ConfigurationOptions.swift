internal import ArgumentParser
internal import Broker
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
