internal import Glibc
package import Sandbox
internal import System
internal import X509

/// Start and end of `tlshd-worker` and `tlshd-signer`.
package enum ConfinedProcess {
    /// Prepares the process, runs `serve`, and prints the error that ended it to stderr.
    ///
    /// - Parameters:
    ///   - name: the name of the program.
    ///   - channels: the descriptors that the broker passes.
    ///   - serve: the main loop; its argument is the user to change to in the sandbox.
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
