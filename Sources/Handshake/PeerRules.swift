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

/// Fields of a peer's certificate as plain values. The rules of settings and session tags are evaluated on these
/// without a TLS library. Filled in by a worker; untrusted until the certificate has been verified.
package struct CertificateFacts: Sendable, Equatable {
    /// RFC 4514 text, most specific first.
    package var subject = ""
    /// RFC 4514 text, most specific first.
    package var issuer = ""
    package var names: [AlternativeName] = []
    /// Stored bytes, most significant first, including a leading zero if present.
    package var serialNumber: [UInt8] = []
    /// 1 to 3.
    package var version = 3
    /// GnuTLS name such as `RSA-SHA256`, and the dotted object identifier; either may be empty.
    package var signatureAlgorithm = ""
    package var signatureAlgorithmIdentifier = ""
    /// Seconds since 1970-01-01T00:00:00Z.
    package var notBefore: Int64 = 0
    /// Seconds since 1970-01-01T00:00:00Z.
    package var notAfter: Int64 = 0
    /// `nil` if the extension is absent, which allows every use (RFC 5280 §4.2.1.3).
    package var keyUsage: KeyUsage?
    /// Dotted object identifiers; `nil` if the extension is absent, which allows every purpose (RFC 5280 §4.2.1.12).
    package var purposes: [String]?
    /// Digests of the whole certificate, and of its public key (SubjectPublicKeyInfo).
    package var sha1: [UInt8] = []
    package var sha256: [UInt8] = []
    package var keySHA256: [UInt8] = []

    package init() {}

    package var isSelfSigned: Bool { subject == issuer }
}

/// An entry of subjectAltName (RFC 5280 §4.2.1.6).
package enum AlternativeName: Sendable, Equatable {
    case dns(String)
    case address(NetworkAddress)
    case uri(String)
    case email(String)
    /// Another type, or malformed.
    case other

    /// Form used in the log and in settings.
    package var description: String {
        switch self {
        case .dns(let name): "DNS:\(name)"
        case .address(let address): "IP:\(address)"
        case .uri(let uri): "URI:\(uri)"
        case .email(let address): "email:\(address)"
        case .other: "a name of another type"
        }
    }
}

/// The bits of RFC 5280 §4.2.1.3.
package struct KeyUsage: OptionSet, Sendable, Hashable {
    package let rawValue: UInt16

    package init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    package static let digitalSignature = KeyUsage(rawValue: 1)

    /// Names in RFC 5280 in bit order, and the newer name of `nonRepudiation`.
    private static let names: [(name: String, bit: UInt16)] = [
        ("digitalSignature", 0), ("nonRepudiation", 1), ("contentCommitment", 1), ("keyEncipherment", 2),
        ("dataEncipherment", 3), ("keyAgreement", 4), ("keyCertSign", 5), ("cRLSign", 6), ("encipherOnly", 7),
        ("decipherOnly", 8),
    ]

    /// `nil` for an unknown name.
    package init?(name: String) {
        guard let found = Self.names.first(where: { $0.name == name }) else { return nil }
        rawValue = 1 << found.bit
    }
}

/// Purposes of an extended key usage.
package enum Purpose {
    /// RFC 9289 §5.2.1.1.
    package static let rpcTLSClient = "1.3.6.1.5.5.7.3.33"
    package static let rpcTLSServer = "1.3.6.1.5.5.7.3.34"
    package static let any = "2.5.29.37.0"
    /// RFC 5280 §4.2.1.12.
    private static let serverAuth = "1.3.6.1.5.5.7.3.1"
    private static let clientAuth = "1.3.6.1.5.5.7.3.2"

    /// Names in RFC 5280 §4.2.1.12 and RFC 9289.
    package static let names: [String: String] = [
        "serverAuth": serverAuth, "clientAuth": clientAuth, "codeSigning": "1.3.6.1.5.5.7.3.3",
        "emailProtection": "1.3.6.1.5.5.7.3.4", "timeStamping": "1.3.6.1.5.5.7.3.8",
        "OCSPSigning": "1.3.6.1.5.5.7.3.9", "rpcTLSClient": rpcTLSClient, "rpcTLSServer": rpcTLSServer,
        "anyExtendedKeyUsage": any,
    ]

    /// Returns `true` if these extended key usages allow a certificate, or an intermediate above it, to serve a TLS
    /// role. `nil` means that the extension is absent, which allows every role.
    package static func allow(_ purposes: [String]?, _ role: Role) -> Bool {
        let fitting: Set<String> =
            switch role {
            case .client: [clientAuth, rpcTLSClient, any]
            case .server: [serverAuth, rpcTLSServer, any]
            }
        return purposes.map { !fitting.isDisjoint(with: $0) } ?? true
    }

    /// Name of a purpose, or its dotted identifier.
    package static func name(_ identifier: String) -> String {
        names.first { $0.value == identifier }?.key ?? identifier
    }

    /// Dotted identifier of a purpose given by name or identifier; `nil` for other texts.
    package static func identifier(_ text: String) -> String? {
        names[text] ?? (isObjectIdentifier(text) ? text : nil)
    }
}

/// Returns `true` for a dotted object identifier.
func isObjectIdentifier(_ text: String) -> Bool {
    let arcs = text.split(separator: ".", omittingEmptySubsequences: false)
    return arcs.count >= 3 && text.utf8.count <= 128
        && arcs.allSatisfy { arc in
            !arc.isEmpty && arc.utf8.allSatisfy { (0x30...0x39).contains($0) } && (arc == "0" || arc.first != "0")
        }
}
