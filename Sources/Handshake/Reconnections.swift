/// Notices consumers whose connections end soon after their handshakes have succeeded and that come back for the next,
/// for hours: each line of the log then tells of a success, and nothing works. A value; it reads no clock and says
/// nothing.
///
/// Handshakes that follow each other within a second are one round: a host opens a connection per queue, a client
/// several per mount.
package struct Reconnections: Sendable {
    /// Whose handshakes belong together.
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

    /// What the last minute had.
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
        /// When it was found last; `nil` if never.
        var foundAt: UInt64?
    }

    private var records: [Pair: Record] = [:]

    /// So many rounds in a minute are more than anybody needs who keeps connections. Consumers try again every 10 s
    /// (NVMe) or sooner.
    static let tooMany = 5
    /// Nanoseconds.
    static let minute: UInt64 = 60_000_000_000
    static let gap: UInt64 = 1_000_000_000
    /// A finding is told again after this long.
    static let silence = 10 * minute
    /// Pairs that are remembered; strangers cannot fill it, since only handshakes that succeeded count.
    static let limit = 1024

    package init() {}

    /// A connection has ended within seconds of its handshake.
    ///
    /// - Parameter now: when that was, CLOCK_MONOTONIC nanoseconds; hardly ever less than before for the same pair.
    /// - Returns: what is to be told, at most once in ten minutes for a pair.
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
