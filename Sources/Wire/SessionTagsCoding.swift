package import Handshake

extension SessionTags: MessageFields {
    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.list(
            "filters", &filters, limit: Self.mostFilters, counted: UInt16.self, blank: .selfSigned, in: &bytes
        ) { (coder, filter, bytes) throws(WireError) in
            try filter.code(&coder, in: &bytes)
        }
        let blank = SessionTag(name: "", required: [], excluded: []), count = filters.count
        try coder.list("tags", &tags, limit: Self.mostTags, counted: UInt16.self, blank: blank, in: &bytes) {
            (coder, tag, bytes) throws(WireError) in
            var name = tag.name, required = tag.required, excluded = tag.excluded
            try coder.text("tag", &name, limit: Self.longestName, in: &bytes)
            try Self.code(&required, below: count, &coder, in: &bytes)
            try Self.code(&excluded, below: count, &coder, in: &bytes)
            tag = SessionTag(name: name, required: required, excluded: excluded)
        }
    }

    /// Lists the indices of a tag's filters, each of which is less than `count`.
    private static func code(
        _ indices: inout [Int], below count: Int, _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        try coder.list("filters of a tag", &indices, limit: mostFilters, counted: UInt16.self, blank: 0, in: &bytes) {
            (coder, index, bytes) throws(WireError) in
            let start = coder.offset
            var short = UInt16(clamping: index)
            try coder.integer("filter", &short, in: &bytes)
            index = Int(short)
            try coder.require(index < count, .outOfRange(field: "filter", offset: start))
        }
    }
}

extension TagFilter: MessageFields {
    private enum Kind: UInt8 {
        case signatureAlgorithm = 1
        case version = 2
        case serialNumber = 3
        case issuer = 4
        case subject = 5
        case notBefore = 6
        case notAfter = 7
        case keyUsage = 8
        case extendedKeyUsage = 9
        case fingerprint = 10
        case selfSigned = 11
    }

    private static let mostPurposes = 32
    private static let longestPurpose = 128

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        var kind = kind
        try coder.choice("kind of filter", &kind, in: &bytes)
        if coder.isReading { self = Self.blank(kind) }
        switch self {
        case .signatureAlgorithm(let pattern): self = .signatureAlgorithm(try Self.code(pattern, &coder, in: &bytes))
        case .version(let pattern): self = .version(try Self.code(pattern, &coder, in: &bytes))
        case .serialNumber(let pattern): self = .serialNumber(try Self.code(pattern, &coder, in: &bytes))
        case .issuer(let pattern): self = .issuer(try Self.code(pattern, &coder, in: &bytes))
        case .subject(let pattern): self = .subject(try Self.code(pattern, &coder, in: &bytes))
        case .fingerprint(let pattern): self = .fingerprint(try Self.code(pattern, &coder, in: &bytes))
        case .notBefore(var seconds):
            try coder.integer("moment", &seconds, in: &bytes)
            self = .notBefore(seconds)
        case .notAfter(var seconds):
            try coder.integer("moment", &seconds, in: &bytes)
            self = .notAfter(seconds)
        case .keyUsage(let usage):
            var bits = usage.rawValue
            try coder.integer("key usage", &bits, in: &bytes)
            self = .keyUsage(KeyUsage(rawValue: bits))
        case .extendedKeyUsage(var purposes):
            try coder.texts(
                "purposes", "purpose", &purposes, limit: Self.mostPurposes, each: Self.longestPurpose, in: &bytes)
            self = .extendedKeyUsage(purposes)
        case .selfSigned: break
        }
    }

    private static func code(
        _ pattern: TextPattern, _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) -> TextPattern {
        var text = pattern.text
        try coder.text("pattern", &text, limit: SessionTags.longestPattern, in: &bytes)
        return TextPattern(text)
    }

    private var kind: Kind {
        switch self {
        case .signatureAlgorithm: .signatureAlgorithm
        case .version: .version
        case .serialNumber: .serialNumber
        case .issuer: .issuer
        case .subject: .subject
        case .notBefore: .notBefore
        case .notAfter: .notAfter
        case .keyUsage: .keyUsage
        case .extendedKeyUsage: .extendedKeyUsage
        case .fingerprint: .fingerprint
        case .selfSigned: .selfSigned
        }
    }

    private static func blank(_ kind: Kind) -> TagFilter {
        let text = TextPattern("")
        return switch kind {
        case .signatureAlgorithm: .signatureAlgorithm(text)
        case .version: .version(text)
        case .serialNumber: .serialNumber(text)
        case .issuer: .issuer(text)
        case .subject: .subject(text)
        case .notBefore: .notBefore(0)
        case .notAfter: .notAfter(0)
        case .keyUsage: .keyUsage([])
        case .extendedKeyUsage: .extendedKeyUsage([])
        case .fingerprint: .fingerprint(text)
        case .selfSigned: .selfSigned
        }
    }
}
