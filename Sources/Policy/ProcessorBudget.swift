package import Handshake

/// Limit of the processor time that a peer may use before it is authenticated. Pure bookkeeping.
///
/// 50 ms is more than any permitted handshake takes on hardware of the last ten years (docs/benchmarks.md). On slower
/// machines the limit follows the time of successful handshakes.
package struct ProcessorBudget: Sendable {
    /// Moving average of the processor time of successful handshakes; `nil` before the first.
    private var usual: Duration?

    /// Minimum limit.
    package static let least: Duration = .milliseconds(50)
    /// Limit before there is an average, because the machine may be slow.
    private static let unknown: Duration = .seconds(1)

    package init() {}

    /// Current limit.
    package var limit: Duration { usual.map { max(Self.least, $0 * 8) } ?? Self.unknown }

    /// Takes a finished handshake into account.
    ///
    /// - Returns: `true` if it failed and exceeded the limit.
    package mutating func exceeds(_ result: HandshakeResult) -> Bool {
        switch result.outcome {
        case .success:
            // Bounded, so that one expensive handshake cannot raise the limit by more than a quarter.
            let time = min(result.processorTime, limit)
            usual = usual.map { ($0 * 31 + time) / 32 } ?? time
            return false
        case .failure: return result.processorTime > limit
        }
    }
}
