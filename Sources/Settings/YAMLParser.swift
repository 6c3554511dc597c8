/// Parses the subset of YAML 1.2 that files of session tags use: block and flow mappings and sequences, plain and
/// quoted scalars on one line, comments, several documents. Accepted text means the same to every YAML parser; other
/// text is an error with its position.
///
/// A parser of our own, because the privileged process reads the file and should contain no more parser than it needs
/// (docs/decisions/0071-yaml-is-read-here.md).
package struct YAMLParser {
    static let limit = 1 << 20
    static let deepest = 8

    private struct Line {
        let number: Int
        /// Number of leading blanks.
        let indent: Int
        /// Without trailing blanks and carriage return.
        let bytes: [UInt8]
    }

    private let file: String
    /// Lines that are neither empty nor only a comment.
    private var lines: [Line] = []
    /// Current position: index in `lines`, and byte.
    private var row = 0
    private var column = 0

    /// The documents of a file, in file order. Empty documents are omitted.
    package static func parse(_ bytes: [UInt8], file: String) throws(SettingsError) -> [YAMLNode] {
        var parser = YAMLParser(file: file)
        try parser.split(bytes)
        var documents: [YAMLNode] = []
        while let line = parser.line {
            if Self.isMarker(line) {
                try parser.skipMarker()
                continue
            }
            documents.append(try parser.block(indent: line.indent, depth: 0))
            if let next = parser.line, !Self.isMarker(next) { throw parser.error(.indentation, next.indent) }
        }
        return documents
    }

    private init(file: String) {
        self.file = file
    }

    private var line: Line? { row < lines.count ? lines[row] : nil }

    private func error(_ problem: YAMLProblem, _ column: Int) -> SettingsError {
        error(problem, TextPlace(line: line?.number ?? lines.last?.number ?? 1, column: column + 1))
    }

    private func error(_ problem: YAMLProblem, _ place: TextPlace) -> SettingsError {
        SettingsError(file: file, line: place.line, column: place.column, problem: .yaml(problem))
    }

    // MARK: Lines

    private mutating func split(_ bytes: [UInt8]) throws(SettingsError) {
        guard bytes.count <= Self.limit else { throw error(.tooLarge, 0) }
        guard String(validating: bytes, as: UTF8.self) != nil else { throw error(.notUTF8, 0) }
        var number = 0
        var start = bytes.span.startOfText
        while start < bytes.count {
            number += 1
            let end = bytes.span.endOfLine(from: start)
            try add(Array(bytes[start..<end]), number)
            start = end + 1
        }
    }

    private mutating func add(_ raw: [UInt8], _ number: Int) throws(SettingsError) {
        var bytes = raw
        if bytes.last == Byte.carriageReturn { bytes.removeLast() }
        try checkCharacters(bytes, number)
        while bytes.last == Byte.blank { bytes.removeLast() }
        let indent = bytes.prefix { $0 == Byte.blank }.count
        guard indent < bytes.count, bytes[indent] != Byte.hash else { return }
        guard bytes[indent] != Byte.tab else { throw error(.tab, TextPlace(line: number, column: indent + 1)) }
        guard indent > 0 || bytes[0] != UInt8(ascii: "%") else {
            throw error(.directive, TextPlace(line: number, column: 1))
        }
        lines.append(Line(number: number, indent: indent, bytes: bytes))
    }

    /// Refuses line breaks other than newline, and characters that YAML forbids.
    private func checkCharacters(_ bytes: [UInt8], _ number: Int) throws(SettingsError) {
        var column = 0
        for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
            let isRefused =
                switch scalar.value {
                case 0x09: false
                case 0..<0x20, 0x7F...0x9F, 0x2028...0x2029, 0xFEFF, 0xFFFE...0xFFFF: true
                default: false
                }
            guard !isRefused else { throw error(.character, TextPlace(line: number, column: column + 1)) }
            column += UTF8.width(scalar)
        }
    }

    private static func isMarker(_ line: Line) -> Bool {
        guard line.indent == 0, line.bytes.count >= 3 else { return false }
        let head = line.bytes.prefix(3)
        let isMarker = head.elementsEqual("---".utf8) || head.elementsEqual("...".utf8)
        return isMarker && (line.bytes.count == 3 || line.bytes[3] == Byte.blank || line.bytes[3] == Byte.tab)
    }

    private mutating func skipMarker() throws(SettingsError) {
        column = 3
        try endLine(.textAfterMarker)
    }

    // MARK: Places within a line

    /// The current byte; `nil` at the end of the line.
    private var byte: UInt8? { peek(0) }

    private func peek(_ ahead: Int) -> UInt8? {
        guard let line, column + ahead < line.bytes.count else { return nil }
        return line.bytes[column + ahead]
    }

    private mutating func skipBlanks() {
        while byte == Byte.blank { column += 1 }
    }

    /// True at a comment, which starts at the beginning of the line or after a blank.
    private var isComment: Bool { byte == Byte.hash && (column == 0 || line?.bytes[column - 1] == Byte.blank) }

    /// Moves to the next line. Only a comment may be left on this one.
    private mutating func endLine(_ problem: YAMLProblem = .textAfterValue) throws(SettingsError) {
        skipBlanks()
        guard byte == nil || isComment else { throw error(byte == Byte.tab ? .tab : problem, column) }
        row += 1
        column = line?.indent ?? 0
    }

    private var place: TextPlace { TextPlace(line: line?.number ?? 1, column: column + 1) }

    // MARK: Blocks

    /// The node that starts on this line and whose lines are indented by `indent`.
    private mutating func block(indent: Int, depth: Int) throws(SettingsError) -> YAMLNode {
        guard depth < Self.deepest else { throw error(.tooDeep, indent) }
        column = indent
        let start = place
        if isItem { return YAMLNode(place: start, value: .sequence(try items(indent))) }
        if byte == Byte.openBracket || byte == UInt8(ascii: "{") {
            let node = try flow(parent: indent - 1, depth: depth)
            try endLine()
            return node
        }
        let isQuoted = byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'")
        let text = try scalar(inFlow: false)
        guard byte == Byte.colon, isQuoted || !text.isEmpty else {
            try endLine()
            return YAMLNode(place: start, value: .scalar(text))
        }
        return YAMLNode(place: start, value: .mapping(try entries(indent, first: text, start, depth)))
    }

    /// True at a hyphen followed by a blank or nothing.
    private var isItem: Bool { byte == UInt8(ascii: "-") && (peek(1) == nil || peek(1) == Byte.blank) }

    private mutating func entries(
        _ indent: Int, first: String, _ start: TextPlace, _ depth: Int
    ) throws(SettingsError) -> [YAMLEntry] {
        var entries: [YAMLEntry] = []
        var (key, keyPlace) = (first, start)
        while true {
            if entries.contains(where: { $0.key == key }) { throw error(.duplicateKey, keyPlace) }
            column += 1
            guard byte == nil || byte == Byte.blank else { throw error(byte == Byte.tab ? .tab : .keyMissing, column) }
            entries.append(YAMLEntry(key: key, place: keyPlace, node: try value(indent, depth)))
            guard let line, !Self.isMarker(line), line.indent >= indent else { return entries }
            guard line.indent == indent else { throw error(.indentation, line.indent) }
            column = indent
            keyPlace = place
            guard !isItem else { throw error(.keyMissing, column) }
            key = try scalar(inFlow: false)
            guard byte == Byte.colon else { throw error(.keyMissing, column) }
        }
    }

    /// The value after a key's colon, on the same line or below it.
    private mutating func value(_ indent: Int, _ depth: Int) throws(SettingsError) -> YAMLNode {
        skipBlanks()
        let start = place
        guard byte == nil || isComment else {
            let node: YAMLNode
            if byte == Byte.openBracket || byte == UInt8(ascii: "{") {
                node = try flow(parent: indent, depth: depth + 1)
            } else {
                node = YAMLNode(place: start, value: .scalar(try scalar(inFlow: false)))
                guard byte != Byte.colon else { throw error(.colonInText, column) }
            }
            try endLine()
            return node
        }
        try endLine()
        guard let next = line, !Self.isMarker(next) else { return YAMLNode(place: start, value: .empty) }
        column = next.indent
        // A sequence may be indented like its key.
        guard next.indent > indent || next.indent == indent && isItem else {
            return YAMLNode(place: start, value: .empty)
        }
        return try block(indent: next.indent, depth: depth + 1)
    }

    private mutating func items(_ indent: Int) throws(SettingsError) -> [YAMLNode] {
        var items: [YAMLNode] = []
        while let line, !Self.isMarker(line), line.indent == indent {
            column = indent
            guard isItem else { return items }
            column += 1
            skipBlanks()
            let start = place
            guard byte != nil, !isComment else {
                try endLine()
                if let next = self.line, next.indent > indent { throw error(.nestedInSequence, next.indent) }
                items.append(YAMLNode(place: start, value: .empty))
                continue
            }
            guard !isItem, byte != Byte.openBracket, byte != UInt8(ascii: "{") else {
                throw error(.nestedInSequence, column)
            }
            items.append(YAMLNode(place: start, value: .scalar(try scalar(inFlow: false))))
            guard byte != Byte.colon else { throw error(.nestedInSequence, column) }
            try endLine()
        }
        if let line, !Self.isMarker(line), line.indent > indent { throw error(.indentation, line.indent) }
        return items
    }

    // MARK: Scalars

    /// The scalar at the current position. It ends at the end of the line, a comment, a colon that ends a key, and in a
    /// flow collection at a comma or bracket.
    private mutating func scalar(inFlow: Bool) throws(SettingsError) -> String {
        switch byte {
        case UInt8(ascii: "'"): return try quoted(UInt8(ascii: "'"), inFlow: inFlow)
        case UInt8(ascii: "\""): return try quoted(UInt8(ascii: "\""), inFlow: inFlow)
        default: return try plain(inFlow: inFlow)
        }
    }

    private mutating func plain(inFlow: Bool) throws(SettingsError) -> String {
        if let problem = Self.problem(withFirst: byte) { throw error(problem, column) }
        var bytes: [UInt8] = []
        while let byte {
            if isComment { break }
            if byte == Byte.tab { throw error(.tab, column) }
            if byte == Byte.colon, peek(1) == nil || peek(1) == Byte.blank { break }
            if inFlow {
                if byte == Self.comma || Self.closing.contains(byte) { break }
                // Parsers differ about a colon or question mark next to a bracket or comma.
                let isDoubtful = byte == Byte.colon && Self.isFlowSign(peek(1)) || byte == UInt8(ascii: "?")
                if Self.opening.contains(byte) || isDoubtful { throw error(.flowText, column) }
            }
            bytes.append(byte)
            column += 1
        }
        while bytes.last == Byte.blank { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func isFlowSign(_ byte: UInt8?) -> Bool {
        byte.map { $0 == comma || opening.contains($0) || closing.contains($0) } ?? false
    }

    private static let comma = UInt8(ascii: ",")
    private static let opening: Set<UInt8> = [UInt8(ascii: "["), UInt8(ascii: "{")]
    private static let closing: Set<UInt8> = [UInt8(ascii: "]"), UInt8(ascii: "}")]

    /// The problem with the first character of a plain scalar (YAML 1.2 §5.3).
    private static func problem(withFirst byte: UInt8?) -> YAMLProblem? {
        switch byte {
        case nil, Byte.colon: .keyMissing
        case UInt8(ascii: "&"): .anchor
        case UInt8(ascii: "*"): .alias
        case UInt8(ascii: "!"): .typeTag
        case UInt8(ascii: "|"), UInt8(ascii: ">"): .blockText
        case UInt8(ascii: "?"), UInt8(ascii: "-"): .complexKey
        case UInt8(ascii: ","), UInt8(ascii: "]"), UInt8(ascii: "}"), UInt8(ascii: "["), UInt8(ascii: "{"),
            UInt8(ascii: "#"), UInt8(ascii: "%"), UInt8(ascii: "@"), UInt8(ascii: "`"):
            .reserved
        case Byte.tab: .tab
        default: nil
        }
    }

    private mutating func quoted(_ quote: UInt8, inFlow: Bool) throws(SettingsError) -> String {
        let start = column
        column += 1
        var bytes: [UInt8] = []
        while let byte {
            column += 1
            if byte == Byte.tab { throw error(.tab, column - 1) }
            if byte == quote {
                if quote == UInt8(ascii: "'"), self.byte == quote {
                    column += 1
                    bytes.append(quote)
                    continue
                }
                let end = column
                skipBlanks()
                guard self.byte == Byte.colon, peek(1) != nil, peek(1) != Byte.blank else {
                    return String(decoding: bytes, as: UTF8.self)
                }
                throw error(.keyMissing, end)
            }
            guard byte == Byte.backslash, quote != UInt8(ascii: "'") else {
                bytes.append(byte)
                continue
            }
            guard let escaped = self.byte, let meant = Self.escapes[escaped] else { throw error(.escape, column - 1) }
            bytes.append(meant)
            column += 1
        }
        throw error(.quoteOpen, start)
    }

    private static let escapes: [UInt8: UInt8] = [
        Byte.backslash: Byte.backslash, UInt8(ascii: "\""): UInt8(ascii: "\""), UInt8(ascii: "n"): Byte.newline,
        UInt8(ascii: "t"): Byte.tab,
    ]

    // MARK: Flow collections

    /// A flow sequence or mapping. It may span several lines that are indented further than `parent`.
    private mutating func flow(parent: Int, depth: Int) throws(SettingsError) -> YAMLNode {
        guard depth < Self.deepest else { throw error(.tooDeep, column) }
        let start = place
        let isMapping = byte == UInt8(ascii: "{")
        let end = isMapping ? UInt8(ascii: "}") : Byte.closeBracket
        column += 1
        var items: [YAMLNode] = []
        var entries: [YAMLEntry] = []
        try skipToText(start, parent)
        while byte != end {
            if isMapping {
                let entry = try flowEntry(parent, depth)
                if entries.contains(where: { $0.key == entry.key }) { throw error(.duplicateKey, entry.place) }
                entries.append(entry)
            } else {
                items.append(try flowValue(parent, depth))
            }
            try skipToText(start, parent)
            guard byte == Self.comma || byte == end else { throw error(.flowSeparator, column) }
            guard byte == Self.comma else { break }
            column += 1
            try skipToText(start, parent)
        }
        column += 1
        return YAMLNode(place: start, value: isMapping ? .mapping(entries) : .sequence(items))
    }

    private mutating func flowEntry(_ parent: Int, _ depth: Int) throws(SettingsError) -> YAMLEntry {
        let start = place
        let key = try scalar(inFlow: true)
        guard byte == Byte.colon else { throw error(.keyMissing, column) }
        column += 1
        let behind = place
        guard byte == Byte.blank else { throw error(.keyMissing, column) }
        skipBlanks()
        // A value on the next line would be valid YAML, but hard to read.
        guard let byte, byte != Self.comma, !Self.closing.contains(byte), !isComment else {
            throw error(.flowText, behind)
        }
        return YAMLEntry(key: key, place: start, node: try flowValue(parent, depth))
    }

    private mutating func flowValue(_ parent: Int, _ depth: Int) throws(SettingsError) -> YAMLNode {
        if let byte, Self.opening.contains(byte) { return try flow(parent: parent, depth: depth + 1) }
        let start = place
        let text = try scalar(inFlow: true)
        guard byte != Byte.colon else { throw error(.colonInText, column) }
        // A plain scalar could continue on the next line.
        guard byte != nil, !isComment else {
            let here = place
            try endLine()
            if let next = byte, next != Self.comma, !Self.closing.contains(next) { throw error(.flowSeparator, here) }
            return YAMLNode(place: start, value: .scalar(text))
        }
        return YAMLNode(place: start, value: .scalar(text))
    }

    /// Skips blanks, comments and line ends.
    private mutating func skipToText(_ start: TextPlace, _ parent: Int) throws(SettingsError) {
        while true {
            if let line, line.number != start.line, line.indent <= max(parent, 0) {
                throw error(.flowIndentation, line.indent)
            }
            skipBlanks()
            guard line != nil else { throw error(.flowOpen, start) }
            guard byte == nil || isComment else {
                if byte == Byte.tab { throw error(.tab, column) }
                return
            }
            row += 1
            column = line?.indent ?? 0
        }
    }
}

/// A value of a YAML document, always as text: numbers, dates and booleans are not interpreted.
package struct YAMLNode: Equatable, Sendable {
    package let place: TextPlace
    package let value: Value

    package indirect enum Value: Equatable, Sendable {
        /// A key or an item without value.
        case empty
        case scalar(String)
        case sequence([YAMLNode])
        /// In file order; keys are unique.
        case mapping([YAMLEntry])
    }
}

package struct YAMLEntry: Equatable, Sendable {
    package let key: String
    package let place: TextPlace
    package let node: YAMLNode
}

/// A position in a file; both counted from 1, the column in bytes.
package struct TextPlace: Equatable, Sendable {
    package let line: Int
    package let column: Int
}

/// Text that is not in the supported subset of YAML.
package enum YAMLProblem: Equatable, Sendable {
    case notUTF8
    case tooLarge
    case character
    case tab
    case directive
    case textAfterMarker
    case tooDeep
    case indentation
    case anchor
    case alias
    case typeTag
    case blockText
    case complexKey
    case reserved
    case quoteOpen
    case escape
    case textAfterValue
    case colonInText
    case keyMissing
    case duplicateKey
    case nestedInSequence
    case flowOpen
    case flowSeparator
    case flowText
    case flowIndentation

    package var what: String {
        switch self {
        case .notUTF8: "the file is not UTF-8 text"
        case .tooLarge: "the file is larger than \(YAMLParser.limit) bytes"
        case .character: "there is a control character or an unusual line break"
        case .tab: "there is a tab where blanks are expected"
        case .directive: "a line begins with %"
        case .textAfterMarker: "there is text after --- or ..."
        case .tooDeep: "lists or keys are nested more than \(YAMLParser.deepest) deep"
        case .indentation: "the line is indented in a way that fits nothing before it"
        case .anchor: "there is an anchor (&)"
        case .alias: "there is an alias, as the text begins with *"
        case .typeTag: "there is a type (!)"
        case .blockText: "there is a text of several lines (| or >)"
        case .complexKey: "there is a ? or - where a plain key or text is expected"
        case .reserved: "the text begins with a character that YAML reserves"
        case .quoteOpen: "a quote is not closed on its line"
        case .escape: "there is a backslash that is not followed by \\, \", n or t"
        case .textAfterValue: "there is text after the value"
        case .colonInText: "there is a colon and a blank within a text"
        case .keyMissing: "a key and a colon are expected"
        case .duplicateKey: "the key is repeated"
        case .nestedInSequence: "an item of a list is a list or has keys"
        case .flowOpen: "a [ or { is not closed"
        case .flowSeparator: "a comma or the closing bracket is expected"
        case .flowText: "a text inside brackets has a bracket, or a colon without a blank, in it"
        case .flowIndentation: "a line inside brackets must be indented further than the key before them"
        }
    }

    package var remedy: String {
        switch self {
        case .notUTF8, .character: "write the file in UTF-8, with newlines only"
        case .tooLarge: "use several files"
        case .tab, .indentation, .flowIndentation: "indent with blanks, alike within one list of keys"
        case .directive, .textAfterMarker: "remove it, or put it on a line of its own"
        case .tooDeep: "filters and tags need three levels"
        case .anchor, .typeTag: "remove it"
        case .alias, .reserved, .colonInText, .flowText: "put the text in single quotes"
        case .blockText, .quoteOpen: "write it on one line"
        case .complexKey: "write key: value, or put the text in single quotes"
        case .escape: "use single quotes, in which a backslash means itself"
        case .textAfterValue: "put a blank before the # of a comment, and texts with special characters in quotes"
        case .keyMissing: "write key: value"
        case .duplicateKey: "give each its own name"
        case .nestedInSequence: "write names, one an item"
        case .flowOpen, .flowSeparator: "write [a, b] or {key: value}"
        }
    }
}
