/// A condition of a session tag on a peer's certificate; the types are those of ktls-utils' tls-session-tags(7).
package enum TagFilter: Sendable, Hashable {
    /// GnuTLS name of the signature algorithm, or its dotted identifier.
    case signatureAlgorithm(TextPattern)
    /// Decimal number.
    case version(TextPattern)
    /// Lower-case hexadecimal, as stored.
    case serialNumber(TextPattern)
    case issuer(TextPattern)
    case subject(TextPattern)
    /// The certificate's notBefore is this time or later; seconds since 1970-01-01T00:00:00Z.
    case notBefore(Int64)
    /// The certificate's notAfter is this time or earlier; seconds since 1970-01-01T00:00:00Z.
    case notAfter(Int64)
    /// All of these bits are set. A certificate without the extension does not match.
    case keyUsage(KeyUsage)
    /// All of these dotted identifiers are present. A certificate without the extension does not match.
    case extendedKeyUsage([String])
    /// Lower-case hexadecimal, SHA-1 or SHA-256 of the whole certificate.
    case fingerprint(TextPattern)
    case selfSigned

    package func matches(_ facts: CertificateFacts) -> Bool {
        switch self {
        case .signatureAlgorithm(let pattern):
            [facts.signatureAlgorithm, facts.signatureAlgorithmIdentifier].contains {
                !$0.isEmpty && pattern.matches($0)
            }
        case .version(let pattern): pattern.matches("\(facts.version)")
        case .serialNumber(let pattern): pattern.matches(hexadecimal(facts.serialNumber))
        case .issuer(let pattern): pattern.matches(name: facts.issuer)
        case .subject(let pattern): pattern.matches(name: facts.subject)
        case .notBefore(let moment): facts.notBefore >= moment
        case .notAfter(let moment): facts.notAfter <= moment
        case .keyUsage(let wanted): facts.keyUsage?.isSuperset(of: wanted) ?? false
        case .extendedKeyUsage(let wanted): facts.purposes.map { has in wanted.allSatisfy(has.contains) } ?? false
        case .fingerprint(let pattern):
            pattern.matches(hexadecimal(facts.sha1)) || pattern.matches(hexadecimal(facts.sha256))
        case .selfSigned: facts.isSelfSigned
        }
    }
}

/// A name that is assigned to a session if the peer's certificate matches.
package struct SessionTag: Sendable, Hashable {
    package let name: String
    /// Indices of the filters that must match.
    package let required: [Int]
    /// Indices of the filters that must not match.
    package let excluded: [Int]

    package init(name: String, required: [Int], excluded: [Int]) {
        self.name = name
        self.required = required
        self.excluded = excluded
    }
}

/// All tags in force, and their filters.
package struct SessionTags: Sendable, Hashable {
    package var filters: [TagFilter] = []
    /// In the order in which they are reported.
    package var tags: [SessionTag] = []

    package init() {}

    package static let mostFilters = 256
    package static let mostTags = 128
    package static let longestName = 255
    /// Limit of a pattern in bytes.
    package static let longestPattern = 1024

    /// Names of the tags that match a verified certificate.
    package func names(for facts: CertificateFacts) -> [String] {
        guard !tags.isEmpty else { return [] }
        let fitting = filters.map { $0.matches(facts) }
        return tags.filter { tag in
            tag.required.allSatisfy { fitting[$0] } && !tag.excluded.contains { fitting[$0] }
        }
        .map(\.name)
    }

    package var names: Set<String> { Set(tags.map(\.name)) }
}
