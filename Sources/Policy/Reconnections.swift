/// Detects consumers that drop connections shortly after a successful handshake and reconnect, possibly for hours: each
/// log line reports success, but nothing works. Pure bookkeeping.
///
/// Handshakes within one second count as one round: a host opens a connection per queue, a client several per mount.
package struct Reconnections: Sendable {
    /// Handshakes with the same key are counted together.
    package struct Pair: Hashable, Sendable {
        package let consumer: String
        let peer: PeerGroup
        let pskIdentity: String?

        package init(consumer: String, peer: PeerGroup, pskIdentity: String?) {
            self.consumer = consumer
            self.peer = peer
            self.pskIdentity = pskIdentity
        }
    }

    /// Counts of the last minute.
    package struct Finding: Equatable, Sendable {
        package var handshakes: Int
        package var rounds: Int
    }

    private struct Round: Sendable {
        let begin: UInt64
        var handshakes: Int
    }

    private struct Record: Sendable {
        var rounds: [Round] = []
        var last: UInt64 = 0
        /// Time of the last report; `nil` if there was none.
        var foundAt: UInt64?
    }

    private var records: [Pair: Record] = [:]

    /// Rounds per minute that are reported. Consumers retry every 10 s (NVMe) or more often.
    static let tooMany = 5
    /// Nanoseconds.
    static let minute: UInt64 = 60_000_000_000
    static let gap: UInt64 = 1_000_000_000
    /// Minimum time between two reports for the same pair.
    static let silence = 10 * minute
    /// Maximum number of records. Unauthenticated peers cannot fill them, because only successful handshakes count.
    static let limit = 1024

    package init() {}

    /// Records a connection that ended within seconds of its handshake.
    ///
    /// - Parameter now: time of the end, CLOCK_MONOTONIC nanoseconds. Rarely less than before for the same pair.
    /// - Returns: A finding to report; at most one per pair in ten minutes.
    package mutating func note(_ pair: Pair, now: UInt64) -> Finding? {
        if records[pair] == nil, records.count >= Self.limit {
            records = records.filter { now < $0.value.last + Self.minute }
            guard records.count < Self.limit else { return nil }
        }
        var record = records[pair] ?? Record()
        defer { records[pair] = record }
        let now = max(now, record.last)
        if now - record.last >= Self.gap || record.rounds.isEmpty {
            record.rounds.removeAll { now - $0.begin >= Self.minute }
            record.rounds.append(Round(begin: now, handshakes: 0))
        }
        record.last = now
        record.rounds[record.rounds.count - 1].handshakes += 1
        guard record.rounds.count >= Self.tooMany, record.foundAt.map({ now - $0 >= Self.silence }) ?? true else {
            return nil
        }
        record.foundAt = now
        return Finding(handshakes: record.rounds.reduce(0) { $0 + $1.handshakes }, rounds: record.rounds.count)
    }
}
