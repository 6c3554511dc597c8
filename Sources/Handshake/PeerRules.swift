/// Enforcement level of a rule that not every peer satisfies.
package enum Strictness: UInt8, Sendable, Hashable, CaseIterable {
    /// Not checked.
    case off = 0
    /// A violation is mentioned in the log line.
    case log = 1
    /// A violation fails the handshake.
    case enforce = 2
}

/// Rule for the extended key usages of a peer's certificates.
package enum PurposeRule: UInt8, Sendable, Hashable, CaseIterable {
    /// Not checked.
    case off = 0
    /// The leaf must have RFC 9289's purpose for its role, or any; otherwise the log line mentions it.
    case log = 1
    /// Like `log` and `standard` together, but a violation fails the handshake.
    case enforce = 2
    /// If the extension is present, the leaf and each intermediate must have the TLS or RFC 9289 purpose for the role,
    /// or any.
    case standard = 3
}

/// Treatment of a peer with an intermediate whose issuer has no revocation list, if lists are used. The issuer of the
/// leaf must always have a list.
package enum MissingList: UInt8, Sendable, Hashable, CaseIterable {
    case refuse = 0
    /// The peer is accepted, and the log line mentions it.
    case log = 1
}

/// A SHA-256 digest that a peer's certificate must match.
package struct Pin: Sendable, Hashable {
    package enum Subject: UInt8, Sendable, Hashable, CaseIterable {
        /// Digest of the whole certificate. Each renewal changes it.
        case certificate = 1
        /// Digest of the public key (SubjectPublicKeyInfo), which a renewal may keep.
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

    /// Form used in settings.
    package var description: String { Self.prefix(subject) + hexadecimal(digest) }

    package static func prefix(_ subject: Subject) -> String {
        switch subject {
        case .certificate: "sha256:"
        case .key: "key-sha256:"
        }
    }
}

/// A subjectAltName that allows a peer.
package enum AllowedName: Sendable, Hashable {
    /// A whole name, or `*.` for the first label. Case-insensitive.
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

/// A role's rules for its peers' certificates, in addition to verification. They do not apply to a client without
/// certificate unless one is required: the server's consumer decides about such clients.
package struct PeerRules: Sendable, Hashable {
    /// True if a client must present a certificate. A server always must.
    package var requiresCertificate = false
    /// At least one must match; an empty list allows all. The same holds for the lists below.
    package var pins: [Pin] = []
    package var names: [AllowedName] = []
    package var subjects: [NamePattern] = []
    package var issuers: [NamePattern] = []
    package var purpose = PurposeRule.standard
    /// RSA keys with fewer bits are refused in every certificate of the peer's chain, and in our own.
    package var leastRSABits: UInt16 = Self.smallestRSA
    /// Enforcement of ALPN.
    package var applicationProtocol = Strictness.off
    package var missingList = MissingList.refuse

    package init() {}

    /// Limits of what settings may contain, so that it fits into a message.
    package static let longestText = 256
    package static let most = 32
    /// RSA keys with fewer bits are always refused, whatever the settings say.
    package static let smallestRSA: UInt16 = 1024
    /// RSA keys with fewer bits are too small by NIST SP 800-131A, and are mentioned in the log.
    package static let soundRSA: UInt16 = 2048

    package func isPinned(_ facts: CertificateFacts) -> Bool {
        pins.contains { pin in
            switch pin.subject {
            case .certificate: pin.digest == facts.sha256
            case .key: pin.digest == facts.keySHA256
            }
        }
    }

    /// Applies the rules to a certificate that has been verified or is pinned.
    ///
    /// - Parameter peer: role of the certificate's owner.
    /// - Returns: Remarks for the log line of an accepted peer.
    /// - Throws: The reason if it is refused.
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
        guard let lack = missingPurpose(facts, peer) else { return [] }
        if purpose == .enforce { throw HandshakeFailure(.certificatePurposeMismatch, lack) }
        return [lack]
    }

    /// Checks the negotiated ALPN protocol.
    ///
    /// - Returns: Remarks for the log line of an accepted peer.
    package func judge(applicationProtocol agreed: String, wanted: String) throws(HandshakeFailure) -> [String] {
        guard applicationProtocol != .off, agreed != wanted else { return [] }
        let lack = "the peer did not agree on ALPN \(wanted)"
        if applicationProtocol == .enforce { throw HandshakeFailure(.applicationProtocolMissing, lack) }
        return [lack]
    }

    /// Handles a server that selected an ALPN protocol that was not offered. TLS libraries treat this as no protocol
    /// (RFC 7301 §3.1).
    ///
    /// - Returns: Remarks for the log line of an accepted peer.
    package func judge(unoffered name: String) throws(HandshakeFailure) -> [String] {
        let breach = "the server chose ALPN \(name), which was not offered"
        if applicationProtocol == .enforce { throw HandshakeFailure(.applicationProtocolMismatch, breach) }
        return [breach]
    }

    private func missingPurpose(_ facts: CertificateFacts, _ peer: Role) -> String? {
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

/// A role's restriction of the algorithms that the crypto policy and the kernel allow.
package struct NegotiationLimits: Sendable, Hashable {
    /// Cipher suites by their names in RFC 8446; empty for all.
    package var suites: [String] = []
    /// Key-exchange groups by GnuTLS name; empty for all.
    package var groups: [String] = []

    package init() {}

    package var isEmpty: Bool { suites.isEmpty && groups.isEmpty }
}

/// Lower-case hexadecimal digits.
package func hexadecimal(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}
