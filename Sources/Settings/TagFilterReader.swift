internal import Handshake

/// Parses one filter of session tags.
struct TagFilterReader {
    static let mostWildcards = 16
    static let types = [
        "x509.cert.signatureAlgorithm", "x509.tbs.version", "x509.tbs.serialNumber", "x509.tbs.issuer",
        "x509.tbs.subject", "x509.tbs.validity.notBefore", "x509.tbs.validity.notAfter", "x509.extension.keyUsage",
        "x509.extension.extendedKeyUsage", "x509.derived.fingerprint", "x509.derived.selfSigned",
    ]

    private let file: String
    private let place: TextPlace
    private let parts: [YAMLEntry]

    init(_ entry: YAMLEntry, _ file: String) throws(SettingsError) {
        self.file = file
        place = entry.place
        parts = try SessionTagsReader.mapping(entry.node, file)
    }

    func filter() throws(SettingsError) -> TagFilter {
        let type = try text("type")
        switch type.text {
        case "x509.cert.signatureAlgorithm": return .signatureAlgorithm(try pattern())
        case "x509.tbs.version": return .version(try pattern())
        case "x509.tbs.serialNumber": return .serialNumber(try pattern())
        case "x509.tbs.issuer": return .issuer(try pattern())
        case "x509.tbs.subject": return .subject(try pattern())
        case "x509.tbs.validity.notBefore": return .notBefore(try moment())
        case "x509.tbs.validity.notAfter": return .notAfter(try moment())
        case "x509.extension.keyUsage": return .keyUsage(try usage())
        case "x509.extension.extendedKeyUsage": return .extendedKeyUsage(try purposes())
        case "x509.derived.fingerprint": return .fingerprint(try pattern())
        case "x509.derived.selfSigned":
            try allow(["type"])
            return .selfSigned
        default: throw SessionTagsReader.error(.filterType, file, type.place)
        }
    }

    /// Refuses keys that are not valid for the type.
    private func allow(_ keys: Set<String>) throws(SettingsError) {
        if let other = parts.first(where: { !keys.contains($0.key) }) {
            throw SessionTagsReader.error(.filterKeys, file, other.place)
        }
    }

    private func text(_ key: String) throws(SettingsError) -> (text: String, place: TextPlace) {
        guard let part = parts.first(where: { $0.key == key }), case .scalar(let text) = part.node.value else {
            throw SessionTagsReader.error(.filterKeys, file, parts.first { $0.key == key }?.place ?? place)
        }
        return (text, part.node.place)
    }

    private func pattern() throws(SettingsError) -> TextPattern {
        try allow(["type", "pattern"])
        let (text, place) = try text("pattern")
        guard !text.isEmpty, text.utf8.count <= SessionTags.longestPattern, !text.utf8.contains(where: Byte.isControl)
        else { throw SessionTagsReader.error(.pattern, file, place) }
        let pattern = TextPattern(text)
        guard pattern.wildcards <= Self.mostWildcards else { throw SessionTagsReader.error(.wildcards, file, place) }
        return pattern
    }

    private func moment() throws(SettingsError) -> Int64 {
        try allow(["type", "pattern"])
        let (text, place) = try text("pattern")
        guard let seconds = Self.seconds(text) else { throw SessionTagsReader.error(.moment, file, place) }
        return seconds
    }

    private func usage() throws(SettingsError) -> KeyUsage {
        var usage: KeyUsage = []
        for (name, place) in try list() {
            guard let one = KeyUsage(name: name) else { throw SessionTagsReader.error(.purposes, file, place) }
            usage.formUnion(one)
        }
        return usage
    }

    private func purposes() throws(SettingsError) -> [String] {
        var purposes: [String] = []
        for (name, place) in try list() {
            guard let purpose = Purpose.identifier(name), purposes.count < 32 else {
                throw SessionTagsReader.error(.purposes, file, place)
            }
            if !purposes.contains(purpose) { purposes.append(purpose) }
        }
        return purposes
    }

    /// The names in `purpose`; at least one.
    private func list() throws(SettingsError) -> [(String, TextPlace)] {
        try allow(["type", "purpose"])
        guard let part = parts.first(where: { $0.key == "purpose" }) else {
            throw SessionTagsReader.error(.filterKeys, file, place)
        }
        guard case .sequence(let items) = part.node.value, !items.isEmpty else {
            throw SessionTagsReader.error(.purposes, file, part.place)
        }
        var names: [(String, TextPlace)] = []
        for item in items {
            guard case .scalar(let text) = item.value else {
                throw SessionTagsReader.error(.purposes, file, item.place)
            }
            names.append((text, item.place))
        }
        return names
    }

    /// Parses `YYYY-MM-DD HH:MM:SS` in UTC into seconds since 1970-01-01T00:00:00Z; `nil` for other texts.
    static func seconds(_ text: String) -> Int64? {
        let shape = Array("0000-00-00 00:00:00".utf8)
        let bytes = Array(text.utf8)
        guard bytes.count == shape.count,
            zip(bytes, shape).allSatisfy({ $1 == 0x30 ? Byte.isDigit($0) : $0 == $1 })
        else { return nil }
        func number(_ range: Range<Int>) -> Int64 { bytes[range].reduce(0) { $0 * 10 + Int64($1 - 0x30) } }
        let (year, month, day) = (number(0..<4), number(5..<7), number(8..<10))
        let (hour, minute, second) = (number(11..<13), number(14..<16), number(17..<19))
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let lengths: [Int64] = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard year > 0, (1...12).contains(month), (1...lengths[Int(month) - 1]).contains(day), hour < 24, minute < 60,
            second < 60
        else { return nil }
        // Days before the year, plus days before the month. 719,162 days precede 1970 (proleptic Gregorian calendar).
        let past = year - 1
        let days = past * 365 + past / 4 - past / 100 + past / 400 + lengths[..<(Int(month) - 1)].reduce(0, +) + day - 1
        return ((days - 719_162) * 24 + hour) * 3600 + minute * 60 + second
    }
}
