internal import System

/// The worker's program file, and what it finds in its environment.
enum WorkerProgram {
    /// Beside our own program (a build), or where it is installed.
    ///
    /// - Throws: ENOENT, naming every place that was tried.
    static func find() throws(SystemError) -> String {
        let folder = try Host.executableFolder()
        let places = ["\(folder)/tlshd-worker", "\(folder)/../libexec/tlshd/tlshd-worker"]
        guard let found = places.first(where: Host.isExecutable) else {
            throw SystemError("find", 2, "the worker's program at \(places.joined(separator: " or "))")
        }
        return found
    }

    /// What GnuTLS understands is passed on (its policy file, FIPS mode); nothing else is. Not `SSLKEYLOGFILE`, by which it would write
    /// the secrets of every session to a file.
    static func environment() -> [String] {
        Host.environment { $0.hasPrefix("GNUTLS_") } + ["SWIFT_BACKTRACE=enable=no"]
    }
}
