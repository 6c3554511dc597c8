internal import CLinux
internal import Glibc

/// The event loop of a process: one thread, descriptors that become ready, and deadlines that pass.
///
/// A turn runs what is due, waits, then runs what is ready. All times are CLOCK_MONOTONIC nanoseconds. Used only by the
/// thread that created it. An error of an action ends the turn.
package final class EventLoop {
    package typealias Interest = Poller.Interest

    private let poller: Poller
    private let clock: () -> UInt64
    private let beforeWait: (UInt64?) -> UInt64?
    private var sources: [UInt64: SourceReference] = [:]
    private var lastToken: UInt64 = 0
    private var timers = TimerQueue()
    private var timerActions: [UInt64: TimerReference] = [:]
    private var schedules: [Schedule] = []
    /// Time at which the last wait ended.
    package private(set) var wokenAt: UInt64 = 0

    /// Maximum number of timers that run before descriptors are polled again: thousands may be due at once, and pending
    /// input has priority.
    private static var timersPerTurn: Int { 16 }

    /// - Parameters:
    ///   - clock: the current time; replaced in tests.
    ///   - beforeWait: called before each wait with its timeout in nanoseconds, `nil` for none; returns the timeout to
    ///     use. A simulation lets its time pass here.
    package init(
        clock: @escaping () -> UInt64 = Clock.monotonicNanoseconds,
        beforeWait: @escaping (UInt64?) -> UInt64? = { $0 }
    ) throws(SystemError) {
        poller = try Poller()
        self.clock = clock
        self.beforeWait = beforeWait
    }

    /// The epoll descriptor, borrowed; a sandbox must keep it open.
    package var number: Int32 { poller.number }
    package var now: UInt64 { clock() }

    // MARK: Descriptors

    /// Readiness of a watched descriptor.
    package typealias Readiness = Poller.Event

    /// A watched descriptor. It is watched until `cancel` is called or the last reference is released. The owner of the
    /// descriptor calls `cancel` before closing it.
    package final class Source {
        private let loop: EventLoop
        private let token: UInt64
        private var descriptor: Int32?
        /// Events that are watched.
        package private(set) var interest: Interest
        fileprivate let isUrgent: Bool
        fileprivate let action: (Readiness) throws -> Void

        fileprivate init(
            _ loop: EventLoop, _ token: UInt64, _ descriptor: Int32, _ interest: Interest, isUrgent: Bool,
            _ action: @escaping (Readiness) throws -> Void
        ) {
            self.loop = loop
            self.token = token
            self.descriptor = descriptor
            self.interest = interest
            self.isUrgent = isUrgent
            self.action = action
        }

        deinit { cancel() }

        /// Changes the watched events.
        package func watch(for wanted: Interest) throws(SystemError) {
            guard let descriptor, wanted != interest else { return }
            try loop.poller.modify(descriptor, token: token, interest: wanted)
            interest = wanted
        }

        /// Stops watching, also in the current turn. Closing a descriptor is not enough: others may hold the same open
        /// file, as the kernel consumers do.
        package func cancel() {
            guard let descriptor = descriptor.take() else { return }
            loop.sources[token] = nil
            try? loop.poller.remove(descriptor)
        }
    }

    /// Watches a descriptor, which the caller still owns.
    ///
    /// - Parameters:
    ///   - isUrgent: its action runs before those of other descriptors that are ready in the same turn.
    ///   - action: runs each time that the descriptor is ready. It must not retain its own source.
    /// - Returns: The source. The descriptor is watched as long as it is referenced.
    package func watch(
        _ descriptor: Int32, for interest: Interest = .read, isUrgent: Bool = false,
        _ action: @escaping (Readiness) throws -> Void
    ) throws(SystemError) -> Source {
        lastToken += 1
        try poller.add(descriptor, token: lastToken, interest: interest)
        let source = Source(self, lastToken, descriptor, interest, isUrgent: isUrgent, action)
        sources[lastToken] = SourceReference(source)
        return source
    }

    // MARK: Deadlines

    /// A deadline that can be moved. Its action runs once for each time that it was set.
    package final class Timer {
        private let loop: EventLoop
        private let token: UInt64
        fileprivate let action: () throws -> Void

        fileprivate init(_ loop: EventLoop, _ token: UInt64, _ action: @escaping () throws -> Void) {
            self.loop = loop
            self.token = token
            self.action = action
        }

        deinit {
            loop.timers.cancel(token)
            loop.timerActions[token] = nil
        }

        /// The deadline; `nil` if none is set.
        package var deadline: UInt64? {
            get { loop.timers.deadline(of: token) }
            set {
                if let newValue {
                    loop.timers.schedule(token, at: newValue)
                } else {
                    loop.timers.cancel(token)
                }
            }
        }
    }

    /// Creates a timer without deadline. It is active as long as it is referenced.
    package func timer(_ action: @escaping () throws -> Void) -> Timer {
        lastToken += 1
        let timer = Timer(self, lastToken, action)
        timerActions[lastToken] = TimerReference(timer)
        return timer
    }

    /// Adds a deadline that is computed from other state: `next` is called in each turn, and `action` runs when that
    /// time has come. Schedules run in the order in which they were added, for as long as the loop exists.
    ///
    /// - Parameter next: `nil` for never.
    package func schedule(_ next: @escaping () -> UInt64?, _ action: @escaping (UInt64) throws -> Void) {
        schedules.append(Schedule(next: next, action: action))
    }

    // MARK: Turns

    /// Runs one turn: due schedules, then ready descriptors, then due timers.
    ///
    /// - Parameter limit: maximum waiting time in nanoseconds.
    package func turn(atMost limit: UInt64 = .max) throws {
        let next = try runSchedules(clock())
        let events = try poller.wait(timeout: beforeWait(timeout(until: next, atMost: limit)))
        wokenAt = clock()
        for isUrgent in [true, false] {
            for event in events {
                // A source may have been cancelled by an action that ran earlier in this turn.
                guard let source = sources[event.token]?.source, source.isUrgent == isUrgent else { continue }
                try source.action(event)
            }
        }
        for _ in 0..<Self.timersPerTurn {
            guard let token = timers.popExpired(now: wokenAt) else { break }
            try timerActions[token]?.timer.action()
        }
    }

    /// Waits until a watched descriptor is ready, and runs no action.
    ///
    /// - Parameter limit: maximum waiting time in nanoseconds.
    package func waitIdly(atMost limit: UInt64) {
        _ = try? poller.wait(timeout: beforeWait(limit))
    }

    /// Runs the schedules that are due.
    ///
    /// - Returns: The earliest deadline of a schedule after that.
    private func runSchedules(_ now: UInt64) throws -> UInt64 {
        var earliest = UInt64.max, hasRun = false
        for schedule in schedules {
            guard let next = schedule.next() else { continue }
            if next <= now {
                try schedule.action(now)
                hasRun = true
            } else {
                earliest = min(earliest, next)
            }
        }
        // An action may have changed the deadline of any schedule.
        return hasRun ? schedules.lazy.compactMap { $0.next() }.min() ?? .max : earliest
    }

    /// - Parameter next: the earliest deadline of a schedule.
    /// - Returns: Nanoseconds; `nil` if no deadline is set.
    private func timeout(until next: UInt64, atMost limit: UInt64) -> UInt64? {
        let now = clock()
        let wait = min(timers.timeout(now: now) ?? .max, next == .max ? .max : next - min(next, now), limit)
        return wait == .max ? nil : wait
    }

    private struct Schedule {
        let next: () -> UInt64?
        let action: (UInt64) throws -> Void
    }

    /// Sources and timers are owned by their holders; the loop is notified when they are released.
    private struct SourceReference {
        unowned let source: Source
        init(_ source: Source) { self.source = source }
    }

    private struct TimerReference {
        unowned let timer: Timer
        init(_ timer: Timer) { self.timer = timer }
    }
}

/// Deadlines in chronological order, at most one per token. Reads no clock; the caller passes the time.
package struct TimerQueue: Sendable {
    private struct Entry: Sendable {
        let deadline: UInt64
        let token: UInt64
    }

    // A binary heap, earliest first. An entry that differs from its token's deadline in `deadlines` was moved or
    // cancelled, and is dropped when it reaches the top.
    private var heap: [Entry] = []
    private var deadlines: [UInt64: UInt64] = [:]

    package init() {}

    package var isEmpty: Bool { deadlines.isEmpty }

    /// Number of tokens with a deadline.
    package var count: Int { deadlines.count }

    /// Sets the deadline of `token`, replacing the old one.
    ///
    /// - Parameter deadline: nanoseconds on the caller's clock.
    package mutating func schedule(_ token: UInt64, at deadline: UInt64) {
        guard deadlines.updateValue(deadline, forKey: token) != deadline else { return }
        heap.append(Entry(deadline: deadline, token: token))
        siftUp(from: heap.count - 1)
        // Bounds the number of cancelled entries, which would otherwise accumulate for tokens with distant deadlines.
        if heap.count > 2 * deadlines.count + 64 { rebuild() }
    }

    /// Removes the deadline of `token`, if it has one.
    package mutating func cancel(_ token: UInt64) {
        deadlines[token] = nil
    }

    /// The deadline of `token`.
    package func deadline(of token: UInt64) -> UInt64? {
        deadlines[token]
    }

    /// Removes and returns the token with the earliest deadline if that is not after `now`.
    package mutating func popExpired(now: UInt64) -> UInt64? {
        dropStale()
        guard let first = heap.first, first.deadline <= now else { return nil }
        removeFirst()
        deadlines[first.token] = nil
        return first.token
    }

    /// Nanoseconds until the earliest deadline, for `Poller.wait`; 0 if it has passed, `nil` if there is none.
    package mutating func timeout(now: UInt64) -> UInt64? {
        dropStale()
        guard let first = heap.first else { return nil }
        return first.deadline > now ? first.deadline - now : 0
    }

    private mutating func dropStale() {
        while let first = heap.first, deadlines[first.token] != first.deadline { removeFirst() }
    }

    private mutating func rebuild() {
        heap = deadlines.map { Entry(deadline: $0.value, token: $0.key) }.sorted { $0.deadline < $1.deadline }
    }

    private mutating func removeFirst() {
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        heap[0] = last
        siftDown()
    }

    private mutating func siftUp(from start: Int) {
        var index = start
        while index > 0 {
            let parent = (index - 1) / 2
            guard heap[index].deadline < heap[parent].deadline else { return }
            heap.swapAt(index, parent)
            index = parent
        }
    }

    private mutating func siftDown() {
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2] where child < heap.count {
                if heap[child].deadline < heap[least].deadline { least = child }
            }
            guard least != index else { return }
            heap.swapAt(index, least)
            index = least
        }
    }
}

/// An epoll instance, level-triggered.
package struct Poller: ~Copyable {
    private let descriptor: OwnedDescriptor

    /// Events to wait for. Errors and hang-ups are always reported.
    package struct Interest: OptionSet, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        package static let read = Interest(rawValue: 1)
        package static let write = Interest(rawValue: 2)

        fileprivate var events: UInt32 {
            (contains(.read) ? EPOLLIN.rawValue | EPOLLRDHUP.rawValue : 0) | (contains(.write) ? EPOLLOUT.rawValue : 0)
        }
    }

    /// A ready descriptor.
    package struct Event: Sendable, Equatable {
        /// The token passed to `add`.
        package let token: UInt64
        /// Data, the end of the stream, or an error can be read.
        package let isReadable: Bool
        package let isWritable: Bool
        /// The other end is closed, or the descriptor has an error.
        package let isHungUp: Bool
    }

    package init() throws(SystemError) {
        let number = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard number >= 0 else { throw .last("epoll_create1") }
        descriptor = OwnedDescriptor(adopting: number)
    }

    /// The epoll descriptor, borrowed.
    package var number: Int32 { descriptor.number }

    /// Adds `number`; events carry `token`. Closing the last descriptor of the open file removes it too, but if others
    /// hold copies of it, as the kernel consumers do, only `remove` does.
    package func add(_ number: Int32, token: UInt64, interest: Interest) throws(SystemError) {
        try control(EPOLL_CTL_ADD, number, token, interest)
    }

    /// Changes the events of `number`.
    package func modify(_ number: Int32, token: UInt64, interest: Interest) throws(SystemError) {
        try control(EPOLL_CTL_MOD, number, token, interest)
    }

    /// Removes `number`.
    package func remove(_ number: Int32) throws(SystemError) {
        try control(EPOLL_CTL_DEL, number, 0, [])
    }

    /// Waits for up to 64 events.
    ///
    /// - Parameter timeout: nanoseconds; `nil` waits without limit, 0 does not wait.
    /// - Returns: No events if the time is over or a signal arrived.
    package func wait(timeout: UInt64?) throws(SystemError) -> [Event] {
        let capacity = 64
        // The union in an event has a pointer member; only its integer is used.
        var ready = unsafe [epoll_event](repeating: epoll_event(), count: capacity)
        let milliseconds = timeout.map(Clock.pollTimeout) ?? -1
        let count = unsafe epoll_wait(descriptor.number, &ready, Int32(capacity), milliseconds)
        guard count >= 0 else {
            if errno == EINTR { return [] }
            throw .last("epoll_wait")
        }
        return unsafe ready.prefix(Int(count)).map { event in
            let bits = unsafe event.events
            let isHungUp = bits & (EPOLLHUP.rawValue | EPOLLERR.rawValue | EPOLLRDHUP.rawValue) != 0
            return Event(
                token: unsafe event.data.u64, isReadable: bits & EPOLLIN.rawValue != 0 || isHungUp,
                isWritable: bits & EPOLLOUT.rawValue != 0, isHungUp: isHungUp)
        }
    }

    private func control(
        _ operation: Int32, _ number: Int32, _ token: UInt64, _ interest: Interest
    ) throws(SystemError) {
        var event = unsafe epoll_event(events: interest.events, data: epoll_data_t(u64: token))
        guard unsafe epoll_ctl(descriptor.number, operation, number, &event) == 0 else {
            throw .last("epoll_ctl", "of descriptor \(number)")
        }
    }
}
