package import Handshake
package import Wire

/// A worker's question to the signer; docs/broker-protocol.md. The first byte is its kind.
package enum SigningQuestion: ChannelMessage {
    case sign(SigningRequest)
    /// Requests the public key of the key that came with the request of a handshake, in order to find its certificate.
    case describe(job: UInt64)

    package enum Kind: UInt8, CaseIterable, Sendable {
        case sign = 1
        case describe = 2
    }

    package static let title = "signing question"

    package var kind: Kind {
        switch self {
        case .sign: .sign
        case .describe: .describe
        }
    }

    package init(_ kind: Kind) {
        self =
            switch kind {
            case .sign: .sign(SigningRequest(job: 0, key: .ofRequest, scheme: .ed25519, role: .client, digest: []))
            case .describe: .describe(job: 0)
            }
    }

    package mutating func codeFields(
        _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        switch self {
        case .sign(var request):
            try request.code(&coder, in: &bytes)
            self = .sign(request)
        case .describe(var job):
            try coder.integer("job", &job, in: &bytes)
            self = .describe(job: job)
        }
    }

    /// The handshake whose permit is to be used.
    package var job: UInt64 {
        switch self {
        case .sign(let request): request.job
        case .describe(let job): job
        }
    }
}

/// Transcript hash of a TLS 1.3 handshake. The signer makes the content of CertificateVerify from it (RFC 8446 §4.4.3),
/// so that nothing else can be signed.
package struct SigningRequest: MessageFields, Sendable, Equatable {
    /// The handshake, for which the broker has permitted one signature.
    package var job: UInt64
    package var key: KeyReference
    package var scheme: SignatureScheme
    /// Role that CertificateVerify is made for.
    package var role: Role
    /// Transcript-Hash(handshake context, Certificate): SHA-256 or SHA-384.
    package var digest: [UInt8]

    package init(job: UInt64, key: KeyReference, scheme: SignatureScheme, role: Role, digest: [UInt8]) {
        self.job = job
        self.key = key
        self.scheme = scheme
        self.role = role
        self.digest = digest
    }

    /// Lengths of the hashes of TLS 1.3's cipher suites (RFC 8446 §B.4), in bytes.
    package static let digestLengths = [32, 48]
    static let longestDigest = 48

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.integer("job", &job, in: &bytes)
        try key.code(&coder, in: &bytes)
        try coder.choice("signature scheme", &scheme, in: &bytes)
        let roleStart = coder.offset
        try coder.choice("role", &role, in: &bytes)
        let start = coder.offset
        try coder.bytes("transcript digest", &digest, limit: Self.longestDigest, in: &bytes)
        try coder.require(
            Self.digestLengths.contains(digest.count), .outOfRange(field: "transcript digest", offset: start))
        // A client's certificate must not authenticate its host as a server, nor the reverse.
        try coder.require(key.fits(role), .outOfRange(field: "role of another's key", offset: roleStart))
    }

    /// The signed content (RFC 8446 §4.4.3).
    package var content: [UInt8] {
        let context =
            switch role {
            case .server: "TLS 1.3, server CertificateVerify"
            case .client: "TLS 1.3, client CertificateVerify"
            }
        return [UInt8](repeating: 0x20, count: 64) + Array(context.utf8) + [0] + digest
    }
}

/// The signer's answer. Answers are in the order of the questions.
package enum SigningAnswer: ChannelMessage {
    case signature([UInt8])
    /// SubjectPublicKeyInfo, DER.
    case publicKey([UInt8])
    /// The question was refused, for this reason.
    case refused(String)

    package enum Kind: UInt8, CaseIterable, Sendable {
        case signature = 1
        case publicKey = 2
        case refused = 3
    }

    package static let title = "signing answer"

    package var kind: Kind {
        switch self {
        case .signature: .signature
        case .publicKey: .publicKey
        case .refused: .refused
        }
    }

    package init(_ kind: Kind) {
        self =
            switch kind {
            case .signature: .signature([])
            case .publicKey: .publicKey([])
            case .refused: .refused("")
            }
    }

    package mutating func codeFields(
        _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        switch self {
        case .signature(var signature):
            try coder.bytes("signature", &signature, limit: MessageLimit.signature, in: &bytes)
            self = .signature(signature)
        case .publicKey(var key):
            try coder.bytes("public key", &key, limit: MessageLimit.publicKey, in: &bytes)
            self = .publicKey(key)
        case .refused(var why):
            try coder.text("reason", &why, limit: MessageLimit.text, in: &bytes)
            self = .refused(why)
        }
    }
}

/// Reference to a private key in a signer: that of a role in one generation, or that of the request of a handshake.
package struct KeyReference: MessageFields, Sendable, Hashable {
    package private(set) var rawValue: UInt64

    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// - Parameter pair: number of the pair of certificate and key among those of this kind, less than 256.
    package init(_ owner: CredentialsOwner, generation: UInt32, kind: CredentialKind, pair: UInt8) {
        rawValue =
            UInt64(kind.rawValue & 7) << 60 | UInt64(owner.role.rawValue & 15) << 56 | UInt64(pair) << 48
            | UInt64(owner.profile.rawValue) << 32 | UInt64(generation)
    }

    /// The key that came with the request of the handshake in question.
    package static let ofRequest = KeyReference(rawValue: 1 << 63)

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.integer("key", &rawValue, in: &bytes)
    }

    /// Returns `true` for a key of a role, in this generation if one is given.
    package func belongs(to owner: CredentialsOwner, generation: UInt32? = nil) -> Bool {
        let pattern: UInt64 = generation == nil ? 0x8F00_FFFF_0000_0000 : 0x8F00_FFFF_FFFF_FFFF
        let other = KeyReference(owner, generation: generation ?? 0, kind: .privateKey, pair: 0)
        return (other.rawValue ^ rawValue) & pattern == 0
    }

    /// Returns `true` if the key may belong to this role. The role of a request's key is in the permit.
    package func fits(_ role: Role) -> Bool {
        isOfRequest || UInt8(truncatingIfNeeded: rawValue >> 56) & 15 == role.rawValue
    }

    package var isOfRequest: Bool { rawValue >> 63 == 1 }
}

/// Signature scheme of a CertificateVerify: RFC 8446 §4.2.3, and ML-DSA from IANA's registry.
package enum SignatureScheme: UInt16, Sendable, Equatable, CaseIterable {
    case ecdsaSecp256r1SHA256 = 0x0403
    case ecdsaSecp384r1SHA384 = 0x0503
    case ecdsaSecp521r1SHA512 = 0x0603
    case rsaPSSRSAESHA256 = 0x0804
    case rsaPSSRSAESHA384 = 0x0805
    case rsaPSSRSAESHA512 = 0x0806
    case ed25519 = 0x0807
    case ed448 = 0x0808
    case rsaPSSPSSSHA256 = 0x0809
    case rsaPSSPSSSHA384 = 0x080a
    case rsaPSSPSSSHA512 = 0x080b
    case mlDSA44 = 0x0904
    case mlDSA65 = 0x0905
    case mlDSA87 = 0x0906
}

/// Elliptic curves that are used in keys and certificates and that TLS 1.3 does not have (RFC 8446 §4.2.3).
package enum EllipticCurve {
    /// Object identifiers in DER.
    private static let foreign: [(encoding: [UInt8], name: String)] = [
        ([0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x21], "secp224r1"),
        ([0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x0A], "secp256k1"),
        ([0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x01], "secp192r1"),
        ([0x06, 0x09, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07], "brainpoolP256r1"),
        ([0x06, 0x09, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0B], "brainpoolP384r1"),
        ([0x06, 0x09, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0D], "brainpoolP512r1"),
        // The field type in explicit parameters (RFC 3279 §2.3.5).
        ([0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x01, 0x01], "that its parameters spell out"),
    ]

    /// The first such curve whose identifier occurs in the bytes. Used in log lines only.
    package static func foreign(in bytes: Span<UInt8>) -> String? {
        for start in bytes.indices where bytes[start] == 0x06 {
            for (encoding, name) in foreign where encoding.count <= bytes.count - start {
                if encoding.indices.allSatisfy({ bytes[start + $0] == encoding[$0] }) { return name }
            }
        }
        return nil
    }
}

// Permit tables of a worker and the signer; docs/broker-protocol.md.

extension SigningQuestion {
    package typealias Opposite = SigningAnswer
    package typealias State = OpenState
    package static let firstState = State.open

    package static let permits: [Permit<SigningQuestion>] = Kind.allCases.map { kind in
        Permit(kind, in: [.open], limit: MessageLimit.signingQuestion)
    }
}

extension SigningAnswer {
    package typealias Opposite = SigningQuestion
    package typealias State = OpenState
    package static let firstState = State.open

    package static let permits: [Permit<SigningAnswer>] = [
        Permit(.signature, in: [.open], limit: MessageLimit.signingAnswer, .answer([.sign], inOrder: true)),
        Permit(.publicKey, in: [.open], limit: MessageLimit.signingAnswer, .answer([.describe], inOrder: true)),
        Permit(.refused, in: [.open], limit: MessageLimit.signingAnswer, .answer([.sign, .describe], inOrder: true)),
    ]
}
