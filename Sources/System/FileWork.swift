internal import CLinux
internal import Glibc
internal import Synchronization

/// Work on files, done by a thread of its own, which ends with the work. A file system whose server is down keeps a
/// call waiting until the server is back, and the event loop must not wait with it.
///
/// Such a thread touches files and nothing else. Nothing but the end of the process ends a call that waits (SIGKILL,
/// which exit(2) sends to the other threads, ends the waits of network file systems).
final class FileWork<Answer: Sendable>: Sendable {
    /// When it was begun; CLOCK_MONOTONIC nanoseconds.
    let begun: UInt64
    let progress: FileProgress
    private let outcome = Mutex<(answer: Answer, ended: UInt64)?>(nil)
    /// An eventfd that becomes readable when there is an answer.
    private let event: OwnedDescriptor
    private let process = getpid()

    /// Begins it.
    ///
    /// - Throws: `pthread_create`; EAGAIN where too many wait already.
    init(_ progress: FileProgress, _ body: @escaping @Sendable (FileProgress) -> Answer) throws(SystemError) {
        let number = eventfd(0, Int32(EFD_CLOEXEC))
        guard number >= 0 else { throw .last("eventfd") }
        event = OwnedDescriptor(adopting: number)
        begun = Clock.monotonicNanoseconds()
        self.progress = progress
        try WorkThread.start { [self] in
            let answer = body(progress)
            outcome.withLock { $0 = (answer, Clock.monotonicNanoseconds()) }
            eventfd_write(event.number, 1)
        }
    }

    /// The answer and how many nanoseconds it took; `nil` when there is none before the deadline.
    func answer(until deadline: UInt64) -> (Answer, duration: UInt64)? {
        while true {
            if let found = outcome.withLock({ $0 }) { return (found.answer, found.ended - begun) }
            let now = Clock.monotonicNanoseconds()
            guard now < deadline else { return nil }
            var entry = pollfd(fd: event.number, events: Int16(POLLIN), revents: 0)
            _ = unsafe poll(&entry, 1, Clock.pollTimeout(deadline - now))
        }
    }

    /// Whether this process is a copy (fork(2)) of the one whose thread does it.
    var isLost: Bool { process != getpid() }
}

/// Which file a piece of work is at.
package final class FileProgress: Sendable {
    private let current = Mutex("")
    /// For tests: runs before each file is touched.
    private let obstacle: (@Sendable (String) -> Void)?

    package init(obstacle: (@Sendable (String) -> Void)? = nil) {
        self.obstacle = obstacle
    }

    /// To be called before the file at `path` is touched.
    package func at(_ path: String) {
        current.withLock { $0 = path }
        obstacle?(path)
    }

    var path: String { current.withLock { $0 } }
}

/// A thread that runs one closure.
private enum WorkThread {
    /// Not a lock, which a fork might copy while a thread holds it.
    private static let running = Atomic(0)
    /// More can wait only where settings change again and again while their files do not answer.
    private static let limit = 64

    private final class Body {
        let run: @Sendable () -> Void

        init(_ run: @escaping @Sendable () -> Void) {
            self.run = run
        }
    }

    static func start(_ run: @escaping @Sendable () -> Void) throws(SystemError) {
        // Only the event loop starts threads.
        guard running.load(ordering: .relaxed) < limit else {
            throw SystemError("pthread_create", EAGAIN, "as \(limit) threads wait for files")
        }
        running.wrappingAdd(1, ordering: .relaxed)
        let body = Body {
            run()
            running.wrappingSubtract(1, ordering: .relaxed)
        }
        var thread = pthread_t()
        // The thread takes over the reference; where there is none, it is given back below.
        let reference = unsafe Unmanaged.passRetained(body)
        let number = unsafe pthread_create(
            &thread, nil,
            { argument in
                if let argument = unsafe argument {
                    unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                }
                return nil
            }, reference.toOpaque())
        guard number == 0 else {
            unsafe reference.release()
            running.wrappingSubtract(1, ordering: .relaxed)
            throw SystemError("pthread_create", number)
        }
        pthread_detach(thread)
    }
}
