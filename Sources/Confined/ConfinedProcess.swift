internal import Glibc
package import Sandbox
internal import System
internal import X509

/// What `tlshd-worker` and `tlshd-signer` have in common from their first to their last instruction.
package enum ConfinedProcess {
    /// Prepares the process, has it serve, and says on stderr why it ends if something is wrong.
    ///
    /// - Parameters:
    ///   - name: the program's.
    ///   - channels: the descriptors that the broker starts it with.
    ///   - serve: runs until there is a reason to end; given whom the sandbox is to become.
    /// - Returns: the exit status.
    package static func run(
        _ name: String, channels: [Int32], serve: (WorkerUser) throws(ProcessEnd) -> Never
    ) -> Int32 {
        guard channels.allSatisfy({ fcntl($0, F_GETFD) >= 0 }) else {
            complain(name, "started by hand; tlshd starts it and gives it its channels")
            return 2
        }
        let end: ProcessEnd
        do throws(ProcessEnd) {
            _ = try ProcessEnd.system { () throws(SystemError) in try ProcessHardening.apply() }
            ProcessHardening.ignoreBrokenPipes()
            try startLibrary()
            try serve(WorkerUser.find())
        } catch {
            end = error
        }
        if let complaint = end.complaint { complain(name, complaint) }
        return end.exitStatus
    }

    private static func startLibrary() throws(ProcessEnd) {
        do throws(GnuTLSError) {
            try GnuTLS.initialize()
        } catch {
            throw .systemFailure("GnuTLS does not start: \(error.description)")
        }
    }

    private static func complain(_ name: String, _ text: String) {
        let line = Array("\(name)[\(getpid())]: \(text)\n".utf8)
        _ = unsafe write(STDERR_FILENO, line, line.count)
    }
}
