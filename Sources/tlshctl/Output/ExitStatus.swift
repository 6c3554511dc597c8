internal import ArgumentParser

/// What tlshctl ends with, the same for all commands; tlshctl(8), "EXIT STATUS".
enum ExitStatus: Int32, Error, CaseIterable {
    /// What was asked for was done, and nothing is wrong.
    case success = 0
    /// What was asked about does not work; the first line of the output says why.
    case failure = 1
    /// The command line is not understood.
    case usage = 2
    /// It works, but something needs attention, or will soon.
    case warning = 3
    /// It could not be found out: nobody answers, or reading it takes other rights.
    case unavailable = 4

    /// To be thrown by a command's `run` after it has printed everything; success is not thrown.
    var code: ExitCode { ExitCode(rawValue) }

    /// Ends a command with this status; `success` lets it go on.
    func finish() throws {
        if self != .success { throw code }
    }
}

/// Why a command can do nothing of what it was asked for. It is thrown; `main` tells it and ends with its status.
struct Complaint: Error {
    let text: String
    let status: ExitStatus

    init(_ text: String, _ status: ExitStatus = .failure) {
        self.text = text
        self.status = status
    }

    /// On standard error, and where a document is expected, as one.
    func tell(asJSON: Bool) {
        Output.complain("tlshctl: \(Table.printable(text))")
        guard asJSON, let document = try? Output.document(["error": text]) else { return }
        Output(json: true, terminal: Terminal(isStyled: false, width: nil)).write(document)
    }
}

/// A command that takes `--json`.
protocol PrintsFacts: ParsableCommand {
    var output: OutputOptions { get }
}
