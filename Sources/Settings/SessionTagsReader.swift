package import Handshake

/// Parses files of session tags in the format of ktls-utils, tls-session-tags(7). One error refuses all files.
///
/// The order of files and documents is not significant: a tag may use a filter that is defined later.
package struct SessionTagsReader {
    package static let folder = "/etc/tlshd/tags.d"

    private var filters: [String: Int] = [:]
    private var definitions: [TagFilter] = []
    /// Tags and the names of their filters, to be resolved at the end.
    private var pending: [(name: String, uses: [Use])] = []
    /// Approximate size in a message to a worker, in bytes.
    private var size = 0
    static let mostBytes = 65_536

    private struct Use {
        let name: String
        let isInverted: Bool
        let file: String
        let place: TextPlace
    }

    /// Returns `true` for files to read. Other files in the directory are ignored.
    package static func isRead(_ name: String) -> Bool {
        (name.hasSuffix(".yml") || name.hasSuffix(".yaml")) && !name.hasPrefix(".")
    }

    /// - Parameter files: in any order, with the path for error messages.
    package static func read(_ files: [(path: String, bytes: [UInt8])]) throws(SettingsError) -> SessionTags {
        var reader = SessionTagsReader()
        for file in files {
            for document in try YAMLParser.parse(file.bytes, file: file.path) { try reader.add(document, file.path) }
        }
        return try reader.finish()
    }

    private mutating func add(_ document: YAMLNode, _ file: String) throws(SettingsError) {
        for entry in try Self.mapping(document, file) {
            switch entry.key {
            case "filters":
                for filter in try Self.mapping(entry.node, file) { try addFilter(filter, file) }
            case "tags":
                for tag in try Self.mapping(entry.node, file) { try addTag(tag, file) }
            default: throw Self.error(.topLevel, file, entry.place)
            }
        }
    }

    private mutating func addFilter(_ entry: YAMLEntry, _ file: String) throws(SettingsError) {
        guard Self.isName(entry.key) else { throw Self.error(.name, file, entry.place) }
        guard filters[entry.key] == nil else { throw Self.error(.duplicateFilter, file, entry.place) }
        guard definitions.count < SessionTags.mostFilters else { throw Self.error(.tooMany, file, entry.place) }
        filters[entry.key] = definitions.count
        let filter = try TagFilterReader(entry, file).filter()
        definitions.append(filter)
        size += filter.size
        guard size <= Self.mostBytes else { throw Self.error(.tooMany, file, entry.place) }
    }

    private mutating func addTag(_ entry: YAMLEntry, _ file: String) throws(SettingsError) {
        guard Self.isName(entry.key) else { throw Self.error(.name, file, entry.place) }
        guard !pending.contains(where: { $0.name == entry.key }) else {
            throw Self.error(.duplicateTag, file, entry.place)
        }
        guard pending.count < SessionTags.mostTags else { throw Self.error(.tooMany, file, entry.place) }
        let parts = try Self.mapping(entry.node, file)
        guard let list = parts.first, parts.count == 1, list.key == "filter" else {
            throw Self.error(.tagKeys, file, parts.first { $0.key != "filter" }?.place ?? entry.place)
        }
        guard case .sequence(let items) = list.node.value, items.count <= SessionTags.mostFilters else {
            throw Self.error(.tagKeys, file, list.place)
        }
        var uses: [Use] = []
        for item in items {
            guard case .scalar(let text) = item.value else { throw Self.error(.tagKeys, file, item.place) }
            let isInverted = text.hasPrefix("not ")
            uses.append(
                Use(
                    name: isInverted ? text.dropFirst(4).utf8.trimmingBlanks() : text, isInverted: isInverted,
                    file: file, place: item.place))
        }
        pending.append((entry.key, uses))
        size += 8 + entry.key.utf8.count + 2 * uses.count
        guard size <= Self.mostBytes else { throw Self.error(.tooMany, file, entry.place) }
    }

    private func finish() throws(SettingsError) -> SessionTags {
        var tags = SessionTags()
        tags.filters = definitions
        for (name, uses) in pending {
            var required: [Int] = [], excluded: [Int] = []
            for use in uses {
                guard let filter = filters[use.name] else { throw Self.error(.unknownFilter, use.file, use.place) }
                if use.isInverted { excluded.append(filter) } else { required.append(filter) }
            }
            tags.tags.append(SessionTag(name: name, required: required, excluded: excluded))
        }
        tags.tags.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        return tags
    }

    /// The entries of a mapping. An empty node is a mapping without entries.
    static func mapping(_ node: YAMLNode, _ file: String) throws(SettingsError) -> [YAMLEntry] {
        switch node.value {
        case .empty: return []
        case .mapping(let entries): return entries
        case .scalar, .sequence: throw error(.keysExpected, file, node.place)
        }
    }

    static func isName(_ text: String) -> Bool {
        (1...SessionTags.longestName).contains(text.utf8.count)
            && text.utf8.allSatisfy { Byte.isLetter($0) || Byte.isDigit($0) || $0 == 0x2D || $0 == 0x5F }
    }

    static func error(_ problem: TagProblem, _ file: String, _ place: TextPlace) -> SettingsError {
        SettingsError(file: file, line: place.line, column: place.column, problem: .tag(problem))
    }
}

/// A file of session tags is valid YAML, but has invalid contents.
package enum TagProblem: Equatable, Sendable {
    case keysExpected
    case topLevel
    case name
    case duplicateFilter
    case duplicateTag
    case tooMany
    case tagKeys
    case unknownFilter
    case filterKeys
    case filterType
    case pattern
    case wildcards
    case moment
    case purposes

    var what: String {
        switch self {
        case .keysExpected: "keys are expected here"
        case .topLevel: "the key is neither filters nor tags"
        case .name: "the name has other characters than letters, digits, - and _, or more than 255 of them"
        case .duplicateFilter: "there is a filter of this name already, here or in another file"
        case .duplicateTag: "there is a tag of this name already, here or in another file"
        case .tooMany:
            "there are more than \(SessionTags.mostFilters) filters or \(SessionTags.mostTags) tags, or 64 KiB of them"
        case .tagKeys: "a tag has one key, filter, with a list of filters' names"
        case .unknownFilter: "no file defines a filter of this name"
        case .filterKeys: "a filter has the key type, and one of pattern and purpose where its type requires it"
        case .filterType: "unknown type of filter"
        case .pattern: "the pattern is empty or has more than \(SessionTags.longestPattern) bytes"
        case .wildcards: "the pattern has more than \(TagFilterReader.mostWildcards) wildcards"
        case .moment: "the pattern is not a date and time"
        case .purposes: "the list is empty or contains an unknown purpose"
        }
    }

    var remedy: String {
        switch self {
        case .keysExpected: "write key: value, indented by blanks"
        case .topLevel: "write filters: or tags: at the left margin"
        case .name: "use another name"
        case .duplicateFilter, .duplicateTag: "give each a name of its own"
        case .tooMany: "use fewer"
        case .tagKeys: "write filter: [one, not other]"
        case .unknownFilter: "define it under filters:, or correct the name"
        case .filterKeys: "see tls-session-tags in tlshd.conf(5)"
        case .filterType: "use one of \(TagFilterReader.types.joined(separator: ", "))"
        case .pattern, .wildcards: "use a shorter one, in single quotes"
        case .moment: "write YYYY-MM-DD HH:MM:SS, in UTC"
        case .purposes:
            "write names as RFC 5280 has them, such as digitalSignature, or clientAuth, rpcTLSClient or 1.3.6.1.5.5.7.3.2"
        }
    }
}

extension TagFilter {
    /// Approximate size in a message, in bytes.
    fileprivate var size: Int {
        switch self {
        case .signatureAlgorithm(let pattern), .version(let pattern), .serialNumber(let pattern), .issuer(let pattern),
            .subject(let pattern), .fingerprint(let pattern):
            4 + pattern.text.utf8.count
        case .extendedKeyUsage(let purposes): purposes.reduce(4) { $0 + 2 + $1.utf8.count }
        case .notBefore, .notAfter, .keyUsage, .selfSigned: 12
        }
    }
}

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
