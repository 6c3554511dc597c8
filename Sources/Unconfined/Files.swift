internal import CLinux
internal import Glibc
internal import Synchronization
package import System

/// File access in a thread of its own, which ends with the work. If the server of a network file system is down, a call
/// blocks until the server is back, and the event loop must not block.
///
/// The thread accesses files only. A blocked call ends only with the process (exit(2) sends SIGKILL to the other
/// threads, which ends the waits of network file systems).
final class FileWork<Answer: Sendable>: Sendable {
    /// Start time; CLOCK_MONOTONIC nanoseconds.
    let begun: UInt64
    let progress: FileProgress
    private let outcome = Mutex<(answer: Answer, ended: UInt64)?>(nil)
    /// Eventfd that becomes readable when there is an answer.
    private let event: OwnedDescriptor
    private let process = getpid()

    /// Starts the thread.
    ///
    /// - Throws: `pthread_create`; EAGAIN if too many threads are blocked.
    init(
        _ progress: FileProgress, _ threads: FileThreads, _ body: @escaping @Sendable (FileProgress) -> Answer
    ) throws(SystemError) {
        let number = eventfd(0, Int32(EFD_CLOEXEC))
        guard number >= 0 else { throw .last("eventfd") }
        event = OwnedDescriptor(adopting: number)
        let clock = threads.clock
        begun = clock()
        self.progress = progress
        try threads.start { [self] in
            let answer = body(progress)
            outcome.withLock { $0 = (answer, clock()) }
            eventfd_write(event.number, 1)
        }
    }

    /// The answer, and its duration in nanoseconds; `nil` if there is none before the deadline.
    func answer(until deadline: UInt64, _ threads: FileThreads) -> (Answer, duration: UInt64)? {
        while true {
            if let found = outcome.withLock({ $0 }) { return (found.answer, found.ended - begun) }
            let now = threads.clock()
            guard now < deadline else { return nil }
            threads.wait(event.number, deadline - now)
        }
    }

    /// True if this process was forked from the one whose thread does the work.
    var isLost: Bool { process != getpid() }
}

/// Reads files in threads, and waits for them by the clock. A simulation replaces all three.
package struct FileThreads {
    /// CLOCK_MONOTONIC nanoseconds.
    package let clock: @Sendable () -> UInt64
    let start: (@escaping @Sendable () -> Void) throws(SystemError) -> Void
    let wait: (Int32, UInt64) -> Void

    /// - Parameters:
    ///   - start: runs a closure in a new thread.
    ///   - wait: waits until the descriptor is readable, for at most so many nanoseconds.
    package init(
        clock: @escaping @Sendable () -> UInt64,
        start: @escaping (@escaping @Sendable () -> Void) throws(SystemError) -> Void,
        wait: @escaping (Int32, UInt64) -> Void
    ) {
        self.clock = clock
        self.start = start
        self.wait = wait
    }

    package init(clock: @escaping @Sendable () -> UInt64 = Clock.monotonicNanoseconds) {
        self.clock = clock
        start = WorkThread.start
        wait = { number, time in
            var entry = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
            _ = unsafe poll(&entry, 1, Clock.pollTimeout(time))
        }
    }
}

/// The file that a query currently accesses.
package final class FileProgress: Sendable {
    private let current = Mutex("")
    /// For tests: runs before each file is accessed.
    private let obstacle: (@Sendable (String) -> Void)?

    package init(obstacle: (@Sendable (String) -> Void)? = nil) {
        self.obstacle = obstacle
    }

    /// Call before the file at `path` is accessed.
    package func at(_ path: String) {
        current.withLock { $0 = path }
        obstacle?(path)
    }

    var path: String { current.withLock { $0 } }
}

extension FileIdentity {
    /// Identities by path; files that do not exist are omitted.
    package static func all(of paths: [String], _ progress: FileProgress) -> [String: FileIdentity] {
        var identities: [String: FileIdentity] = [:]
        for path in paths {
            progress.at(path)
            identities[path] = try? FileIdentity(ofPath: path)
        }
        return identities
    }
}

/// A thread that runs one closure.
private enum WorkThread {
    /// Atomic instead of a lock, because a fork could copy a lock that is held.
    private static let running = Atomic(0)
    /// The limit is reached only if settings change repeatedly while their files do not answer.
    private static let limit = 64

    private final class Body {
        let run: @Sendable () -> Void

        init(_ run: @escaping @Sendable () -> Void) {
            self.run = run
        }
    }

    static func start(_ run: @escaping @Sendable () -> Void) throws(SystemError) {
        // Not racy: only the event loop starts threads.
        guard running.load(ordering: .relaxed) < limit else {
            throw SystemError("pthread_create", EAGAIN, "as \(limit) threads wait for files")
        }
        running.wrappingAdd(1, ordering: .relaxed)
        let body = Body {
            run()
            running.wrappingSubtract(1, ordering: .relaxed)
        }
        var thread = pthread_t()
        // The thread takes over the reference. If no thread starts, it is released below.
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
