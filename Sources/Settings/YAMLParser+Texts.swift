/// Scalars and flow collections.
extension YAMLParser {
    /// The scalar at the current position. It ends at the end of the line, a comment, a colon that ends a key, and in a
    /// flow collection at a comma or bracket.
    mutating func scalar(inFlow: Bool) throws(SettingsError) -> String {
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

    static let comma = UInt8(ascii: ",")
    static let opening: Set<UInt8> = [UInt8(ascii: "["), UInt8(ascii: "{")]
    static let closing: Set<UInt8> = [UInt8(ascii: "]"), UInt8(ascii: "}")]

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
    mutating func flow(parent: Int, depth: Int) throws(SettingsError) -> YAMLNode {
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
