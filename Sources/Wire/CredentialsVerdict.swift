package import Handshake

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
            subject: MessageText.fit(subject), issuer: MessageText.fit(issuer), notAfter: notAfter)
    }

    static let blank = CertificateDescription(subject: "", issuer: "", notAfter: 0)

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.text("subject", &subject, limit: MessageLimit.text, in: &bytes)
        try coder.text("issuer", &issuer, limit: MessageLimit.text, in: &bytes)
        try coder.integer("notAfter", &notAfter, in: &bytes)
    }
}
