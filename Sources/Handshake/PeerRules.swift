/// How strictly something is demanded that not every peer does.
package enum Strictness: UInt8, Sendable, Hashable, CaseIterable {
    /// Not looked at.
    case off = 0
    /// Said in the log line, and nothing more.
    case log = 1
    /// Without it there is no session.
    case enforce = 2
}

/// What is asked of the extended key usages of a peer's certificates.
package enum PurposeRule: UInt8, Sendable, Hashable, CaseIterable {
    /// Nothing.
    case off = 0
    /// RFC 9289's purpose for the peer's part, or any, in the peer's own; what lacks is said in the log line.
    case log = 1
    /// The same besides `standard`, and without it there is no session.
    case enforce = 2
    /// Where the extension is present, the purpose of TLS or of RFC 9289 for the peer's part, or any; in its own
    /// certificate and in each intermediate.
    case standard = 3
}

/// What becomes of a peer with an intermediate whose issuer has no revocation list, where lists are used. The issuer of
/// the peer's own certificate must have one in any case.
package enum MissingList: UInt8, Sendable, Hashable, CaseIterable {
    case refuse = 0
    /// It is let in, and the log line says so.
    case log = 1
}

/// A SHA-256 digest that a peer's certificate must have.
package struct Pin: Sendable, Hashable {
    package enum Subject: UInt8, Sendable, Hashable, CaseIterable {
        /// Of the whole certificate: each renewal changes it.
        case certificate = 1
        /// Of its public key (SubjectPublicKeyInfo), which a renewal may keep.
        case key = 2
    }

    package let subject: Subject
    /// 32 bytes.
    package let digest: [UInt8]

    package static let length = 32

    package init(_ subject: Subject, _ digest: [UInt8]) {
        self.subject = subject
        self.digest = digest
    }

    /// As settings write it.
    package var description: String { Self.prefix(subject) + hexadecimal(digest) }

    package static func prefix(_ subject: Subject) -> String {
        switch subject {
        case .certificate: "sha256:"
        case .key: "key-sha256:"
        }
    }
}

/// One alternative name that a peer's certificate may carry to be let in.
package enum AllowedName: Sendable, Hashable {
    /// Whole, or with `*.` for the first label; upper and lower case are alike.
    case dns(String)
    case address(NetworkPrefix)
    case uri(TextPattern)
    case email(TextPattern)

    func fits(_ name: AlternativeName) -> Bool {
        switch (self, name) {
        case (.dns(let pattern), .dns(let name)): DomainPattern.matches(pattern, name)
        case (.address(let prefix), .address(let address)): prefix.contains(address)
        case (.uri(let pattern), .uri(let text)), (.email(let pattern), .email(let text)): pattern.matches(text)
        case (.dns, _), (.address, _), (.uri, _), (.email, _): false
        }
    }
}

/// What a role asks of its peers' certificates, besides that they verify. A client that presents none is not judged by
/// it unless one is required: the server's consumer decides about such clients.
package struct PeerRules: Sendable, Hashable {
    /// Whether a client must present a certificate; a server always must.
    package var requiresCertificate = false
    /// Any of them must fit; none allows all.
    package var pins: [Pin] = []
    package var names: [AllowedName] = []
    package var subjects: [NamePattern] = []
    package var issuers: [NamePattern] = []
    package var purpose = PurposeRule.standard
    /// RSA keys with fewer bits are refused in every certificate of the peer's chain, and of our own.
    package var leastRSABits: UInt16 = Self.smallestRSA
    /// Whether the peer must agree on the application protocol.
    package var applicationProtocol = Strictness.off
    package var missingList = MissingList.refuse

    package init() {}

    /// Bounds for what the settings may hold, so that a message can carry them.
    package static let longestText = 256
    package static let most = 32
    /// Bits below which no RSA key is taken, whatever the settings say.
    package static let smallestRSA: UInt16 = 1024
    /// Bits below which an RSA key is too small by today's rules (NIST SP 800-131A), and is told.
    package static let soundRSA: UInt16 = 2048

    package func isPinned(_ facts: CertificateFacts) -> Bool {
        pins.contains { pin in
            switch pin.subject {
            case .certificate: pin.digest == facts.sha256
            case .key: pin.digest == facts.keySHA256
            }
        }
    }

    /// Judges a certificate that has been verified, or that is pinned.
    ///
    /// - Parameter peer: the part that the certificate's owner plays.
    /// - Returns: what is to be said in the log line though it is let in.
    /// - Throws: why it is refused.
    package func judge(_ facts: CertificateFacts, of peer: Role) throws(HandshakeFailure) -> [String] {
        if !pins.isEmpty, !isPinned(facts) {
            throw HandshakeFailure(
                .certificateNotPinned,
                "\(facts.subject) has \(Pin(.certificate, facts.sha256).description), \(Pin(.key, facts.keySHA256).description)"
            )
        }
        if !names.isEmpty, !names.contains(where: { rule in facts.names.contains(where: rule.fits) }) {
            let carried = facts.names.map(\.description).joined(separator: ", ")
            throw HandshakeFailure(
                .certificateNotAllowed,
                "x509.allow.san: \(facts.subject) carries \(carried.isEmpty ? "no subjectAltName" : carried)")
        }
        if !subjects.isEmpty, !subjects.contains(where: { $0.matches(facts.subject) }) {
            throw HandshakeFailure(.certificateNotAllowed, "x509.allow.subject: it is \(facts.subject)")
        }
        if !issuers.isEmpty, !issuers.contains(where: { $0.matches(facts.issuer) }) {
            throw HandshakeFailure(
                .certificateNotAllowed, "x509.allow.issuer: \(facts.subject) was issued by \(facts.issuer)")
        }
        guard let lack = lackOfPurpose(facts, peer) else { return [] }
        if purpose == .enforce { throw HandshakeFailure(.certificatePurposeMismatch, lack) }
        return [lack]
    }

    /// Judges what was agreed as application protocol.
    ///
    /// - Returns: what is to be said in the log line though it is let in.
    package func judge(applicationProtocol agreed: String, wanted: String) throws(HandshakeFailure) -> [String] {
        guard applicationProtocol != .off, agreed != wanted else { return [] }
        let lack = "the peer did not agree on ALPN \(wanted)"
        if applicationProtocol == .enforce { throw HandshakeFailure(.applicationProtocolMissing, lack) }
        return [lack]
    }

    /// Judges the answer of a server that chose an application protocol which it was not offered; TLS libraries take it
    /// for none (RFC 7301 §3.1).
    ///
    /// - Returns: what is to be said in the log line though it is let in.
    package func judge(unoffered name: String) throws(HandshakeFailure) -> [String] {
        let breach = "the server chose ALPN \(name), which was not offered"
        if applicationProtocol == .enforce { throw HandshakeFailure(.applicationProtocolMismatch, breach) }
        return [breach]
    }

    private func lackOfPurpose(_ facts: CertificateFacts, _ peer: Role) -> String? {
        guard purpose == .log || purpose == .enforce else { return nil }
        let (name, wanted) =
            switch peer {
            case .client: ("rpcTLSClient", Purpose.rpcTLSClient)
            case .server: ("rpcTLSServer", Purpose.rpcTLSServer)
            }
        guard let purposes = facts.purposes else { return "\(facts.subject) has no extended key usage \(name)" }
        guard !purposes.contains(wanted), !purposes.contains(Purpose.any) else { return nil }
        let others = purposes.isEmpty ? "none that can be read" : purposes.joined(separator: ", ")
        return "\(facts.subject) has no extended key usage \(name), only \(others)"
    }
}

/// What may be negotiated by a role, where that is less than the crypto policy and the kernel allow.
package struct NegotiationLimits: Sendable, Hashable {
    /// Names of RFC 8446; empty for all.
    package var suites: [String] = []
    /// The library's names of key-exchange groups; empty for all.
    package var groups: [String] = []

    package init() {}

    package var isEmpty: Bool { suites.isEmpty && groups.isEmpty }
}

/// Lower-case hexadecimal.
package func hexadecimal(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}
