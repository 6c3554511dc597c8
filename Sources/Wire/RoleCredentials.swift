package import Handshake

/// The files that make a role's credentials.
package enum CredentialKind: UInt8, Sendable, Equatable, CaseIterable, Comparable {
    case trustStore = 1
    case revocationList = 2
    case certificate = 3
    case privateKey = 4
    case postQuantumCertificate = 5
    case postQuantumPrivateKey = 6

    /// Whether it is a certificate of our own.
    package var isCertificate: Bool { self == .certificate || self == .postQuantumCertificate }

    package static func < (left: CredentialKind, right: CredentialKind) -> Bool { left.rawValue < right.rawValue }
}

/// One file of a role's credentials: a sealed copy travels as descriptor, the path is for messages. Of private keys the
/// copy holds the public half in PEM: the signer has them.
package struct CredentialFile: Sendable, Equatable {
    package var kind: CredentialKind
    /// Which pair of certificate and key it belongs to, where there are several: 0 for the one without a name, then in
    /// the order in which they are tried. 0 for what is no pair.
    package var pair: UInt8
    package var path: String

    package init(kind: CredentialKind, pair: UInt8 = 0, path: String) {
        self.kind = kind
        self.pair = pair
        self.path = path
    }

    /// Their order in a message.
    package static func precedes(_ left: CredentialFile, _ right: CredentialFile) -> Bool {
        (left.kind, left.pair) < (right.kind, right.pair)
    }
}

/// A role's credentials, whole: what is not named is not used.
package struct RoleCredentials: Sendable, Equatable {
    package var profile: ProfileNumber
    package var role: Role
    /// Grows with each change of this profile's role; the answer names it.
    package var generation: UInt32
    /// In rising order of kind and pair, each at most once.
    package var files: [CredentialFile]
    /// What is asked of the peers' certificates.
    package var rules: PeerRules
    /// What may be negotiated; here it is checked once, and each handshake brings it again.
    package var limits: NegotiationLimits
    /// The newest revocation lists that were in force.
    package var floors: [RevocationFloor]

    package init(
        profile: ProfileNumber = .standard, role: Role, generation: UInt32, files: [CredentialFile],
        rules: PeerRules = PeerRules(), limits: NegotiationLimits = NegotiationLimits(),
        floors: [RevocationFloor] = []
    ) {
        self.profile = profile
        self.role = role
        self.generation = generation
        self.files = files
        self.rules = rules
        self.limits = limits
        self.floors = floors
    }

    package var kinds: [CredentialKind] { files.map(\.kind) }
    package var owner: CredentialsOwner { CredentialsOwner(profile, role) }

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try writer.unsigned16(profile.rawValue, to: &bytes)
        try writer.unsigned8(role.rawValue, to: &bytes)
        try writer.unsigned32(generation, to: &bytes)
        try writer.unsigned8(UInt8(files.count), to: &bytes)
        for file in files {
            try writer.unsigned8(file.kind.rawValue, to: &bytes)
            try writer.unsigned8(file.pair, to: &bytes)
            try writer.prefixed(file.path, "path", limit: MessageLimit.path, to: &bytes)
        }
        try rules.encode(with: &writer, to: &bytes)
        try limits.encode(with: &writer, to: &bytes)
        try RevocationFloor.encode(floors, with: &writer, to: &bytes)
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        profile = ProfileNumber(try reader.unsigned16("profile", in: bytes))
        role = try reader.enumeration("role", in: bytes)
        generation = try reader.unsigned32("generation", in: bytes)
        files = []
        for _ in 0..<(try reader.unsigned8("number of files", in: bytes)) {
            let start = reader.offset
            let file = CredentialFile(
                kind: try reader.enumeration("kind of file", in: bytes),
                pair: try reader.unsigned8("pair", in: bytes),
                path: try reader.prefixedText("path", limit: MessageLimit.path, in: bytes))
            if let last = files.last, !CredentialFile.precedes(last, file) {
                throw .duplicate(field: "kind of file", offset: start)
            }
            files.append(file)
        }
        rules = try PeerRules(with: &reader, from: bytes)
        limits = try NegotiationLimits(with: &reader, from: bytes)
        floors = try RevocationFloor.list(with: &reader, from: bytes)
    }
}
