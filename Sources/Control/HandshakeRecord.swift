package import Handshake
package import Policy

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
    }

    var json: JSON {
        .object([
            ("time", .number(time)), ("consumer", .text(consumer)), ("mode", .text(mode)), ("role", .text(role)),
            ("peer", .text(peer)), ("peerName", .text(peerName)), ("namespace", .text(namespace)),
            ("profile", .text(profile)), ("succeeded", .flag(succeeded)), ("status", .text(status)),
            ("reason", .text(reason)), ("isOurs", .flag(isOurs)), ("milliseconds", .number(milliseconds)),
            ("text", .text(text)),
        ])
    }

    /// JSON document with handshakes.
    package static func document(_ records: [HandshakeRecord]) -> String {
        JSON.object([("protocol", .number(1)), ("handshakes", .list(records.map(\.json)))]).description + "\n"
    }
}
