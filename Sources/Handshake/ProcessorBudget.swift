/// The processor time that a peer may cost before it has proven who it is. A value; it reads no clock.
///
/// 50 ms is more than any handshake that is known to be allowed takes on hardware of the last ten years
/// (docs/benchmarks.md). A machine that is much slower shows that by what its good handshakes take.
package struct ProcessorBudget: Sendable {
    /// What handshakes that succeeded take here, as a moving average; `nil` before the first.
    private var usual: Duration?

    /// The least that is allowed.
    package static let least: Duration = .milliseconds(50)
    /// Until there is an average: nobody knows how slow the machine is.
    private static let unknown: Duration = .seconds(1)

    package init() {}

    /// What a handshake may cost here.
    package var limit: Duration { usual.map { max(Self.least, $0 * 8) } ?? Self.unknown }

    /// Takes a handshake into account that has ended.
    ///
    /// - Returns: whether it failed and cost more than it may.
    package mutating func exceeds(_ result: HandshakeResult) -> Bool {
        switch result.outcome {
        case .success:
            // One that costs much by itself cannot raise the limit by more than a quarter.
            let time = min(result.processorTime, limit)
            usual = usual.map { ($0 * 31 + time) / 32 } ?? time
            return false
        case .failure: return result.processorTime > limit
        }
    }
}
