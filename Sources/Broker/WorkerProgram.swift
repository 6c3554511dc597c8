internal import System
internal import Unconfined

/// The program files of workers and signer, and their environment.
enum WorkerProgram {
    static let worker = "tlshd-worker"
    static let signer = "tlshd-signer"

    /// Finds a program next to our own (in a build), or where it is installed.
    ///
    /// - Throws: ENOENT with all paths that were tried.
    static func find(_ name: String) throws(SystemError) -> String {
        let folder = try Host.executableFolder()
        let places = ["\(folder)/\(name)", "\(folder)/../libexec/tlshd/\(name)"]
        guard let found = places.first(where: Host.isExecutable) else {
            throw SystemError("find", 2, "the program at \(places.joined(separator: " or "))")
        }
        return found
    }

    /// Environment of workers: variables of GnuTLS, such as its policy file and FIPS mode, and no others.
    static func environment() -> [String] {
        Host.environment { $0.hasPrefix("GNUTLS_") } + ["SWIFT_BACKTRACE=enable=no"]
    }

    /// Environment of the signer. PKCS #11 modules have variables of their own, so if tokens are opened all are passed
    /// except those for tlshd.
    static func signerEnvironment(opensTokens: Bool) -> [String] {
        guard opensTokens else { return environment() }
        let ours = [
            keyLog, "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "SWIFT_BACKTRACE",
        ]
        return Host.environment { !ours.contains(String($0)) } + ["SWIFT_BACKTRACE=enable=no"]
    }

    /// Names a file to which GnuTLS would write the secrets of every session. Never passed on.
    static let keyLog = "SSLKEYLOGFILE"

    /// True if the variable is set.
    static var isKeyLogWanted: Bool { !Host.environment { $0 == keyLog }.isEmpty }
}
