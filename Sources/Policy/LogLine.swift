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

extension Unicode.Scalar {
    /// True for characters that a terminal or a line reader may interpret instead of displaying: control characters,
    /// invisible characters and those that change the direction of text (Unicode category Cf), line and paragraph
    /// separators, and private use characters.
    package var isControlling: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .surrogate: true
        default: false
        }
    }
}

extension LogLine {
    /// Makes text from peers (names, identities, subjects) safe for the log and the terminal: characters that are not
    /// displayed become `\u{202e}`, their number in hexadecimal.
    package static func printable(_ text: String) -> String {
        // Fast path: nearly every text is plain ASCII, and classifying each character took a tenth of the broker's
        // time.
        guard text.utf8.contains(where: { !(0x20..<0x7F).contains($0) }) else { return text }
        var printable = ""
        for scalar in text.unicodeScalars {
            if scalar.isControlling {
                printable += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                printable.unicodeScalars.append(scalar)
            }
        }
        return printable
    }
}

/// Result lines in ktls-utils' format, for scripts that parse them. The raw value is the ktls-utils release in the
/// settings.
package enum HistoricLine: String, Sendable, CaseIterable {
    /// Format of releases before 1.2.0.
    case until11 = "1.1"
    /// Format of releases since 1.2.0.
    case since12 = "1.2"

    /// Line for a malformed request.
    package static let refused = "Handshake request failed"

    /// - Parameter peer: if the kernel gives no name, the address takes its place; ktls-utils would ask DNS.
    package func text(succeeded: Bool, with peer: PeerAddress) -> String {
        let address = LogLine.printable(String(peer.address))
        let name = peer.name.flatMap { $0.isEmpty ? nil : LogLine.printable($0) } ?? address
        return switch (succeeded, self) {
        case (true, .until11): "Handshake with \(name) (\(address)) was successful"
        case (true, .since12): "Handshake with '\(name)' (\(address)) succeeded"
        case (false, _): "Handshake with '\(name)' (\(address)) failed"
        }
    }
}

/// A journal event other than a failed handshake. The raw value is its MESSAGE_ID.
///
/// Scripts and the catalogue (systemd/tlshd.catalog) refer to these IDs: a published ID is never changed or reused.
package enum LogEvent: String, Sendable, CaseIterable {
    /// A handshake has succeeded.
    case handshakeSucceeded = "ae8007625cba4859a890a1a4d610fb19"
    /// A connection has new keys.
    case keysUpdated = "7ce299c500ac4502ae75e3f825a7bcf4"
    /// The daemon is ready.
    case ready = "4da163cb721b40e38e85a4853bd19fb3"
    /// The daemon has ended.
    case stopped = "c9e66ebaa2744cdbb334324b24961bb5"
    /// GnuTLS policy and kernel leave no cipher suite.
    case cannotServe = "7ca1217e659a49a1857700eb24ba1854"
    /// Settings were read and are in force.
    case settingsInForce = "6866e6441c7743cfbc4baa5c24719b80"
    /// Settings files cannot be used.
    case settingsRefused = "9ab227d19ded486eb5bafb5e8f71f5fa"
    /// Changed session tags cannot be used.
    case tagsRefused = "7296e5c441a746b68ed107c893c712c4"
    /// A role's certificates, keys and stores were read and are in force.
    case credentialsInForce = "5e50fd07557b4b2abc5cadef4d8fd8af"
    /// A role's certificates, keys or stores cannot be used.
    case credentialsRefused = "be8a083e01fd476db1cdd662cb604076"
    /// Keyrings, or the keys of `psk.file`, cannot be used.
    case keysRefused = "c54749f845cf471dbde8fb195f7d34bc"
    /// A worker died or was killed.
    case workerEnded = "d15e6b30853b42e8bbda39647e38e5bd"
    /// Workers die repeatedly; their restarts are delayed.
    case workersDieYoung = "2d429f3e769a4ff584c38da3b50a62fb"
    /// A worker cannot be started.
    case workerNotStarted = "da0151a6db23452ea6bb0cd0b66d7cf3"
    /// Part of a sandbox is not available on this kernel.
    case lessConfined = "7a2486b891a24163a0e8765836c964e0"
    /// The signer died or was killed.
    case signerEnded = "25889a3232114afb858929acad6b8f26"
    /// The signer cannot be started.
    case signerNotStarted = "5875cded49854345acb9e4edc1b23422"
    /// Another process also takes handshake requests, or may do so.
    case rivalListens = "c69ff247695448419ffaa9e10ce95a59"
    /// The other process no longer does.
    case rivalGone = "134b566f2e4a4c6a9a03d0e2219af8fd"
    /// A consumer repeatedly drops connections after a successful handshake.
    case consumerReconnects = "bc91a63b3ce04b25958e2310245d0fc6"
    /// An unauthenticated peer exceeded its processor time budget.
    case handshakeOverBudget = "57c5240665e049bba3ead135f02b528f"
    /// A peer is refused for a time because it cost too much.
    case peerRefused = "ac3e8367807f4bbfad99504d2989e7b6"
    /// Log lines about failed handshakes were omitted.
    case failuresSummarised = "fcc8502421be4bc8a2657541e894aea5"
    /// A network namespace cannot be served.
    case namespaceNotServed = "f3eef85da026482db6a9663d6efe1fe8"
}

/// Admits the first log lines of each sender and counts the rest, so that no sender can crowd out the lines of others.
/// A pure value with bounded size.
///
/// It counts in windows of one minute. A window begins with the first line after the end of the last window.
package struct LogThrottle<Sender: Hashable & Sendable>: Sendable {
    /// Lines of a sender that were withheld in a window.
    package struct Summary: Sendable, Equatable {
        /// `nil` for senders that exceeded the number that is told apart.
        package var sender: Sender?
        package var count: Int
        /// Subject of the last withheld line.
        package var last: String
    }

    private struct Record: Sendable {
        var admitted = 0
        var withheld = 0
        var last = ""
    }

    /// Limits per window: lines of one sender, and of all senders together.
    private let most: Int
    private let mostInAll: Int
    private var records: [Sender?: Record] = [:]
    private var admitted = 0
    private var windowEnd: UInt64?

    /// Length of a window in nanoseconds.
    package static var window: UInt64 { 60_000_000_000 }
    /// Number of senders that are told apart.
    static var mostSenders: Int { 256 }

    package init(most: Int, mostInAll: Int) {
        self.most = most
        self.mostInAll = mostInAll
    }

    /// Decides about a line.
    ///
    /// - Parameters:
    ///   - about: subject of the line in a few words.
    ///   - now: CLOCK_MONOTONIC nanoseconds. Due summaries must have been taken.
    /// - Returns: `true` if the line is to be written.
    package mutating func admits(_ sender: Sender, about: @autoclosure () -> String, now: UInt64) -> Bool {
        if windowEnd == nil { windowEnd = now + Self.window }
        let isKnown = records[sender] != nil || records.count < Self.mostSenders
        let key = isKnown ? sender : nil
        var record = records[key] ?? Record()
        defer { records[key] = record }
        guard isKnown, record.admitted < most, admitted < mostInAll else {
            record.withheld += 1
            record.last = about()
            return false
        }
        record.admitted += 1
        admitted += 1
        return true
    }

    /// Time at which summaries are due; `nil` if no window is open.
    package var nextDue: UInt64? { windowEnd }

    /// Withheld lines of a window that has ended, largest count first. Closes the window.
    package mutating func summaries(at now: UInt64) -> [Summary] {
        guard let windowEnd, windowEnd <= now else { return [] }
        defer {
            records = [:]
            admitted = 0
            self.windowEnd = nil
        }
        return records.filter { $0.value.withheld > 0 }
            .map { Summary(sender: $0.key, count: $0.value.withheld, last: $0.value.last) }
            .sorted { $0.count > $1.count }
    }
}

/// Splits the standard error of a process into lines. Lines are bounded and printable, whatever the process writes.
package struct OutputLines: Sendable {
    /// Limit of a line in bytes. The rest of a longer line is dropped.
    package static let longest = 512

    private var begun: [UInt8] = []
    private var isCut = false

    package init() {}

    /// - Parameter isLast: true at the end of the output; an incomplete line is then complete.
    package mutating func take(_ bytes: [UInt8], isLast: Bool = false) -> [String] {
        var lines: [String] = []
        for byte in bytes {
            if byte == UInt8(ascii: "\n") {
                end(&lines)
            } else if begun.count < Self.longest {
                begun.append(byte)
            } else {
                isCut = true
            }
        }
        if isLast { end(&lines) }
        return lines
    }

    private mutating func end(_ lines: inout [String]) {
        if !begun.isEmpty {
            lines.append(LogLine.printable(String(decoding: begun, as: UTF8.self)) + (isCut ? " [...]" : ""))
        }
        begun = []
        isCut = false
    }
}
