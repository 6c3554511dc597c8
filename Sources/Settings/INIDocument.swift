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
