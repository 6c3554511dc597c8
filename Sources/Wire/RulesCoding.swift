package import Handshake

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
