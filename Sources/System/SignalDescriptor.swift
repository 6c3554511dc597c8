internal import CLinux
internal import Glibc

/// Signals as something to read: they are blocked for this thread, and every thread that it starts later, and queue up
/// here.
package struct SignalDescriptor: ~Copyable {
    private let descriptor: OwnedDescriptor

    /// Blocks `signals` and makes a signalfd for them. Call it before any other thread exists.
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

    /// The descriptor's number, borrowed, for a poller.
    package var number: Int32 { descriptor.number }

    /// The number of the next signal that came in; `nil` when there is none.
    package func next() throws(SystemError) -> Int32? {
        var info = signalfd_siginfo()
        let size = MemoryLayout<signalfd_siginfo>.size
        let count = retrying { unsafe read(descriptor.number, &info, size) }
        if count == size { return Int32(bitPattern: info.ssi_signo) }
        guard count < 0, errno != EAGAIN else { return nil }
        throw .last("read", "of signals")
    }
}
