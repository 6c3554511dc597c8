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

    /// What GnuTLS understands is passed on, such as its policy file and FIPS mode; nothing else is.
    static func environment() -> [String] {
        Host.environment { $0.hasPrefix("GNUTLS_") } + ["SWIFT_BACKTRACE=enable=no"]
    }

    /// Names a file to which GnuTLS would write the secrets of every session; it is not passed on.
    static let keyLog = "SSLKEYLOGFILE"

    /// Whether somebody expects such a file.
    static var isKeyLogWanted: Bool { !Host.environment { $0 == keyLog }.isEmpty }
}
