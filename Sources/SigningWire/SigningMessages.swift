package import Handshake
package import Wire

/// What a worker asks the signer; docs/broker-protocol.md. The first byte is the kind.
package enum SigningQuestion: PlainMessage {
    case sign(SigningRequest)
    /// Whose key is it? Asked for a key that came with a request, to find the certificate that belongs to it.
    case describe(KeyReference)

    private enum Kind: UInt8 {
        case sign = 1
        case describe = 2
    }

    /// Writes the question and returns its length.
    package func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> Int {
        var writer = ByteWriter("signing question")
        switch self {
        case .sign(let request):
            try writer.unsigned8(Kind.sign.rawValue, to: &bytes)
            try writer.unsigned64(request.key.rawValue, to: &bytes)
            try writer.unsigned16(request.scheme.rawValue, to: &bytes)
            try writer.unsigned8(request.role.rawValue, to: &bytes)
            try writer.prefixed(request.digest, "transcript digest", limit: SigningRequest.longestDigest, to: &bytes)
        case .describe(let key):
            try writer.unsigned8(Kind.describe.rawValue, to: &bytes)
            try writer.unsigned64(key.rawValue, to: &bytes)
        }
        return writer.offset
    }

    /// Reads a question; the whole span must be one.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        let kind: Kind = try reader.enumeration("kind of signing question", in: bytes)
        let key = KeyReference(rawValue: try reader.unsigned64("key", in: bytes))
        switch kind {
        case .sign:
            let scheme = try reader.signatureScheme(in: bytes)
            let roleStart = reader.offset
            let role: Role = try reader.enumeration("role", in: bytes)
            let start = reader.offset
            let digest = try reader.prefixedBytes(
                "transcript digest", limit: SigningRequest.longestDigest, in: bytes)
            guard SigningRequest.digestLengths.contains(digest.count) else {
                throw .outOfRange(field: "transcript digest", offset: start)
            }
            // A client's certificate must not make its host pass for a server, nor the other way.
            guard key.fits(role) else { throw .outOfRange(field: "role of another's key", offset: roleStart) }
            self = .sign(SigningRequest(key: key, scheme: scheme, role: role, digest: digest))
        case .describe: self = .describe(key)
        }
        try reader.finish("signing question")
    }
}

/// A TLS 1.3 handshake's hash, which the signer makes into the content of a CertificateVerify itself (RFC 8446 §4.4.3):
/// nothing else can be had signed.
package struct SigningRequest: Sendable, Equatable {
    package var key: KeyReference
    package var scheme: SignatureScheme
    /// Whose CertificateVerify it is to be.
    package var role: Role
    /// Transcript-Hash(handshake context, Certificate): SHA-256 or SHA-384.
    package var digest: [UInt8]

    package init(key: KeyReference, scheme: SignatureScheme, role: Role, digest: [UInt8]) {
        self.key = key
        self.scheme = scheme
        self.role = role
        self.digest = digest
    }

    /// The hashes of TLS 1.3's cipher suites (RFC 8446 §B.4), in bytes.
    package static let digestLengths = [32, 48]
    static let longestDigest = 48

    /// What is signed (RFC 8446 §4.4.3).
    package var content: [UInt8] {
        let context =
            switch role {
            case .server: "TLS 1.3, server CertificateVerify"
            case .client: "TLS 1.3, client CertificateVerify"
            }
        return [UInt8](repeating: 0x20, count: 64) + Array(context.utf8) + [0] + digest
    }
}

/// The signer's answer, in the order of the questions.
package enum SigningAnswer: PlainMessage {
    case signature([UInt8])
    /// SubjectPublicKeyInfo, DER.
    case publicKey([UInt8])
    /// It was not done, and why.
    case refused(String)

    private enum Kind: UInt8 {
        case signature = 1
        case publicKey = 2
        case refused = 3
    }

    /// Writes the answer and returns its length.
    package func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> Int {
        var writer = ByteWriter("signing answer")
        switch self {
        case .signature(let signature):
            try writer.unsigned8(Kind.signature.rawValue, to: &bytes)
            try writer.prefixed(signature, "signature", limit: MessageLimit.signature, to: &bytes)
        case .publicKey(let key):
            try writer.unsigned8(Kind.publicKey.rawValue, to: &bytes)
            try writer.prefixed(key, "public key", limit: MessageLimit.publicKey, to: &bytes)
        case .refused(let why):
            try writer.unsigned8(Kind.refused.rawValue, to: &bytes)
            try writer.prefixed(why, "reason", limit: MessageLimit.text, to: &bytes)
        }
        return writer.offset
    }

    /// Reads an answer; the whole span must be one.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        let kind: Kind = try reader.enumeration("kind of signing answer", in: bytes)
        switch kind {
        case .signature:
            self = .signature(try reader.prefixedBytes("signature", limit: MessageLimit.signature, in: bytes))
        case .publicKey:
            self = .publicKey(try reader.prefixedBytes("public key", limit: MessageLimit.publicKey, in: bytes))
        case .refused: self = .refused(try reader.prefixedText("reason", limit: MessageLimit.text, in: bytes))
        }
        try reader.finish("signing answer")
    }
}
