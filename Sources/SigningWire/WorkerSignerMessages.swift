package import Handshake
package import Wire

/// A worker's question to the signer; docs/broker-protocol.md. The first byte is its kind.
package enum SigningQuestion: ChannelMessage {
    case sign(SigningRequest)
    /// Requests the public key of a key that came with a request, in order to find its certificate.
    case describe(KeyReference)

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
        let key = KeyReference(rawValue: 0)
        self =
            switch kind {
            case .sign: .sign(SigningRequest(key: key, scheme: .ed25519, role: .client, digest: []))
            case .describe: .describe(key)
            }
    }

    package mutating func codeFields(
        _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        switch self {
        case .sign(var request):
            try request.code(&coder, in: &bytes)
            self = .sign(request)
        case .describe(var key):
            try key.code(&coder, in: &bytes)
            self = .describe(key)
        }
    }
}

/// Transcript hash of a TLS 1.3 handshake. The signer makes the content of CertificateVerify from it (RFC 8446 §4.4.3),
/// so that nothing else can be signed.
package struct SigningRequest: MessageFields, Sendable, Equatable {
    package var key: KeyReference
    package var scheme: SignatureScheme
    /// Role that CertificateVerify is made for.
    package var role: Role
    /// Transcript-Hash(handshake context, Certificate): SHA-256 or SHA-384.
    package var digest: [UInt8]

    package init(key: KeyReference, scheme: SignatureScheme, role: Role, digest: [UInt8]) {
        self.key = key
        self.scheme = scheme
        self.role = role
        self.digest = digest
    }

    /// Lengths of the hashes of TLS 1.3's cipher suites (RFC 8446 §B.4), in bytes.
    package static let digestLengths = [32, 48]
    static let longestDigest = 48

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
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
