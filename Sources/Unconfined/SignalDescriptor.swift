internal import CLinux
internal import Glibc
package import System

/// Numbers of signal(7).
package enum Signal {
    package static let hangUp = SIGHUP
    package static let interrupt = SIGINT
    package static let user1 = SIGUSR1
    package static let terminate = SIGTERM
    package static let kill = SIGKILL
    package static let forbiddenCall = SIGSYS
}

/// A signalfd. The signals are blocked for this thread and every thread that it starts later.
package struct SignalDescriptor: ~Copyable {
    private let descriptor: OwnedDescriptor

    /// Blocks `signals` and creates the signalfd. Call it before any other thread exists.
    package init(_ signals: [Int32]) throws(SystemError) {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for signal in signals { unsafe sigaddset(&set, signal) }
        let blocked = unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        guard blocked == 0 else { throw SystemError("pthread_sigmask", blocked) }
        let number = unsafe signalfd(-1, &set, Int32(SFD_CLOEXEC | SFD_NONBLOCK))
        guard number >= 0 else { throw .last("signalfd") }
        descriptor = OwnedDescriptor(adopting: number)
    }

    /// The signalfd, borrowed.
    package var number: Int32 { descriptor.number }

    /// The next pending signal; `nil` if there is none.
    package func next() throws(SystemError) -> Int32? {
        var info = signalfd_siginfo()
        let size = MemoryLayout<signalfd_siginfo>.size
        let count = retrying { unsafe read(descriptor.number, &info, size) }
        if count == size { return Int32(bitPattern: info.ssi_signo) }
        guard count < 0, errno != EAGAIN else { return nil }
        throw .last("read", "of signals")
    }
}
