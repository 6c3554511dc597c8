internal import Glibc
internal import Sandbox
internal import System
internal import TLS
internal import Wire

/// What `tlshd-signer` does from its first to its last instruction.
package enum SignerProcess {
    /// - Returns: the exit status.
    package static func run() -> Int32 {
        guard fcntl(SignerDescriptor.control, F_GETFD) >= 0 else {
            complain("started by hand; tlshd starts it and gives it its channel")
            return 2
        }
        let end: SignerEnd
        do throws(SystemError) {
            try ProcessHardening.apply()
            do throws(GnuTLSError) {
                try GnuTLS.initialize()
            } catch {
                complain("GnuTLS does not start: \(error.description)")
                return 71
            }
            let user = WorkerUser.find()
            let signer = try Signer(control: OwnedDescriptor(adopting: SignerDescriptor.control)) {
                (descriptors, opensTokens) throws(SystemError) in
                opensTokens
                    ? try Sandbox.enterWithTokens(keeping: descriptors, as: user)
                    : try Sandbox.enter(keeping: descriptors, as: user, for: .signing)
            }
            end = signer.run()
        } catch {
            end = .systemFailure(error.description)
        }
        if let complaint = end.complaint { complain(complaint) }
        return end.exitStatus
    }

    private static func complain(_ text: String) {
        let line = Array("tlshd-signer[\(getpid())]: \(text)\n".utf8)
        _ = unsafe write(STDERR_FILENO, line, line.count)
    }
}
