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
