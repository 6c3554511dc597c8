/// Refuses peers that cost too much, each for a time that doubles with every offence, as OpenSSH's PerSourcePenalties
/// do. A value; it reads no clock and refuses nothing itself.
///
/// Who is punished can be wrong: many hosts may share an address, and a worker that was taken over can blame anybody.
/// So a penalty is a bound on time, and no judgement.
package struct Penalties: Sendable {
    /// What is punished; the raw value stands in status and metrics.
    package enum Offence: String, Sendable, CaseIterable {
        /// A worker died, or had to be killed, in the middle of the peer's handshake.
        case workerKilled
        /// The handshake took more processor time than a peer may cost that has not authenticated itself.
        case overBudget
    }

    /// A peer that is refused.
    package struct Penalty: Sendable, Equatable {
        package var peer: PeerGroup
        /// Where it has its address; `nil` for our own.
        package var namespace: NamespaceName?
        package var offence: Offence
        /// Since it was last forgiven.
        package var offences: Int
        /// CLOCK_MONOTONIC nanoseconds.
        package var until: UInt64
        /// Handshakes that were refused.
        package var refused: Int
    }

    /// Addresses of one namespace say nothing about another's.
    private struct Key: Hashable, Sendable {
        let peer: PeerGroup
        let namespace: NamespaceName?
    }

    private var penalties: [Key: Penalty] = [:]
    /// Since the start.
    package private(set) var offences: [Offence: Int] = [:]
    /// Handshakes that were refused since the start.
    package private(set) var refused = 0

    /// Peers that are remembered.
    static let limit = 1024
    /// Nanoseconds.
    static let longest: UInt64 = 600_000_000_000

    package init() {}

    /// A peer has offended.
    ///
    /// - Returns: nanoseconds for which it is refused from now on; 0 where this once is forgiven.
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

    /// A peer wants a handshake.
    ///
    /// - Returns: why it is refused; `nil` when it is not.
    package mutating func refuse(_ peer: PeerGroup, in namespace: NamespaceName? = nil, now: UInt64) -> Penalty? {
        let key = Key(peer: peer, namespace: namespace)
        guard let penalty = penalties[key], now < penalty.until else { return nil }
        penalties[key]?.refused += 1
        refused += 1
        return penalty
    }

    /// Those that are refused, the longest first.
    package func current(_ now: UInt64) -> [Penalty] {
        penalties.values.filter { now < $0.until }.sorted { $0.until > $1.until }
    }

    /// Who has kept quiet for as long as the longest penalty begins anew.
    private mutating func forget(_ now: UInt64) {
        penalties = penalties.filter { now < $0.value.until + Self.longest }
    }

    /// A worker's death costs others at once. A handshake over budget may be the fault of a slow machine, and is
    /// forgiven once.
    private static func time(_ offence: Offence, _ count: Int) -> UInt64 {
        let (first, doublings): (UInt64, Int) =
            switch offence {
            case .workerKilled: (30_000_000_000, count - 1)
            case .overBudget: (count > 1 ? 5_000_000_000 : 0, count - 2)
            }
        return min(first << UInt64(min(max(doublings, 0), 8)), longest)
    }
}
