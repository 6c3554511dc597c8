internal import Handshake

/// What became of the handshakes since the start: counts of all, and the newest ones. Its size is bounded, whatever
/// peers do.
package struct HandshakeHistory: Sendable {
    /// How many handshakes are kept.
    package static let capacity = 256
    /// How many of these a peer may have when there is no room left: with more it replaces its own, so that no peer
    /// pushes out all others.
    static let share = capacity / 4
    /// Upper bounds of the histogram's buckets, in milliseconds.
    static let bounds = [2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]

    /// Consumers, results and reasons are all from fixed tables.
    private struct Kind: Hashable {
        let consumer: String
        let succeeded: Bool
        let reason: String
    }

    private var counts: [Kind: Int] = [:]
    /// The oldest first.
    private var kept: [(peer: PeerGroup, record: HandshakeRecord)] = []
    private var shares: [PeerGroup: Int] = [:]
    private(set) var buckets = [Int](repeating: 0, count: bounds.count + 1)
    private(set) var milliseconds = 0

    package init() {}

    package mutating func add(_ record: HandshakeRecord) {
        let kind = Kind(consumer: record.consumer, succeeded: record.succeeded, reason: record.reason)
        counts[kind, default: 0] += 1
        buckets[Self.bounds.firstIndex { record.milliseconds <= $0 } ?? Self.bounds.count] += 1
        milliseconds += record.milliseconds
        let peer = PeerGroup(socketAddress: record.peer)
        if kept.count >= Self.capacity {
            let isLarge = shares[peer, default: 0] >= Self.share
            let gone = kept.remove(at: isLarge ? kept.firstIndex { $0.peer == peer } ?? 0 : 0).peer
            shares[gone, default: 1] -= 1
            if shares[gone] == 0 { shares[gone] = nil }
        }
        kept.append((peer, record))
        shares[peer, default: 0] += 1
    }

    /// The newest handshakes, at most `count`, the newest first.
    package func newest(_ count: Int) -> [HandshakeRecord] {
        kept.suffix(max(0, count)).reversed().map(\.record)
    }

    /// The newest failures, the newest first.
    func failures(_ count: Int) -> [HandshakeRecord] {
        newest(Self.capacity).lazy.filter { !$0.succeeded }.prefix(count).map { $0 }
    }

    /// In a fixed order.
    var totals: [ServiceReport.Count] {
        counts.map {
            ServiceReport.Count(
                consumer: $0.key.consumer, result: $0.key.succeeded ? "success" : "failure", reason: $0.key.reason,
                count: $0.value)
        }
        .sorted { ($0.consumer, $0.result, $0.reason) < ($1.consumer, $1.result, $1.reason) }
    }

    /// The newest of each consumer with each peer that failed and has not succeeded since, within `seconds`. Servers'
    /// only where the reason is ours: any stranger can fail at a server. Those with a reason of ours come first, as
    /// they can be mended here.
    func lasting(now: Int, seconds: Int) -> [HandshakeRecord] {
        var seen: Set<String> = []
        let found = newest(Self.capacity).filter { record in
            let host = PeerAddress(socketAddress: record.peer).address
            let isNewest = seen.insert("\(record.consumer) \(record.namespace) \(host)").inserted
            return isNewest && !record.succeeded && record.time >= now - seconds
                && (record.role == "client" || record.isOurs)
        }
        return found.filter(\.isOurs) + found.filter { !$0.isOurs }
    }
}
