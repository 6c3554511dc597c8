internal import ArgumentParser
internal import Handshake
internal import Settings
internal import System

/// The operator's tool: queries tlshd, and checks settings and peers; tlshctl(8).
@main
struct TLSHCtl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tlshctl", abstract: "Inspect and troubleshoot tlshd, the TLS handshake daemon.",
        discussion: """
            Exit status: 0 nothing is wrong, 1 what was asked about does not work, 2 wrong usage, 3 it works but needs \
            attention, 4 unknown.
            """,
        version: "tlshctl \(Version.text)",
        subcommands: [
            // One per line, in the order of the manual page.
            CheckCommand.self,
            ExplainCommand.self,
            KeysCommand.self,
            ProbeCommand.self,
            CertificatesCommand.self,
            StatusCommand.self,
            HandshakesCommand.self,
            MetricsCommand.self,
        ])

    /// Entry point. The parser's exit status for wrong usage is 64; ours is 2, as for tlshd.
    static func main() {
        StandardStreams.claim()
        ServiceCredentials.adopt()
        do {
            // The parser's errors show the arguments that they are about.
            guard !CommandLine.arguments.contains(where: { $0.contains(NVMeInterchangeKey.start) }) else {
                throw ValidationError(
                    "a key was given on the command line, which every process of this host can read: consider it known, and "
                        + "make another; a key is given by a file or on standard input")
            }
            var command = try parseAsRoot()
            do {
                try command.run()
            } catch let failure as CommandError {
                let facts = command as? any PrintsFacts
                if facts?.nagios != true { Output.printError("tlshctl: \(Table.printable(failure.summary))") }
                if let facts, facts.output.json || facts.nagios { try facts.finish(failure) }
                throw failure.status.exit.code
            }
        } catch {
            let status = exitCode(for: error)
            guard status != .validationFailure else {
                Output.printError(fullMessage(for: error))
                // Exit status 2 means CRITICAL to a monitoring system.
                let isPlugin = CommandLine.arguments.contains("--nagios")
                ThisProcess.exit(isPlugin ? PluginLine.ServiceStatus.unknown.rawValue : ExitStatus.usage.rawValue)
            }
            exit(withError: error)
        }
    }
}
