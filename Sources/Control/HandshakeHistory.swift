package import Handshake
package import Policy

/// Handshakes since the start: counts, and the newest records. Its size is bounded.
package struct HandshakeHistory: Sendable {
    /// Maximum number of records.
    package static let capacity = 256
    /// Maximum number of records per peer when the history is full. A peer with more replaces its own, so that it
    /// cannot displace those of others.
    static let share = capacity / 4
    /// Upper bounds of the histogram buckets in milliseconds.
    static let bounds = [2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]

    /// All values come from fixed tables, so the number of kinds is bounded.
    private struct Kind: Hashable {
        let consumer: String
        let succeeded: Bool
        let reason: String
    }

    private var counts: [Kind: Int] = [:]
    /// Oldest first.
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

    /// The newest handshakes, at most `count`, newest first.
    package func newest(_ count: Int) -> [HandshakeRecord] {
        kept.suffix(max(0, count)).reversed().map(\.record)
    }

    /// The newest failures, newest first.
    func failures(_ count: Int) -> [HandshakeRecord] {
        newest(Self.capacity).lazy.filter { !$0.succeeded }.prefix(count).map { $0 }
    }

    /// Sorted.
    var totals: [ServiceReport.Count] {
        counts.map {
            ServiceReport.Count(
                consumer: $0.key.consumer, result: $0.key.succeeded ? "success" : "failure", reason: $0.key.reason,
                count: $0.value)
        }
        .sorted { ($0.consumer, $0.result, $0.reason) < ($1.consumer, $1.result, $1.reason) }
    }

    /// The newest failed handshake of each pair of consumer and peer that has not succeeded since, within `seconds`.
    /// For servers only failures with a cause on this host, because any peer can cause failures at a server. Failures
    /// with a cause on this host come first.
    func unresolved(now: Int, seconds: Int) -> [HandshakeRecord] {
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

/// Record of a finished handshake in the history.
package struct HandshakeRecord: Codable, Equatable, Sendable {
    /// Seconds since 1970-01-01T00:00:00Z.
    package var time: Int
    package var consumer: String
    package var mode: String
    package var role: String
    package var peer: String
    /// The name that the consumer gave. Empty if absent, as all texts here.
    package var peerName: String
    package var namespace: String
    package var profile: String
    package var succeeded: Bool
    /// Status in DONE.
    package var status: String
    /// `FailureReason`, such as certificateExpired.
    package var reason: String
    /// The cause is on this host, not with the peer or in between.
    package var isOurs: Bool
    package var milliseconds: Int
    /// Text of the log line.
    package var text: String
    /// Cipher suite, by its name in RFC 8446. `nil` if absent, as all that follow; an earlier tlshd sends none of them.
    package var suite: String?
    package var group: String?
    /// RFC 4514 text of the peer's certificate, verified or not.
    package var subject: String?
    /// PSK identity.
    package var identity: String?
    package var alertSent: String?
    package var alertReceived: String?
    package var remedy: String?

    /// - Parameter time: seconds since 1970-01-01T00:00:00Z.
    package init(_ line: LogLine, of request: HandshakeRequest, _ result: HandshakeResult, time: Int) {
        let fields = Dictionary(line.fields.map { ($0.name, $0.value) }) { first, _ in first }
        self.time = time
        consumer = fields["TLSHD_CONSUMER"] ?? ""
        mode = fields["TLSHD_MODE"] ?? ""
        role = "\(request.role)"
        peer = fields["TLSHD_PEER"] ?? ""
        peerName = fields["TLSHD_PEER_NAME"] ?? ""
        namespace = fields["TLSHD_NAMESPACE"] ?? ""
        profile = fields["TLSHD_PROFILE"] ?? ""
        succeeded = line.succeeded
        status = fields["TLSHD_STATUS"] ?? ""
        reason = fields["TLSHD_REASON"] ?? ""
        if case .failure(let failure) = result.outcome { isOurs = failure.reason.row.isOurs } else { isOurs = false }
        let (seconds, attoseconds) = result.elapsed.components
        milliseconds = Int(clamping: seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000)
        text = LogLine.printable(line.text)
        suite = fields["TLSHD_CIPHER_SUITE"]
        group = fields["TLSHD_GROUP"]
        subject = fields["TLSHD_PEER_SUBJECT"]
        identity = fields["TLSHD_PSK_IDENTITY"]
        alertSent = fields["TLSHD_ALERT_SENT"]
        alertReceived = fields["TLSHD_ALERT_RECEIVED"]
        remedy = fields["TLSHD_REMEDY"]
    }

    var json: JSON {
        .object([
            ("time", .number(time)), ("consumer", .text(consumer)), ("mode", .text(mode)), ("role", .text(role)),
            ("peer", .text(peer)), ("peerName", .text(peerName)), ("namespace", .text(namespace)),
            ("profile", .text(profile)), ("succeeded", .flag(succeeded)), ("status", .text(status)),
            ("reason", .text(reason)), ("isOurs", .flag(isOurs)), ("milliseconds", .number(milliseconds)),
            ("text", .text(text)), ("suite", .optional(suite)), ("group", .optional(group)),
            ("subject", .optional(subject)), ("identity", .optional(identity)), ("alertSent", .optional(alertSent)),
            ("alertReceived", .optional(alertReceived)), ("remedy", .optional(remedy)),
        ])
    }

    /// JSON document with handshakes.
    package static func document(_ records: [HandshakeRecord]) -> String {
        JSON.object([("protocol", .number(1)), ("handshakes", .list(records.map(\.json)))]).description + "\n"
    }
}
