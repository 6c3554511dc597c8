package import Handshake

/// Refuses peers that cost too much, each for a time that doubles with every offence, as OpenSSH's PerSourcePenalties
/// does. Pure bookkeeping.
///
/// The wrong peer may be hit: many hosts can share an address, and a compromised worker can blame anyone. So a penalty
/// is always limited in time.
package struct Penalties: Sendable {
    /// The cause of a penalty. The raw value appears in status and metrics.
    package enum Offence: String, Sendable, CaseIterable {
        /// A worker died or had to be killed while it ran the peer's handshake.
        case workerKilled
        /// The handshake exceeded the processor time budget of an unauthenticated peer.
        case overBudget
    }

    /// A peer that is refused.
    package struct Penalty: Sendable, Equatable {
        package var peer: PeerGroup
        /// Namespace of the address; `nil` for the initial one.
        package var namespace: NamespaceName?
        package var offence: Offence
        /// Number of offences since the record was created.
        package var offences: Int
        /// CLOCK_MONOTONIC nanoseconds.
        package var until: UInt64
        /// Number of handshakes that were refused.
        package var refused: Int
    }

    /// The same address in two namespaces may belong to two hosts.
    private struct Key: Hashable, Sendable {
        let peer: PeerGroup
        let namespace: NamespaceName?
    }

    private var penalties: [Key: Penalty] = [:]
    /// Number of offences since the start.
    package private(set) var offences: [Offence: Int] = [:]
    /// Number of refused handshakes since the start.
    package private(set) var refused = 0

    /// Maximum number of records.
    static let limit = 1024
    /// Longest penalty in nanoseconds.
    static let longest: UInt64 = 600_000_000_000

    package init() {}

    /// Records an offence of a peer.
    ///
    /// - Returns: Duration of the penalty from now in nanoseconds; 0 if this offence is forgiven.
    package mutating func punish(
        _ peer: PeerGroup, in namespace: NamespaceName? = nil, for offence: Offence, now: UInt64
    ) -> UInt64 {
        let key = Key(peer: peer, namespace: namespace)
        offences[offence, default: 0] += 1
        forget(now)
        if penalties[key] == nil, penalties.count >= Self.limit,
            let first = penalties.min(by: { $0.value.until < $1.value.until })
        {
            penalties[first.key] = nil
        }
        var penalty =
            penalties[key]
            ?? Penalty(peer: peer, namespace: namespace, offence: offence, offences: 0, until: now, refused: 0)
        penalty.offence = offence
        penalty.offences += 1
        let time = Self.time(offence, penalty.offences)
        penalty.until = max(penalty.until, now + time)
        penalties[key] = penalty
        return time
    }

    /// Decides about a new handshake of a peer.
    ///
    /// - Returns: The penalty for which it is refused; `nil` if it is not.
    package mutating func refuse(_ peer: PeerGroup, in namespace: NamespaceName? = nil, now: UInt64) -> Penalty? {
        let key = Key(peer: peer, namespace: namespace)
        guard let penalty = penalties[key], now < penalty.until else { return nil }
        penalties[key]?.refused += 1
        refused += 1
        return penalty
    }

    /// Peers that are currently refused, longest remaining time first.
    package func current(_ now: UInt64) -> [Penalty] {
        penalties.values.filter { now < $0.until }.sorted { $0.until > $1.until }
    }

    /// Drops records whose penalty ended longer ago than the longest penalty.
    private mutating func forget(_ now: UInt64) {
        penalties = penalties.filter { now < $0.value.until + Self.longest }
    }

    /// Duration of a penalty in nanoseconds. A worker's death affects other handshakes and is penalised at once. The
    /// first handshake over budget may be due to a slow machine and is forgiven.
    private static func time(_ offence: Offence, _ count: Int) -> UInt64 {
        let (first, doublings): (UInt64, Int) =
            switch offence {
            case .workerKilled: (30_000_000_000, count - 1)
            case .overBudget: (count > 1 ? 5_000_000_000 : 0, count - 2)
            }
        return min(first << UInt64(min(max(doublings, 0), 8)), longest)
    }
}

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
