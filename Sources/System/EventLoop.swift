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
