internal import ArgumentParser
internal import Broker
internal import Settings

/// Which settings a command looks at: those that tlshd would read.
struct ConfigurationOptions: ParsableArguments {
    @Option(
        name: [.short, .customLong("config")],
        help: ArgumentHelp("Settings to use in place of tlshd's own.", valueName: "file"), completion: .file())
    var configuration: String?

    /// Reads them as tlshd does at its start.
    func load() throws(ConfigurationError) -> LoadedConfiguration {
        try ConfigurationSearch(explicitPath: configuration).load(read: SettingsFiles.read, list: SettingsFiles.list)
    }

    /// Reads them for a command that can do nothing without: ends it where they are broken.
    func require() throws -> LoadedConfiguration {
        do throws(ConfigurationError) {
            return try load()
        } catch {
            throw Complaint("the settings cannot be used: \(error.description)")
        }
    }
}
