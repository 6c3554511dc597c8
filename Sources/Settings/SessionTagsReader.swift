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
