/// What a session tag asks of a peer's certificate; the types of ktls-utils' tls-session-tags(7).
package enum TagFilter: Sendable, Hashable {
    /// The library's name of the signature algorithm, or its dotted identifier.
    case signatureAlgorithm(TextPattern)
    /// Decimal.
    case version(TextPattern)
    /// Lower-case hexadecimal, as stored.
    case serialNumber(TextPattern)
    case issuer(TextPattern)
    case subject(TextPattern)
    /// Valid from this moment or a later one on; seconds since 1970-01-01T00:00:00Z.
    case notBefore(Int64)
    /// Valid until this moment or an earlier one; seconds since 1970-01-01T00:00:00Z.
    case notAfter(Int64)
    /// All of these; a certificate without the extension does not fit.
    case keyUsage(KeyUsage)
    /// All of these, by dotted identifier; a certificate without the extension does not fit.
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

/// A name that a session gets when its peer's certificate fits.
package struct SessionTag: Sendable, Hashable {
    package let name: String
    /// Filters that must fit, by their place among all.
    package let required: [Int]
    /// Filters that must not.
    package let excluded: [Int]

    package init(name: String, required: [Int], excluded: [Int]) {
        self.name = name
        self.required = required
        self.excluded = excluded
    }
}

/// All tags in force, with the filters that they use.
package struct SessionTags: Sendable, Hashable {
    package var filters: [TagFilter] = []
    /// In the order in which they are told.
    package var tags: [SessionTag] = []

    package init() {}

    package static let mostFilters = 256
    package static let mostTags = 128
    package static let longestName = 255
    /// Of a pattern, in bytes.
    package static let longestPattern = 1024

    /// The names of the tags that a peer's certificate, which was verified, gets its session.
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
