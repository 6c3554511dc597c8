package import Handshake

/// Whether a role's new credentials are in force.
package struct CredentialsVerdict: Sendable, Equatable {
    package var owner: CredentialsOwner
    package var generation: UInt32
    /// Why they are not, naming the file and the remedy; empty when they are.
    package var problem: String
    /// What they are, for the log: subjects, dates, numbers of authorities.
    package var summary: String
    /// The same for monitoring; nothing where they are not in force.
    package var facts: CredentialsFacts

    package init(
        owner: CredentialsOwner, generation: UInt32, problem: String, summary: String,
        facts: CredentialsFacts = CredentialsFacts()
    ) {
        self.owner = owner
        self.generation = generation
        self.problem = problem
        self.summary = summary
        self.facts = facts
    }

    /// What a summary starts with where something needs attention.
    package static let warning = "WARNING: "
    /// Whether they are in force and something needs attention.
    package var isWarning: Bool { problem.isEmpty && summary.hasPrefix(Self.warning) }

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try writer.unsigned16(owner.profile.rawValue, to: &bytes)
        try writer.unsigned8(owner.role.rawValue, to: &bytes)
        try writer.unsigned32(generation, to: &bytes)
        try writer.prefixed(problem, "problem", limit: MessageLimit.text, to: &bytes)
        try writer.prefixed(summary, "summary", limit: MessageLimit.text, to: &bytes)
        try facts.encode(with: &writer, to: &bytes)
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        owner = CredentialsOwner(
            ProfileNumber(try reader.unsigned16("profile", in: bytes)), try reader.enumeration("role", in: bytes))
        generation = try reader.unsigned32("generation", in: bytes)
        problem = try reader.prefixedText("problem", limit: MessageLimit.text, in: bytes)
        summary = try reader.prefixedText("summary", limit: MessageLimit.text, in: bytes)
        facts = try CredentialsFacts(with: &reader, from: bytes)
    }
}

/// What a worker found in a role's files. The broker parses no certificate.
package struct CredentialsFacts: Sendable, Equatable {
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
    /// What should be changed though they are in force, dates aside; empty where all is well.
    package var warning = ""

    /// How many certificates a message holds.
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

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try writer.count(certificates.count, "certificates", limit: Self.mostCertificates, to: &bytes)
        for certificate in certificates {
            try writer.unsigned8(certificate.kind.rawValue, to: &bytes)
            try writer.unsigned8(certificate.pair, to: &bytes)
            try certificate.description.encode(with: &writer, to: &bytes)
        }
        try writer.unsigned32(authorities, to: &bytes)
        try writer.unsigned32(revocationLists, to: &bytes)
        try writer.unsigned8(nextUpdate == nil ? 0 : 1, to: &bytes)
        if let nextUpdate { try writer.unsigned64(UInt64(bitPattern: nextUpdate), to: &bytes) }
        try RevocationFloor.encode(floors, with: &writer, to: &bytes)
        try writer.prefixed(warning, "warning", limit: MessageLimit.text, to: &bytes)
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        for _ in 0..<(try reader.count("certificates", limit: Self.mostCertificates, in: bytes)) {
            certificates.append(
                Certificate(
                    kind: try reader.enumeration("kind of file", in: bytes),
                    pair: try reader.unsigned8("pair", in: bytes),
                    try CertificateDescription(with: &reader, from: bytes)))
        }
        authorities = try reader.unsigned32("authorities", in: bytes)
        revocationLists = try reader.unsigned32("revocation lists", in: bytes)
        if try reader.boolean("next update", in: bytes) {
            nextUpdate = Int64(bitPattern: try reader.unsigned64("next update", in: bytes))
        }
        floors = try RevocationFloor.list(with: &reader, from: bytes)
        warning = try reader.prefixedText("warning", limit: MessageLimit.text, in: bytes)
    }
}

extension CertificateDescription {
    /// The same with texts fit for a message.
    package var fitForMessage: CertificateDescription {
        CertificateDescription(
            subject: MessageText.fit(subject), issuer: MessageText.fit(issuer), notAfter: notAfter)
    }

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try writer.prefixed(subject, "subject", limit: MessageLimit.text, to: &bytes)
        try writer.prefixed(issuer, "issuer", limit: MessageLimit.text, to: &bytes)
        try writer.unsigned64(UInt64(bitPattern: notAfter), to: &bytes)
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        self.init(
            subject: try reader.prefixedText("subject", limit: MessageLimit.text, in: bytes),
            issuer: try reader.prefixedText("issuer", limit: MessageLimit.text, in: bytes),
            notAfter: Int64(bitPattern: try reader.unsigned64("notAfter", in: bytes)))
    }
}
