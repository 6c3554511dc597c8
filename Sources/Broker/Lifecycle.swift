internal import Unconfined

/// State of the daemon.
///
///     starting ──> serving ──> awaitingReplacement ──> draining ──> cancelling
///        └────────────┴─────────────────────────────────^
enum Lifecycle: Equatable {
    /// No upcall is open yet.
    case starting
    case serving
    /// This process continues a service that was told to stop (`Handover.fork`). It serves until the replacement daemon
    /// is ready.
    case awaitingReplacement
    /// No new requests are accepted, and the process ends when the last handshake is answered. In-flight handshakes are
    /// cancelled at `until` (CLOCK_MONOTONIC nanoseconds); `nil` for never.
    case draining(until: UInt64?, isHandedOver: Bool)
    /// The same, and in-flight handshakes were cancelled. None is run again.
    case cancelling(isHandedOver: Bool)

    var isStopping: Bool {
        switch self {
        case .starting, .serving, .awaitingReplacement: false
        case .draining, .cancelling: true
        }
    }

    var isCancelling: Bool { if case .cancelling = self { true } else { false } }

    var isHandedOver: Bool {
        switch self {
        case .starting, .serving: false
        case .awaitingReplacement: true
        case .draining(_, let isHandedOver), .cancelling(let isHandedOver): isHandedOver
        }
    }

    /// Time at which in-flight handshakes are cancelled; `nil` for never.
    var cancelsAt: UInt64? {
        if case .draining(let until, _) = self { until } else { nil }
    }

    /// Changes the state. Transitions that are not in the diagram stop the process.
    mutating func move(to next: Lifecycle) {
        precondition(mayBecome(next), "\(self) does not become \(next)")
        self = next
    }

    private func mayBecome(_ next: Lifecycle) -> Bool {
        switch (self, next) {
        case (.starting, .serving), (.starting, .draining), (.serving, .awaitingReplacement), (.serving, .draining),
            (.awaitingReplacement, .draining), (.draining, .cancelling), (.cancelling, .cancelling):
            true
        case (_, .starting), (.starting, _), (.serving, _), (.awaitingReplacement, _), (.draining, _), (.cancelling, _):
            false
        }
    }
}

/// The signals that the daemon handles.
enum Signals {
    static let reload: [Int32] = [Signal.hangUp, Signal.user1]
    static let stop: [Int32] = [Signal.terminate, Signal.interrupt]
    static let handled = reload + stop
}
