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
