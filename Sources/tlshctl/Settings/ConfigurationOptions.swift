internal import ArgumentParser
internal import Settings
internal import System

/// Which settings a command looks at: those that tlshd would read.
struct ConfigurationOptions: ParsableArguments {
    @Option(
        name: [.short, .customLong("config")],
        help: ArgumentHelp("Settings to use in place of tlshd's own.", valueName: "file"), completion: .file())
    var configuration: String?

    /// Reads them as tlshd does at its start.
    func load() throws(ConfigurationError) -> LoadedConfiguration {
        try ConfigurationSearch(explicitPath: configuration).load(read: Self.read)
    }

    /// Reads them for a command that can do nothing without: complains and ends it where they are broken.
    func require() throws -> LoadedConfiguration {
        do throws(ConfigurationError) {
            return try load()
        } catch {
            Output.complain("tlshctl: the settings cannot be used: \(error.description)")
            throw ExitStatus.failure.code
        }
    }

    private static func read(_ path: String) throws(ReadFailure) -> [UInt8]? {
        do throws(SystemError) {
            let file = try SealedFile(copying: path)
            return try SealedContents(of: file.descriptor).withSpan { span in span.indices.map { span[$0] } }
        } catch {
            if error.number == SystemError.noEntry { return nil }
            throw ReadFailure(reason: error.description)
        }
    }
}
