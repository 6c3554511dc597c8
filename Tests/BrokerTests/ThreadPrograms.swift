import Foundation
import Glibc
import Signer
import Wire
import Worker

@testable import Broker
@testable import System
@testable import Unconfined
@testable import X509

/// Worker or signer as a thread of the test, without a sandbox. It ends when the broker closes its channels.
final class ThreadProgram: StartedProgram {
    let identifier: Int32
    /// In place of a pidfd: the end of a pipe whose other end the thread closes.
    let number: Int32

    private init(_ body: @escaping @Sendable () -> Void) {
        identifier = getpid()
        var ends: [Int32] = [-1, -1]
        precondition(unsafe pipe(&ends) == 0)
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        number = ends[0]
        let other = ends[1]
        Thread.detachNewThread {
            body()
            close(other)
        }
    }

    deinit { close(number) }

    func signal(_ number: Int32) throws(SystemError) {}

    func reapIfEnded() throws(SystemError) -> ChildProcess.End? {
        var entry = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, 0) == 1 ? .exited(status: 0) : nil
    }

    /// Starts what the broker calls `worker` or `signer`, for `ProgramStarter.start`.
    static func start(
        _ program: String, _ environment: [String], _ descriptors: [(source: Int32, target: Int32)]
    ) throws(SystemError) -> any StartedProgram {
        // As a program does, which inherits them.
        let own = descriptors.reduce(into: [Int32: Int32]()) { $0[$1.target] = dup($1.source) }
        try? GnuTLS.initialize()
        if program == "signer" {
            return ThreadProgram {
                _ = try? Signer(control: OwnedDescriptor(adopting: own[3] ?? -1)) { _, _, _ in Confinement() }.run()
            }
        }
        return ThreadProgram {
            guard let step = try? WorkerStep(mapping: own[5] ?? -1) else { return }
            _ = try? Worker(
                control: OwnedDescriptor(adopting: own[3] ?? -1), keys: OwnedDescriptor(adopting: own[4] ?? -1),
                step: step
            ) { _, _ in Confinement() }.run()
        }
    }
}
