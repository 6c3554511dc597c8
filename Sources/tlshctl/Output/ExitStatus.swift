internal import ArgumentParser

/// Exit status, the same for all commands; tlshctl(8), "EXIT STATUS".
enum ExitStatus: Int32, CaseIterable {
    /// The command succeeded, and there is no problem.
    case success = 0
    /// The object of the command does not work; the first line of output has the reason.
    case failure = 1
    /// Invalid command line.
    case usage = 2
    /// It works, but something needs attention now or soon.
    case warning = 3
    /// The result is unknown: tlshd does not answer, or permissions are missing.
    case unavailable = 4

    /// Error to throw at the end of a command's `run`; not for success.
    var code: ExitCode { ExitCode(rawValue) }

    /// Ends a command with this status, except for `success`.
    func finish() throws {
        if self != .success { throw code }
    }
}

/// A command cannot do anything. `main` prints the text and exits with the status.
struct CommandError: Error {
    let text: String
    let status: ExitStatus

    init(_ text: String, _ status: ExitStatus = .failure) {
        self.text = text
        self.status = status
    }

    /// Prints the text on stderr, and with `--json` also as a document.
    func report(asJSON: Bool) {
        Output.printError("tlshctl: \(Table.printable(text))")
        guard asJSON, let document = try? Output.document(["error": text]) else { return }
        Output(json: true, terminal: Terminal(isStyled: false, width: nil)).write(document)
    }
}

/// A command with the option `--json`.
protocol PrintsFacts: ParsableCommand {
    var output: OutputOptions { get }
}
