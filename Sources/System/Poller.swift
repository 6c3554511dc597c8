internal import CLinux
internal import Glibc

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
