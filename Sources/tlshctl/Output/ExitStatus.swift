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
