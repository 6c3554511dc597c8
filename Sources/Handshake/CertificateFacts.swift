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
