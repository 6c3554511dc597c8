/// Parses the subset of YAML 1.2 that files of session tags use: block and flow mappings and sequences, plain and
/// quoted scalars on one line, comments, several documents. Accepted text means the same to every YAML parser; other
/// text is an error with its position.
///
/// A parser of our own, because the privileged process reads the file and should contain no more parser than it needs
/// (docs/decisions/0071-yaml-is-read-here.md).
package struct YAMLParser {
    static let limit = 1 << 20
    static let deepest = 8

    struct Line {
        let number: Int
        /// Number of leading blanks.
        let indent: Int
        /// Without trailing blanks and carriage return.
        let bytes: [UInt8]
    }

    let file: String
    /// Lines that are neither empty nor only a comment.
    var lines: [Line] = []
    /// Current position: index in `lines`, and byte.
    var row = 0
    var column = 0

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

    init(file: String) {
        self.file = file
    }

    var line: Line? { row < lines.count ? lines[row] : nil }

    func error(_ problem: YAMLProblem, _ column: Int) -> SettingsError {
        error(problem, TextPlace(line: line?.number ?? lines.last?.number ?? 1, column: column + 1))
    }

    func error(_ problem: YAMLProblem, _ place: TextPlace) -> SettingsError {
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

    static func isMarker(_ line: Line) -> Bool {
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
    var byte: UInt8? { peek(0) }

    func peek(_ ahead: Int) -> UInt8? {
        guard let line, column + ahead < line.bytes.count else { return nil }
        return line.bytes[column + ahead]
    }

    mutating func skipBlanks() {
        while byte == Byte.blank { column += 1 }
    }

    /// True at a comment, which starts at the beginning of the line or after a blank.
    var isComment: Bool { byte == Byte.hash && (column == 0 || line?.bytes[column - 1] == Byte.blank) }

    /// Moves to the next line. Only a comment may be left on this one.
    mutating func endLine(_ problem: YAMLProblem = .textAfterValue) throws(SettingsError) {
        skipBlanks()
        guard byte == nil || isComment else { throw error(byte == Byte.tab ? .tab : problem, column) }
        row += 1
        column = line?.indent ?? 0
    }

    var place: TextPlace { TextPlace(line: line?.number ?? 1, column: column + 1) }

    // MARK: Blocks

    /// The node that starts on this line and whose lines are indented by `indent`.
    mutating func block(indent: Int, depth: Int) throws(SettingsError) -> YAMLNode {
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
}
