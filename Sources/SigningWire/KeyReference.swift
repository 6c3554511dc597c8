package import Handshake
package import Wire

/// Reference to a private key in the signer: that of a role in one generation, or that of one handshake.
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

    /// The key that a request names by serial.
    package init(job: UInt64) {
        rawValue = 1 << 63 | job
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.integer("key", &rawValue, in: &bytes)
    }

    /// Returns `true` for a key of this generation of a role.
    package func belongs(to owner: CredentialsOwner, generation: UInt32) -> Bool {
        let pattern: UInt64 = 0x8F00_FFFF_FFFF_FFFF
        return (KeyReference(owner, generation: generation, kind: .privateKey, pair: 0).rawValue ^ rawValue) & pattern
            == 0
    }

    /// Returns `true` if the key may belong to this role. The role of a handshake's key is known only to the broker.
    package func fits(_ role: Role) -> Bool {
        isOfJob || UInt8(truncatingIfNeeded: rawValue >> 56) & 15 == role.rawValue
    }

    /// True for the key of a handshake, which only the worker that runs it may use.
    package var isOfJob: Bool { rawValue >> 63 == 1 }
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
