package import Handshake

/// The files that make a role's credentials.
package enum CredentialKind: UInt8, Sendable, Equatable, CaseIterable, Comparable {
    case trustStore = 1
    case revocationList = 2
    case certificate = 3
    case privateKey = 4
    case postQuantumCertificate = 5
    case postQuantumPrivateKey = 6

    /// True for a certificate of our own.
    package var isCertificate: Bool { self == .certificate || self == .postQuantumCertificate }

    package static func < (left: CredentialKind, right: CredentialKind) -> Bool { left.rawValue < right.rawValue }
}

/// One file of a role's credentials: a sealed copy travels as descriptor, the path is for messages. Of private keys the
/// copy holds the public half in PEM: the signer has them.
package struct CredentialFile: Sendable, Equatable {
    package var kind: CredentialKind
    /// The pair of certificate and key that it belongs to: 0 for the one without a name, the others in the order in
    /// which they are tried. 0 also for files that are not in a pair.
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
package struct RoleCredentials: MessageFields, Sendable, Equatable {
    package var profile: ProfileNumber
    package var role: Role
    /// Grows with each change of this profile's role; the answer names it.
    package var generation: UInt32
    /// In rising order of kind and pair, each at most once.
    package var files: [CredentialFile]
    /// Rules about the peers' certificates.
    package var rules: PeerRules
    /// Suites and groups. They are checked here once, and are part of each handshake, too.
    package var limits: NegotiationLimits
    /// The newest revocation lists that were in force.
    package var floors: [RevocationFloor]

    package init(
        profile: ProfileNumber = .standard, role: Role = .client, generation: UInt32 = 0, files: [CredentialFile] = [],
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

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try profile.code(&coder, in: &bytes)
        try coder.choice("role", &role, in: &bytes)
        try coder.integer("generation", &generation, in: &bytes)
        var last: CredentialFile?
        let blank = CredentialFile(kind: .trustStore, path: "")
        try coder.list("number of files", &files, limit: MessageLimit.descriptors, blank: blank, in: &bytes) {
            (coder, file, bytes) throws(WireError) in
            let start = coder.offset
            try coder.choice("kind of file", &file.kind, in: &bytes)
            try coder.integer("pair", &file.pair, in: &bytes)
            try coder.text("path", &file.path, limit: MessageLimit.path, in: &bytes)
            let isInOrder = last.map { CredentialFile.precedes($0, file) } ?? true
            try coder.require(isInOrder, .duplicate(field: "kind of file", offset: start))
            last = file
        }
        try rules.code(&coder, in: &bytes)
        try limits.code(&coder, in: &bytes)
        try RevocationFloor.code(&floors, &coder, in: &bytes)
    }
}
