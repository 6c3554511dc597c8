/// ASCII characters with a meaning in both file formats.
enum Byte {
    static let tab: UInt8 = 0x09
    static let newline: UInt8 = 0x0A
    static let carriageReturn: UInt8 = 0x0D
    static let blank: UInt8 = 0x20
    static let hash: UInt8 = 0x23
    static let colon: UInt8 = 0x3A
    static let semicolon: UInt8 = 0x3B
    static let equals: UInt8 = 0x3D
    static let openBracket: UInt8 = 0x5B
    static let backslash: UInt8 = 0x5C
    static let closeBracket: UInt8 = 0x5D

    /// Returns `true` for blank, tab, carriage return and form feed, which are ignored around names and values.
    static func isBlank(_ byte: UInt8) -> Bool {
        byte == blank || byte == tab || byte == carriageReturn || byte == 0x0C
    }

    static func isControl(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == 0x7F
    }

    static func isDigit(_ byte: UInt8) -> Bool {
        byte >= 0x30 && byte <= 0x39
    }

    static func isLetter(_ byte: UInt8) -> Bool {
        (byte >= 0x41 && byte <= 0x5A) || (byte >= 0x61 && byte <= 0x7A)
    }

    /// Value of a hexadecimal digit in either case; `nil` for other bytes.
    static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
}

extension Span where Element == UInt8 {
    /// Index of the first byte after a UTF-8 byte order mark, if there is one.
    var startOfText: Int {
        count >= 3 && self[0] == 0xEF && self[1] == 0xBB && self[2] == 0xBF ? 3 : 0
    }

    /// Index of the newline that ends the line at `start`, or the end of the bytes.
    func endOfLine(from start: Int) -> Int {
        var end = start
        while end < count, self[end] != Byte.newline { end += 1 }
        return end
    }

    /// The range without blanks at both ends.
    func trimmingBlanks(_ range: Range<Int>) -> Range<Int> {
        var start = range.lowerBound
        var end = range.upperBound
        while start < end, Byte.isBlank(self[start]) { start += 1 }
        while end > start, Byte.isBlank(self[end - 1]) { end -= 1 }
        return start..<end
    }

    func firstIndex(of byte: UInt8, in range: Range<Int>) -> Int? {
        range.first { self[$0] == byte }
    }

    /// A copy of a range. Not for secrets.
    func copy(_ range: Range<Int>) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(range.count)
        for index in range { bytes.append(self[index]) }
        return bytes
    }
}

extension Sequence<UInt8> {
    /// The bytes as text without blanks at both ends.
    func trimmingBlanks() -> String {
        let bytes = Array(self)
        return String(decoding: bytes.span.copy(bytes.span.trimmingBlanks(0..<bytes.count)), as: UTF8.self)
    }
}
