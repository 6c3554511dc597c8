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
    /// The signer that has the private keys.
    package var signer: SignerKind
    /// Rules about the peers' certificates.
    package var rules: PeerRules
    /// Suites and groups. They are checked here once, and are part of each handshake, too.
    package var limits: NegotiationLimits
    /// The newest revocation lists that were in force.
    package var floors: [RevocationFloor]

    package init(
        profile: ProfileNumber = .standard, role: Role = .client, generation: UInt32 = 0, files: [CredentialFile] = [],
        signer: SignerKind = .files, rules: PeerRules = PeerRules(), limits: NegotiationLimits = NegotiationLimits(),
        floors: [RevocationFloor] = []
    ) {
        self.profile = profile
        self.role = role
        self.generation = generation
        self.files = files
        self.signer = signer
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
        try coder.choice("signer", &signer, in: &bytes)
        try rules.code(&coder, in: &bytes)
        try limits.code(&coder, in: &bytes)
        try RevocationFloor.code(&floors, &coder, in: &bytes)
    }
}

/// A worker's answer to new credentials of a role.
package struct CredentialsVerdict: MessageFields, Sendable, Equatable {
    package var owner: CredentialsOwner
    package var generation: UInt32
    /// The reason why they are not in force, with file and remedy; empty if they are.
    package var problem: String
    /// Summary for the log: subjects, dates, numbers of authorities.
    package var summary: String
    /// The same for monitoring; nothing where they are not in force.
    package var facts: CredentialsFacts

    package init(
        owner: CredentialsOwner = CredentialsOwner(.standard, .client), generation: UInt32 = 0, problem: String = "",
        summary: String = "",
        facts: CredentialsFacts = CredentialsFacts()
    ) {
        self.owner = owner
        self.generation = generation
        self.problem = problem
        self.summary = summary
        self.facts = facts
    }

    /// Start of a summary if something needs attention.
    package static let warning = "WARNING: "
    /// True if they are in force and something needs attention.
    package var isWarning: Bool { problem.isEmpty && summary.hasPrefix(Self.warning) }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try owner.code(&coder, in: &bytes)
        try coder.integer("generation", &generation, in: &bytes)
        try coder.text("problem", &problem, limit: MessageLimit.text, in: &bytes)
        try coder.text("summary", &summary, limit: MessageLimit.text, in: &bytes)
        try facts.code(&coder, in: &bytes)
    }
}

/// Facts that a worker found in a role's files. The broker parses no certificate.
package struct CredentialsFacts: MessageFields, Sendable, Equatable {
    /// A certificate that is presented, or an intermediate that goes with it.
    package struct Certificate: Sendable, Equatable {
        /// The file it is in: its kind and pair, as the broker named it.
        package var kind: CredentialKind
        package var pair: UInt8
        package var description: CertificateDescription

        package init(kind: CredentialKind, pair: UInt8, _ description: CertificateDescription) {
            self.kind = kind
            self.pair = pair
            self.description = description
        }
    }

    /// Those that expire first, first; not more than a message holds.
    package private(set) var certificates: [Certificate] = []
    /// Entries of the trust store.
    package var authorities: UInt32 = 0
    package var revocationLists: UInt32 = 0
    /// When the first revocation list goes out of date, in seconds since 1970-01-01T00:00:00Z; `nil` where none says
    /// so.
    package var nextUpdate: Int64?
    /// The newest revocation list of each issuer.
    package var floors: [RevocationFloor] = []
    /// Recommended changes, apart from dates, though the files are in force; empty for none.
    package var warning = ""

    /// Maximum number of certificates in a message.
    package static let mostCertificates = 32

    package init() {}

    /// Adds a certificate, its texts fit for a message, in place of the one that expires last where there are too many.
    package mutating func add(_ certificate: Certificate) {
        var certificate = certificate
        certificate.description = certificate.description.fitForMessage
        let place =
            certificates.firstIndex { $0.description.notAfter > certificate.description.notAfter }
            ?? certificates.endIndex
        certificates.insert(certificate, at: place)
        if certificates.count > Self.mostCertificates { certificates.removeLast() }
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        let blank = Certificate(kind: .certificate, pair: 0, .blank)
        try coder.list("certificates", &certificates, limit: Self.mostCertificates, blank: blank, in: &bytes) {
            (coder, certificate, bytes) throws(WireError) in
            try coder.choice("kind of file", &certificate.kind, in: &bytes)
            try coder.integer("pair", &certificate.pair, in: &bytes)
            try certificate.description.code(&coder, in: &bytes)
        }
        try coder.integer("authorities", &authorities, in: &bytes)
        try coder.integer("revocation lists", &revocationLists, in: &bytes)
        try coder.optional("next update", &nextUpdate, blank: 0, in: &bytes) {
            (coder, seconds, bytes) throws(WireError) in
            try coder.integer("next update", &seconds, in: &bytes)
        }
        try RevocationFloor.code(&floors, &coder, in: &bytes)
        try coder.text("warning", &warning, limit: MessageLimit.text, in: &bytes)
    }
}

extension CertificateDescription: MessageFields {
    /// The same with texts fit for a message.
    package var fitForMessage: CertificateDescription {
        CertificateDescription(
            subject: MessageText.fit(subject), issuer: MessageText.fit(issuer), notBefore: notBefore, notAfter: notAfter
        )
    }

    static let blank = CertificateDescription(subject: "", issuer: "", notBefore: 0, notAfter: 0)

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.text("subject", &subject, limit: MessageLimit.text, in: &bytes)
        try coder.text("issuer", &issuer, limit: MessageLimit.text, in: &bytes)
        try coder.integer("notBefore", &notBefore, in: &bytes)
        try coder.integer("notAfter", &notAfter, in: &bytes)
    }
}

extension ProfileNumber: MessageFields {
    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        var number = rawValue
        try coder.integer("profile", &number, in: &bytes)
        self = ProfileNumber(number)
    }
}

extension CredentialsOwner: MessageFields {
    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        var profile = profile, role = role
        try profile.code(&coder, in: &bytes)
        try coder.choice("role", &role, in: &bytes)
        self = CredentialsOwner(profile, role)
    }
}

extension PeerRules: MessageFields {
    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.flag("certificate required", &requiresCertificate, in: &bytes)
        let blank = Pin(.certificate, [])
        try coder.list("pins", &pins, limit: Self.most, blank: blank, in: &bytes) {
            (coder, pin, bytes) throws(WireError) in
            var subject = pin.subject, digest = pin.digest
            try coder.choice("kind of pin", &subject, in: &bytes)
            let start = coder.offset
            try coder.bytes("pin", &digest, limit: Pin.length, in: &bytes)
            try coder.require(digest.count == Pin.length, .outOfRange(field: "pin", offset: start))
            pin = Pin(subject, digest)
        }
        try coder.list("allowed names", &names, limit: Self.most, blank: .dns(""), in: &bytes) {
            (coder, name, bytes) throws(WireError) in
            try name.code(&coder, in: &bytes)
        }
        try Self.code(&subjects, &coder, in: &bytes)
        try Self.code(&issuers, &coder, in: &bytes)
        try coder.choice("purpose", &purpose, in: &bytes)
        try coder.choice("ALPN", &applicationProtocol, in: &bytes)
        try coder.integer("RSA bits", &leastRSABits, in: &bytes)
        try coder.choice("missing list", &missingList, in: &bytes)
    }

    private static func code(
        _ patterns: inout [NamePattern], _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        var texts: [String] = patterns.map(\.text), read: [NamePattern] = []
        try coder.list("patterns", &texts, limit: most, blank: "", in: &bytes) {
            (coder, text, bytes) throws(WireError) in
            let start = coder.offset
            try coder.text("pattern", &text, limit: MessageLimit.rule, in: &bytes)
            guard let pattern = NamePattern(text) else { throw .malformedText(field: "pattern", offset: start) }
            read.append(pattern)
        }
        patterns = read
    }
}

extension AllowedName: MessageFields {
    private enum Kind: UInt8 {
        case dns = 1
        case address = 2
        case uri = 3
        case email = 4
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        var (kind, text): (Kind, String) =
            switch self {
            case .dns(let text): (.dns, text)
            case .address(let prefix): (.address, prefix.description)
            case .uri(let pattern): (.uri, pattern.text)
            case .email(let pattern): (.email, pattern.text)
            }
        try coder.choice("kind of name", &kind, in: &bytes)
        let start = coder.offset
        try coder.text("allowed name", &text, limit: MessageLimit.rule, in: &bytes)
        switch kind {
        case .dns: self = .dns(text)
        case .address:
            guard let prefix = NetworkPrefix(text) else { throw .malformedText(field: "allowed name", offset: start) }
            self = .address(prefix)
        case .uri: self = .uri(TextPattern(text))
        case .email: self = .email(TextPattern(text))
        }
    }
}

extension NegotiationLimits: MessageFields {
    private static let most = 32

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.texts("limits", "limit", &suites, limit: Self.most, each: MessageLimit.name, in: &bytes)
        try coder.texts("limits", "limit", &groups, limit: Self.most, each: MessageLimit.name, in: &bytes)
    }
}

/// The newest revocation list of an issuer that was in force: an older one is not taken in its place.
package struct RevocationFloor: Sendable, Equatable {
    /// SHA-256 of the issuer's name and key identifier.
    package let issuer: [UInt8]
    /// The CRL number, big-endian and without zeros in front; empty where the list has none.
    package let number: [UInt8]
    /// Seconds since 1970-01-01T00:00:00Z.
    package let thisUpdate: Int64

    package static let digestLength = 32
    /// RFC 5280 §5.2.3.
    package static let longestNumber = 20
    /// Maximum number in a message.
    package static let most = 255

    package init(issuer: [UInt8], number: [UInt8], thisUpdate: Int64) {
        self.issuer = issuer
        self.number = number
        self.thisUpdate = thisUpdate
    }

    /// Returns `true` if this list has an earlier date than the other, or a smaller number.
    package func isOlder(than other: RevocationFloor) -> Bool {
        if thisUpdate < other.thisUpdate { return true }
        guard !number.isEmpty, !other.number.isEmpty, number != other.number else { return false }
        guard number.count == other.number.count else { return number.count < other.number.count }
        return number.lexicographicallyPrecedes(other.number)
    }

    /// Takes the place of an older one of the same issuer, or goes behind the others; the first makes room.
    package func raise(_ floors: inout [RevocationFloor]) {
        guard let place = floors.firstIndex(where: { $0.issuer == issuer }) else {
            if floors.count == Self.most { floors.removeFirst() }
            floors.append(self)
            return
        }
        if floors[place].isOlder(than: self) { floors[place] = self }
    }
}

extension RevocationFloor {
    /// Lists the fields of all.
    static func code(
        _ floors: inout [RevocationFloor], _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        let blank = RevocationFloor(issuer: [], number: [], thisUpdate: 0)
        try coder.list("revocation floors", &floors, limit: most, blank: blank, in: &bytes) {
            (coder, floor, bytes) throws(WireError) in
            var issuer = floor.issuer, number = floor.number, thisUpdate = floor.thisUpdate
            let start = coder.offset
            try coder.bytes("issuer", &issuer, limit: digestLength, in: &bytes)
            try coder.require(issuer.count == digestLength, .outOfRange(field: "issuer", offset: start))
            try coder.bytes("CRL number", &number, limit: longestNumber, in: &bytes)
            try coder.integer("thisUpdate", &thisUpdate, in: &bytes)
            floor = RevocationFloor(issuer: issuer, number: number, thisUpdate: thisUpdate)
        }
    }
}
