/// The sections, keys and values of an INI file with their lines. Their meaning is not checked here.
///
/// Accepts everything that GLib's key file parser accepts, because existing tlshd configurations rely on it: comments
/// with `#`, blanks around keys and `=` and at line ends, CRLF, repeated sections and keys. In addition, comments may
/// start with `;`, and a byte order mark is skipped. Keys are case-sensitive.
package struct INIDocument: Equatable, Sendable {
    /// File name for messages.
    package let file: String
    /// Section headers in file order.
    package let sections: [Section]
    /// Keys with their values in file order.
    package let entries: [Entry]

    package struct Section: Equatable, Sendable {
        package let name: String
        /// Counted from 1.
        package let line: Int
    }

    package struct Entry: Equatable, Sendable {
        package let section: String
        package let key: String
        package let value: INIValue
    }

    /// Parses a whole file. A line that GLib would refuse is an error. Values are not checked, because their syntax
    /// depends on the key.
    package static func parse(_ bytes: Span<UInt8>, file: String) throws(SettingsError) -> INIDocument {
        var parser = INIParser(file: file)
        var start = bytes.startOfText
        while start < bytes.count {
            let end = bytes.endOfLine(from: start)
            try parser.readLine(bytes, start..<end)
            start = end + 1
        }
        return INIDocument(file: file, sections: parser.sections, entries: parser.entries)
    }

    /// Parses a whole file.
    package static func parse(_ bytes: [UInt8], file: String) throws(SettingsError) -> INIDocument {
        try parse(bytes.span, file: file)
    }

    /// The last entry of a key, in whichever header of the section.
    package func entry(_ key: String, in section: String) -> Entry? {
        entries.last { $0.section == section && $0.key == key }
    }
}

private struct INIParser {
    let file: String
    var line = 0
    var sections: [INIDocument.Section] = []
    var entries: [INIDocument.Entry] = []

    /// Parses one line; `range` excludes the newline.
    mutating func readLine(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(SettingsError) {
        line += 1
        let text = bytes.trimmingBlanks(range)
        guard !text.isEmpty else { return }
        switch bytes[text.lowerBound] {
        case Byte.hash, Byte.semicolon:
            return
        case Byte.openBracket:
            try readSection(bytes, text, lineStart: range.lowerBound)
        default:
            try readEntry(bytes, text, line: range)
        }
    }

    private mutating func readSection(
        _ bytes: Span<UInt8>, _ text: Range<Int>, lineStart: Int
    ) throws(SettingsError) {
        let nameStart = text.lowerBound + 1
        guard let close = bytes.firstIndex(of: Byte.closeBracket, in: nameStart..<text.upperBound) else {
            throw error(.unclosedSection, at: text.upperBound - lineStart)
        }
        guard close + 1 == text.upperBound else {
            throw error(.textAfterSection, at: close + 1 - lineStart)
        }
        let name = nameStart..<close
        let isName = name.allSatisfy { bytes[$0] != Byte.openBracket && !Byte.isControl(bytes[$0]) }
        guard !name.isEmpty, isName else {
            throw error(.sectionName, at: nameStart - lineStart)
        }
        sections.append(.init(name: String(decoding: bytes.copy(name), as: UTF8.self), line: line))
    }

    private mutating func readEntry(
        _ bytes: Span<UInt8>, _ text: Range<Int>, line range: Range<Int>
    ) throws(SettingsError) {
        let column = text.lowerBound - range.lowerBound
        guard let equals = bytes.firstIndex(of: Byte.equals, in: text) else {
            throw error(.missingEquals, at: column)
        }
        let key = bytes.trimmingBlanks(text.lowerBound..<equals)
        guard !key.isEmpty else {
            throw error(.emptyKey, at: column)
        }
        guard let section = sections.last else {
            throw error(.keyBeforeSection, at: column)
        }
        if let bracket = strayBracket(bytes, key) {
            throw error(.bracketInKey, at: bracket - range.lowerBound)
        }
        let value = valueRange(bytes, equals + 1..<range.upperBound)
        entries.append(
            .init(
                section: section.name,
                key: String(decoding: bytes.copy(key), as: UTF8.self),
                value: INIValue(
                    bytes: bytes.copy(value), line: line, column: value.lowerBound - range.lowerBound + 1)))
    }

    /// Position of a bracket in a key, other than around a locale at its end, as in `name[de]`.
    private func strayBracket(_ bytes: Span<UInt8>, _ key: Range<Int>) -> Int? {
        let brackets = key.filter { bytes[$0] == Byte.openBracket || bytes[$0] == Byte.closeBracket }
        guard let first = brackets.first else { return nil }
        let isLocale =
            brackets.count == 2 && bytes[first] == Byte.openBracket && brackets[1] == key.upperBound - 1
            && bytes[brackets[1]] == Byte.closeBracket
        return isLocale ? nil : first
    }

    /// The value without leading blanks and without the carriage return of a CRLF. Other blanks belong to the value.
    private func valueRange(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Range<Int> {
        var start = range.lowerBound
        var end = range.upperBound
        if end > start, bytes[end - 1] == Byte.carriageReturn { end -= 1 }
        while start < end, Byte.isBlank(bytes[start]) { start += 1 }
        return start..<end
    }

    private func error(_ problem: INIProblem, at offset: Int) -> SettingsError {
        SettingsError(file: file, line: line, column: offset + 1, problem: .syntax(problem))
    }
}

/// The text after a key's equals sign: leading blanks are dropped, everything else is kept, including a `# note`. The
/// functions parse it by the rules of GLib's key files ("Desktop Entry Specification", "Possible value types"), for
/// which existing tlshd configurations were written.
package struct INIValue: Equatable, Sendable {
    package let bytes: [UInt8]
    /// Counted from 1.
    package let line: Int
    /// Column of the first byte, in bytes; counted from 1.
    package let column: Int

    package init(bytes: [UInt8], line: Int, column: Int) {
        self.bytes = bytes
        self.line = line
        self.column = column
    }
}

/// A value has the wrong syntax for its type.
package enum INIValueProblem: Error, Equatable, Sendable {
    case empty
    case notUTF8
    case nulByte
    case unknownEscape
    case notAnInteger
    case integerOutOfRange
    case notABoolean

    /// Clause that follows "the value of KEY".
    package var what: String {
        switch self {
        case .empty: "is empty"
        case .notUTF8: "is not UTF-8 text"
        case .nulByte: "contains a NUL byte"
        case .unknownEscape: "has a backslash that is not followed by s, n, t, r or \\"
        case .notAnInteger: "is not a decimal number"
        case .integerOutOfRange: "does not fit into 32 bits"
        case .notABoolean: "is neither yes nor no"
        }
    }

    package var remedy: String {
        switch self {
        case .empty: "set a value, or remove the line"
        case .notUTF8: "write the value in UTF-8"
        case .nulByte: "check the file for damage, and rewrite the line"
        case .unknownEscape: "write \\\\ for a backslash"
        case .notAnInteger: "write digits only, and no quotes"
        case .integerOutOfRange: "write a small number"
        case .notABoolean: "write yes or no"
        }
    }
}

extension INIValue {
    /// Text with escapes replaced. Trailing blanks are kept.
    package func string() throws(INIValueProblem) -> String {
        try Self.text(unescaped(bytes[...]))
    }

    /// File name: not empty; trailing blanks are dropped, because they are invisible in an editor. `\s` denotes an
    /// intended blank.
    package func path() throws(INIValueProblem) -> String {
        let path = try Self.text(unescaped(Self.trimmingEnd(bytes[...])))
        guard !path.isEmpty else { throw .empty }
        return path
    }

    /// List of texts separated by `;`. Inner blanks are kept, `\;` is a semicolon, a final `;` adds no item, and other
    /// empty items are kept.
    package func list() throws(INIValueProblem) -> [String] {
        var items: [String] = []
        var start = bytes.startIndex
        var index = start
        while index < bytes.endIndex {
            if bytes[index] == Byte.backslash {
                index += 2
                continue
            }
            if bytes[index] == Byte.semicolon {
                items.append(try Self.text(unescaped(bytes[start..<index], separator: Byte.semicolon)))
                start = index + 1
            }
            index += 1
        }
        if start < bytes.endIndex {
            items.append(try Self.text(unescaped(bytes[start...], separator: Byte.semicolon)))
        }
        return items
    }

    /// Boolean: yes or no, or one of GLib's words for these.
    package func boolean() throws(INIValueProblem) -> Bool {
        switch try path() {
        case "yes", "true", "1": true
        case "no", "false", "0": false
        default: throw .notABoolean
        }
    }

    /// Decimal number of 32 bits, with optional sign. Text after the digits and a blank is ignored.
    package func integer() throws(INIValueProblem) -> Int {
        var digits = bytes[...]
        let isNegative = digits.first == 0x2D
        if isNegative || digits.first == 0x2B { digits = digits.dropFirst() }
        let tail = digits.drop(while: Byte.isDigit)
        guard tail.startIndex > digits.startIndex, tail.first.map(Byte.isBlank) ?? true else { throw .notAnInteger }
        var magnitude = 0
        for digit in digits[..<tail.startIndex] {
            magnitude = magnitude * 10 + Int(digit - 0x30)
            guard magnitude <= Int(Int32.max) + 1 else { throw .integerOutOfRange }
        }
        let number = isNegative ? -magnitude : magnitude
        guard Int32(exactly: number) != nil else { throw .integerOutOfRange }
        return number
    }

    /// Replaces the escapes of GLib's key files; in a list also `\;`.
    private func unescaped(
        _ raw: ArraySlice<UInt8>, separator: UInt8? = nil
    ) throws(INIValueProblem) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(raw.count)
        var rest = raw
        while let byte = rest.popFirst() {
            guard byte == Byte.backslash else {
                result.append(byte)
                continue
            }
            switch rest.popFirst() {
            case .some(0x73): result.append(Byte.blank)
            case .some(0x6E): result.append(Byte.newline)
            case .some(0x74): result.append(Byte.tab)
            case .some(0x72): result.append(Byte.carriageReturn)
            case .some(Byte.backslash): result.append(Byte.backslash)
            case .some(let other) where other == separator: result.append(other)
            case .some, .none: throw .unknownEscape
            }
        }
        return result
    }

    private static func text(_ bytes: [UInt8]) throws(INIValueProblem) -> String {
        guard !bytes.contains(0) else { throw .nulByte }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw .notUTF8 }
        return text
    }

    private static func trimmingEnd(_ raw: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var trimmed = raw
        while let last = trimmed.last, Byte.isBlank(last) { trimmed.removeLast() }
        return trimmed
    }
}
