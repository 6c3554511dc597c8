internal import Glibc

/// What the daemon is doing as a whole.
///
///     starting ──> serving ──> remainder ──> draining
///        └────────────┴─────────────────────────^
enum Lifecycle: Equatable {
    /// No upcall is open yet.
    case starting
    case serving
    /// This process is left of a service that was told to stop (`Handover.fork`): it serves until the replacement
    /// daemon is ready, and is no longer the service.
    case remainder
    /// No new requests; an end when the last handshake is answered. What is in flight `until` then is cancelled
    /// (CLOCK_MONOTONIC nanoseconds); `nil` for never, or because it is cancelled already.
    case draining(until: UInt64?, isRemainder: Bool)

    var isStopping: Bool { if case .draining = self { true } else { false } }

    var isRemainder: Bool {
        switch self {
        case .starting, .serving: false
        case .remainder: true
        case .draining(_, let isRemainder): isRemainder
        }
    }

    /// When what is in flight is cancelled; `nil` for never.
    var cancelsAt: UInt64? {
        if case .draining(let until, _) = self { until } else { nil }
    }

    /// The one way from one state to the next.
    mutating func move(to next: Lifecycle) {
        precondition(mayBecome(next), "\(self) does not become \(next)")
        self = next
    }

    private func mayBecome(_ next: Lifecycle) -> Bool {
        switch (self, next) {
        case (.starting, .serving), (.starting, .draining), (.serving, .remainder), (.serving, .draining),
            (.remainder, .draining), (.draining, .draining):
            true
        case (_, .starting), (.starting, .remainder), (.serving, .serving), (.remainder, .serving),
            (.remainder, .remainder),
            (.draining, .serving), (.draining, .remainder):
            false
        }
    }
}

/// The signals that the daemon acts on.
enum Signals {
    static let reload: [Int32] = [SIGHUP, SIGUSR1]
    static let stop: [Int32] = [SIGTERM, SIGINT]
    static let handled = reload + stop
}
