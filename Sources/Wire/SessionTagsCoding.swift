internal import Handshake

extension SessionTags {
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

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        guard filters.count <= Self.mostFilters, tags.count <= Self.mostTags else {
            throw .outOfRange(field: "number of session tags", offset: writer.offset)
        }
        try writer.unsigned16(UInt16(filters.count), to: &bytes)
        for filter in filters { try Self.encode(filter, with: &writer, to: &bytes) }
        try writer.unsigned16(UInt16(tags.count), to: &bytes)
        for tag in tags {
            try writer.prefixed(tag.name, "tag", limit: Self.longestName, to: &bytes)
            for places in [tag.required, tag.excluded] {
                try writer.unsigned16(UInt16(clamping: places.count), to: &bytes)
                for place in places { try writer.unsigned16(UInt16(clamping: place), to: &bytes) }
            }
        }
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        self.init()
        for _ in 0..<(try Self.count("filters", Self.mostFilters, with: &reader, from: bytes)) {
            filters.append(try Self.filter(with: &reader, from: bytes))
        }
        for _ in 0..<(try Self.count("tags", Self.mostTags, with: &reader, from: bytes)) {
            tags.append(
                SessionTag(
                    name: try reader.prefixedText("tag", limit: Self.longestName, in: bytes),
                    required: try places(with: &reader, from: bytes), excluded: try places(with: &reader, from: bytes)))
        }
    }

    private static func encode(
        _ filter: TagFilter, with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        func pattern(_ kind: Kind, _ pattern: TextPattern) throws(WireError) {
            try writer.unsigned8(kind.rawValue, to: &bytes)
            try writer.prefixed(pattern.text, "pattern", limit: longestPattern, to: &bytes)
        }
        func moment(_ kind: Kind, _ seconds: Int64) throws(WireError) {
            try writer.unsigned8(kind.rawValue, to: &bytes)
            try writer.unsigned64(UInt64(bitPattern: seconds), to: &bytes)
        }
        switch filter {
        case .signatureAlgorithm(let text): try pattern(.signatureAlgorithm, text)
        case .version(let text): try pattern(.version, text)
        case .serialNumber(let text): try pattern(.serialNumber, text)
        case .issuer(let text): try pattern(.issuer, text)
        case .subject(let text): try pattern(.subject, text)
        case .fingerprint(let text): try pattern(.fingerprint, text)
        case .notBefore(let seconds): try moment(.notBefore, seconds)
        case .notAfter(let seconds): try moment(.notAfter, seconds)
        case .keyUsage(let usage):
            try writer.unsigned8(Kind.keyUsage.rawValue, to: &bytes)
            try writer.unsigned16(usage.rawValue, to: &bytes)
        case .extendedKeyUsage(let purposes):
            try writer.unsigned8(Kind.extendedKeyUsage.rawValue, to: &bytes)
            try writer.count(purposes.count, "purposes", limit: mostPurposes, to: &bytes)
            for purpose in purposes { try writer.prefixed(purpose, "purpose", limit: longestPurpose, to: &bytes) }
        case .selfSigned: try writer.unsigned8(Kind.selfSigned.rawValue, to: &bytes)
        }
    }

    private static func filter(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) -> TagFilter {
        let kind: Kind = try reader.enumeration("kind of filter", in: bytes)
        switch kind {
        case .signatureAlgorithm: return .signatureAlgorithm(try pattern(with: &reader, from: bytes))
        case .version: return .version(try pattern(with: &reader, from: bytes))
        case .serialNumber: return .serialNumber(try pattern(with: &reader, from: bytes))
        case .issuer: return .issuer(try pattern(with: &reader, from: bytes))
        case .subject: return .subject(try pattern(with: &reader, from: bytes))
        case .fingerprint: return .fingerprint(try pattern(with: &reader, from: bytes))
        case .notBefore: return .notBefore(Int64(bitPattern: try reader.unsigned64("moment", in: bytes)))
        case .notAfter: return .notAfter(Int64(bitPattern: try reader.unsigned64("moment", in: bytes)))
        case .keyUsage: return .keyUsage(KeyUsage(rawValue: try reader.unsigned16("key usage", in: bytes)))
        case .extendedKeyUsage:
            var purposes: [String] = []
            for _ in 0..<(try reader.count("purposes", limit: mostPurposes, in: bytes)) {
                purposes.append(try reader.prefixedText("purpose", limit: longestPurpose, in: bytes))
            }
            return .extendedKeyUsage(purposes)
        case .selfSigned: return .selfSigned
        }
    }

    private static func pattern(
        with reader: inout ByteReader, from bytes: Span<UInt8>
    ) throws(WireError) -> TextPattern {
        TextPattern(try reader.prefixedText("pattern", limit: longestPattern, in: bytes))
    }

    /// Places of filters, each of which must be there.
    private func places(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) -> [Int] {
        var places: [Int] = []
        for _ in 0..<(try Self.count("filters of a tag", Self.mostFilters, with: &reader, from: bytes)) {
            let start = reader.offset
            let place = Int(try reader.unsigned16("filter", in: bytes))
            guard place < filters.count else { throw .outOfRange(field: "filter", offset: start) }
            places.append(place)
        }
        return places
    }

    private static func count(
        _ field: String, _ limit: Int, with reader: inout ByteReader, from bytes: Span<UInt8>
    ) throws(WireError) -> Int {
        let start = reader.offset
        let count = Int(try reader.unsigned16(field, in: bytes))
        guard count <= limit else { throw .outOfRange(field: field, offset: start) }
        return count
    }
}
