internal import Handshake

extension MessageLimit {
    /// A pattern of a rule.
    static let rule = PeerRules.longestText
    /// A key-exchange group or cipher suite by name.
    static let name = 64
}

extension PeerRules {
    private enum NameKind: UInt8 {
        case dns = 1
        case address = 2
        case uri = 3
        case email = 4
    }

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try writer.unsigned8(requiresCertificate ? 1 : 0, to: &bytes)
        try writer.count(pins.count, "pins", limit: Self.most, to: &bytes)
        for pin in pins {
            try writer.unsigned8(pin.subject.rawValue, to: &bytes)
            try writer.prefixed(pin.digest, "pin", limit: Pin.length, to: &bytes)
        }
        try writer.count(names.count, "allowed names", limit: Self.most, to: &bytes)
        for name in names {
            let (kind, text): (NameKind, String) =
                switch name {
                case .dns(let text): (.dns, text)
                case .address(let prefix): (.address, prefix.description)
                case .uri(let pattern): (.uri, pattern.text)
                case .email(let pattern): (.email, pattern.text)
                }
            try writer.unsigned8(kind.rawValue, to: &bytes)
            try writer.prefixed(text, "allowed name", limit: MessageLimit.rule, to: &bytes)
        }
        for patterns in [subjects, issuers] {
            try writer.count(patterns.count, "patterns", limit: Self.most, to: &bytes)
            for pattern in patterns {
                try writer.prefixed(pattern.text, "pattern", limit: MessageLimit.rule, to: &bytes)
            }
        }
        try writer.unsigned8(purpose.rawValue, to: &bytes)
        try writer.unsigned8(applicationProtocol.rawValue, to: &bytes)
        try writer.unsigned16(leastRSABits, to: &bytes)
        try writer.unsigned8(missingList.rawValue, to: &bytes)
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        self.init()
        requiresCertificate = try reader.boolean("certificate required", in: bytes)
        for _ in 0..<(try reader.count("pins", limit: Self.most, in: bytes)) {
            let subject: Pin.Subject = try reader.enumeration("kind of pin", in: bytes)
            let start = reader.offset
            let digest = try reader.prefixedBytes("pin", limit: Pin.length, in: bytes)
            guard digest.count == Pin.length else { throw .outOfRange(field: "pin", offset: start) }
            pins.append(Pin(subject, digest))
        }
        for _ in 0..<(try reader.count("allowed names", limit: Self.most, in: bytes)) {
            names.append(try Self.name(with: &reader, from: bytes))
        }
        subjects = try Self.patterns(with: &reader, from: bytes)
        issuers = try Self.patterns(with: &reader, from: bytes)
        purpose = try reader.enumeration("purpose", in: bytes)
        applicationProtocol = try reader.enumeration("ALPN", in: bytes)
        leastRSABits = try reader.unsigned16("RSA bits", in: bytes)
        missingList = try reader.enumeration("missing list", in: bytes)
    }

    private static func name(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) -> AllowedName {
        let kind: NameKind = try reader.enumeration("kind of name", in: bytes)
        let start = reader.offset
        let text = try reader.prefixedText("allowed name", limit: MessageLimit.rule, in: bytes)
        switch kind {
        case .dns: return .dns(text)
        case .address:
            guard let prefix = NetworkPrefix(text) else { throw .malformedText(field: "allowed name", offset: start) }
            return .address(prefix)
        case .uri: return .uri(TextPattern(text))
        case .email: return .email(TextPattern(text))
        }
    }

    private static func patterns(
        with reader: inout ByteReader, from bytes: Span<UInt8>
    ) throws(WireError) -> [NamePattern] {
        var patterns: [NamePattern] = []
        for _ in 0..<(try reader.count("patterns", limit: most, in: bytes)) {
            let start = reader.offset
            let text = try reader.prefixedText("pattern", limit: MessageLimit.rule, in: bytes)
            guard let pattern = NamePattern(text) else { throw .malformedText(field: "pattern", offset: start) }
            patterns.append(pattern)
        }
        return patterns
    }
}

extension NegotiationLimits {
    private static let most = 32

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        for names in [suites, groups] {
            try writer.count(names.count, "limits", limit: Self.most, to: &bytes)
            for name in names { try writer.prefixed(name, "limit", limit: MessageLimit.name, to: &bytes) }
        }
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        self.init()
        suites = try Self.names(with: &reader, from: bytes)
        groups = try Self.names(with: &reader, from: bytes)
    }

    private static func names(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) -> [String] {
        var names: [String] = []
        for _ in 0..<(try reader.count("limits", limit: most, in: bytes)) {
            names.append(try reader.prefixedText("limit", limit: MessageLimit.name, in: bytes))
        }
        return names
    }
}

extension ByteWriter {
    /// How many of something follow, in one byte.
    mutating func count(
        _ count: Int, _ field: String, limit: Int, to bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        guard count <= limit, let short = UInt8(exactly: count) else { throw .outOfRange(field: field, offset: offset) }
        try unsigned8(short, to: &bytes)
    }
}

extension ByteReader {
    /// How many of something follow, in one byte.
    mutating func count(_ field: String, limit: Int, in bytes: Span<UInt8>) throws(WireError) -> Int {
        let start = offset
        let count = Int(try unsigned8(field, in: bytes))
        guard count <= limit else { throw .outOfRange(field: field, offset: start) }
        return count
    }
}
