internal import System
internal import Unconfined

/// The program files of worker and signer, and what they find in their environment.
enum WorkerProgram {
    static let worker = "tlshd-worker"
    static let signer = "tlshd-signer"

    /// Beside our own program (a build), or where it is installed.
    ///
    /// - Throws: ENOENT, naming every place that was tried.
    static func find(_ name: String) throws(SystemError) -> String {
        let folder = try Host.executableFolder()
        let places = ["\(folder)/\(name)", "\(folder)/../libexec/tlshd/\(name)"]
        guard let found = places.first(where: Host.isExecutable) else {
            throw SystemError("find", 2, "the program at \(places.joined(separator: " or "))")
        }
        return found
    }

    /// What GnuTLS understands is passed on, such as its policy file and FIPS mode; nothing else is.
    static func environment() -> [String] {
        Host.environment { $0.hasPrefix("GNUTLS_") } + ["SWIFT_BACKTRACE=enable=no"]
    }

    /// The signer's. Modules for tokens have variables of their own, each its own, so all go on then but for those that
    /// are for us.
    static func signerEnvironment(opensTokens: Bool) -> [String] {
        guard opensTokens else { return environment() }
        let ours = [
            keyLog, "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "SWIFT_BACKTRACE",
        ]
        return Host.environment { !ours.contains(String($0)) } + ["SWIFT_BACKTRACE=enable=no"]
    }

    /// Names a file to which GnuTLS would write the secrets of every session; it is not passed on.
    static let keyLog = "SSLKEYLOGFILE"

    /// Whether somebody expects such a file.
    static var isKeyLogWanted: Bool { !Host.environment { $0 == keyLog }.isEmpty }
}
