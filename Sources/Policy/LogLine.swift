package import Handshake

/// The peer of a handshake, as far as it is known from the socket and the consumer.
package struct PeerAddress: Sendable, Equatable {
    /// Numeric address and port, such as `192.0.2.1:2049` or `[2001:db8::1]:4420`.
    package var socketAddress: String
    /// The name that the consumer gave, if any.
    package var name: String?

    /// The address without its port and brackets.
    package var address: Substring {
        let address = socketAddress.prefix(upTo: socketAddress.lastIndex(of: ":") ?? socketAddress.endIndex)
        guard address.first == "[", address.last == "]" else { return address }
        return address.dropFirst().dropLast()
    }

    package init(socketAddress: String, name: String? = nil) {
        self.socketAddress = socketAddress
        // Normalised, because a consumer may write an IPv4 address as IPv4-mapped IPv6.
        self.name = name.flatMap { NetworkAddress($0) }.flatMap { $0.isIPv4 ? $0.description : nil } ?? name
    }
}

/// The log line of a handshake, and its journal fields.
package struct LogLine: Sendable, Equatable {
    /// One sentence; never key material.
    package let text: String
    /// Journal fields (upper case) and their values; MESSAGE_ID is one of them.
    package let fields: [(name: String, value: String)]
    /// True if the handshake succeeded.
    package let succeeded: Bool

    package static func == (left: LogLine, right: LogLine) -> Bool {
        left.text == right.text && left.succeeded == right.succeeded
            && left.fields.elementsEqual(right.fields) { $0 == $1 }
    }

    /// - Parameter profile: the name of the profile in use; `nil` for the default.
    package init(
        _ result: HandshakeResult, of request: HandshakeRequest, with peer: PeerAddress, profile: String? = nil
    ) {
        let peerText = Self.describe(peer)
        let consumer = Self.consumer(of: request)
        let subject = consumer + Self.place(request, profile)
        let milliseconds = Self.milliseconds(result.elapsed)
        var fields = [
            ("TLSHD_CONSUMER", consumer), ("TLSHD_PEER", peer.socketAddress),
            ("TLSHD_MODE", Self.mode(of: request)), ("TLSHD_STATUS", result.status.name),
            ("TLSHD_MILLISECONDS", milliseconds),
        ]
        if let namespace = request.namespace { fields.append(("TLSHD_NAMESPACE", namespace.description)) }
        if let profile { fields.append(("TLSHD_PROFILE", profile)) }
        if let name = peer.name { fields.append(("TLSHD_PEER_NAME", name)) }
        if let subject = result.peerCertificate?.subject { fields.append(("TLSHD_PEER_SUBJECT", subject)) }
        if let identity = result.pskIdentity { fields.append(("TLSHD_PSK_IDENTITY", identity)) }

        switch result.outcome {
        case .success(let session):
            succeeded = true
            let event = request.keyUpdate == nil ? LogEvent.handshakeSucceeded : .keysUpdated
            fields.append(("MESSAGE_ID", event.rawValue))
            if let update = request.keyUpdate {
                text =
                    "\(subject): TLS with \(peerText) has new keys: \(Self.describe(update.steps)), "
                    + "\(session.cipherSuite), \(milliseconds) ms"
                break
            }
            var parts = [Self.mode(of: request), session.cipherSuite, session.group]
            if !session.applicationProtocol.isEmpty { parts.append("ALPN " + session.applicationProtocol) }
            parts.append(Self.authenticated(result, session, request))
            if Self.isNameless(request) { parts.append("no name was given to verify") }
            if !result.tags.isEmpty { parts.append("tags " + result.tags.map(Self.printable).joined(separator: " ")) }
            parts += result.remarks.map { "but " + Self.printable($0) }
            parts.append(milliseconds + " ms")
            text = "\(subject): TLS with \(peerText) is up: " + parts.joined(separator: ", ")
            if !result.tags.isEmpty { fields.append(("TLSHD_TAGS", result.tags.joined(separator: " "))) }
            if !result.remarks.isEmpty { fields.append(("TLSHD_REMARK", result.remarks.joined(separator: "; "))) }
            fields += [("TLSHD_CIPHER_SUITE", session.cipherSuite), ("TLSHD_GROUP", session.group)]
        case .failure(let failure):
            succeeded = false
            let row = failure.reason.row
            // On AF_TLSH the result is the close itself; there is no status.
            let isListener = request.transport == .listener
            var told = [
                isListener
                    ? "closed without \(request.keyUpdate == nil ? "" : "new ")keys" : "kernel told \(row.status.name)"
            ]
            if let alert = result.alertSent { told.append("sent alert \(alert.name)") }
            if let alert = result.alertReceived { told.append("received alert \(alert.name)") }
            told.append(milliseconds + " ms")
            let what = request.keyUpdate == nil ? "TLS" : "key update"
            text =
                "\(subject): \(what) with \(peerText) failed: \(Self.describe(failure)); "
                + told.joined(separator: ", ")
            fields += Self.fields(of: failure)
            if let alert = result.alertSent { fields.append(("TLSHD_ALERT_SENT", alert.name)) }
            if let alert = result.alertReceived { fields.append(("TLSHD_ALERT_RECEIVED", alert.name)) }
        }
        self.fields = fields.map { (name: $0.0, value: Self.printable($0.1)) }
    }

    /// The line of a request that was malformed or can never be served.
    ///
    /// - Parameter peerAddress: numeric address and port, or `unknown`.
    package init(refused failure: HandshakeFailure, of peerAddress: String) {
        succeeded = false
        let status = failure.reason.row.status.name
        text = "request for \(peerAddress) refused: \(Self.describe(failure)); kernel told \(status)"
        fields =
            [("TLSHD_PEER", peerAddress), ("TLSHD_STATUS", status)]
            + Self.fields(of: failure).map { (name: $0.0, value: Self.printable($0.1)) }
    }

    private static func describe(_ failure: HandshakeFailure) -> String {
        let row = failure.reason.row
        let detail = failure.detail.isEmpty ? "" : " (\(printable(failure.detail)))"
        return "\(row.explanation)\(detail); remedy: \(row.remedy)"
    }

    private static func fields(of failure: HandshakeFailure) -> [(String, String)] {
        [("MESSAGE_ID", failure.reason.row.messageID), ("TLSHD_REASON", "\(failure.reason)")]
            + (failure.detail.isEmpty ? [] : [("TLSHD_DETAIL", failure.detail)])
            + [("TLSHD_REMEDY", failure.reason.row.remedy)]
    }

    private static func describe(_ steps: KeyUpdate.Steps) -> String {
        [
            steps.contains(.receive) ? "the peer's" : nil, steps.contains(.send) ? "ours" : nil,
            steps.contains(.updateRequested) ? "asking for the peer's" : nil,
        ].compactMap(\.self).joined(separator: ", ")
    }

    /// The likely consumer. The kernel does not name it; today only NVMe uses PSKs, and an NFS server, unlike DRBD,
    /// does not give the name of the expected client.
    package static func consumer(of request: HandshakeRequest) -> String {
        guard request.transport == .netlink else { return "AF_TLSH \(request.role)" }
        return switch (request.role, request.authentication) {
        case (.client, .preSharedKey): "NVMe host"
        case (.server, .preSharedKey): "NVMe target"
        case (.client, .unauthenticated), (.client, .x509): "NFS client"
        case (.server, .unauthenticated), (.server, .x509):
            (request.peerName ?? "").isEmpty ? "NFS server" : "TLS server"
        }
    }

    static func mode(of request: HandshakeRequest) -> String {
        switch request.authentication {
        case .unauthenticated: "anonymous client"
        case .preSharedKey: "PSK"
        case .x509: "x509"
        }
    }

    /// True if a client verified its server without a name.
    private static func isNameless(_ request: HandshakeRequest) -> Bool {
        request.role == .client && request.authentication != .preSharedKey && (request.peerName ?? "").isEmpty
    }

    private static func authenticated(
        _ result: HandshakeResult, _ session: NegotiatedSession, _ request: HandshakeRequest
    ) -> String {
        if let identity = result.pskIdentity { return "identity \"\(printable(identity))\"" }
        guard session.peerAuthenticated else { return "peer without certificate" }
        return "peer \(printable(result.peerCertificate?.subject ?? "verified"))"
    }

    /// Name and address of a peer in log lines.
    package static func describe(_ peer: PeerAddress) -> String {
        guard let name = peer.name, !name.isEmpty else { return peer.socketAddress }
        return "\(printable(name)) (\(peer.socketAddress))"
    }

    /// Such as ` in namespace blue, profile red`; defaults are omitted.
    private static func place(_ request: HandshakeRequest, _ profile: String?) -> String {
        (request.namespace.map { " in namespace \(printable($0.description))" } ?? "")
            + (profile.map { ", profile \(printable($0))" } ?? "")
    }

    package static func milliseconds(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        return "\(seconds * 1000 + attoseconds / 1_000_000_000_000_000)"
    }
}
