internal import Glibc
internal import Sandbox
internal import System
internal import TLS
internal import Wire

/// What `tlshd-worker` does from its first to its last instruction.
package enum WorkerProcess {
    /// - Returns: the exit status.
    package static func run() -> Int32 {
        guard fcntl(WorkerDescriptor.control, F_GETFD) >= 0, fcntl(WorkerDescriptor.keys, F_GETFD) >= 0 else {
            complain("started by hand; tlshd starts it and gives it its channels")
            return 2
        }
        let end: WorkerEnd
        ProcessPriority.lower()
        do throws(SystemError) {
            try ProcessHardening.apply()
            do throws(GnuTLSError) {
                try GnuTLS.initialize()
            } catch {
                complain("GnuTLS does not start: \(error.description)")
                return 71
            }
            let user = WorkerUser.find()
            let worker = try Worker(
                control: OwnedDescriptor(adopting: WorkerDescriptor.control),
                keys: OwnedDescriptor(adopting: WorkerDescriptor.keys)
            ) { (descriptors) throws(SystemError) in
                try Sandbox.enter(keeping: descriptors, as: user)
            }
            end = worker.run()
        } catch {
            end = .systemFailure(error.description)
        }
        if let complaint = end.complaint { complain(complaint) }
        return end.exitStatus
    }

    private static func complain(_ text: String) {
        let line = Array("tlshd-worker[\(getpid())]: \(text)\n".utf8)
        _ = unsafe write(STDERR_FILENO, line, line.count)
    }
}
