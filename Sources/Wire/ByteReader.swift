/// Reads big-endian integers and length-prefixed fields off a span, remembering where it stands.
///
/// It holds no bytes of its own: each call is given the same span. Every read is checked, and a read that fails moves
/// nothing.
package struct ByteReader: Sendable {
    /// Bytes read so far; the offset that errors name.
    package private(set) var offset: Int
    /// Offset at which this reader stops; at most the span's count.
    package let end: Int

    package init(from offset: Int = 0, to end: Int) {
        self.offset = offset
        self.end = end
    }

    package var remaining: Int { end - offset }

    package mutating func unsigned8(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> UInt8 {
        UInt8(truncatingIfNeeded: try integer(1, field, in: bytes))
    }

    package mutating func unsigned16(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> UInt16 {
        UInt16(truncatingIfNeeded: try integer(2, field, in: bytes))
    }

    package mutating func unsigned32(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> UInt32 {
        UInt32(truncatingIfNeeded: try integer(4, field, in: bytes))
    }

    package mutating func unsigned64(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> UInt64 {
        try integer(8, field, in: bytes)
    }

    /// Takes `count` bytes and says where they are.
    package mutating func range(_ count: Int, _ field: String) throws(WireError) -> Range<Int> {
        guard count >= 0, count <= remaining else { throw .truncated(field: field, offset: offset) }
        defer { offset += count }
        return offset..<(offset + count)
    }

    /// A field with a 16-bit length before it, of at most `limit` bytes.
    package mutating func prefixedRange(
        _ field: String, limit: Int, in bytes: Span<UInt8>
    ) throws(WireError) -> Range<Int> {
        var ahead = self
        let count = Int(try ahead.unsigned16(field, in: bytes))
        guard count <= limit else { throw .outOfRange(field: field, offset: offset) }
        let range = try ahead.range(count, field)
        self = ahead
        return range
    }

    /// A copy of a field with a 16-bit length before it, of at most `limit` bytes. Not for secrets.
    package mutating func prefixedBytes(
        _ field: String, limit: Int, in bytes: Span<UInt8>
    ) throws(WireError) -> [UInt8] {
        let range = try prefixedRange(field, limit: limit, in: bytes)
        return range.map { bytes[$0] }
    }

    /// A copy of a field with an 8-bit length before it. Not for secrets.
    package mutating func shortBytes(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> [UInt8] {
        var ahead = self
        let range = try ahead.range(Int(try ahead.unsigned8(field, in: bytes)), field)
        self = ahead
        return range.map { bytes[$0] }
    }

    /// A byte that must be the raw value of `Value`.
    package mutating func enumeration<Value: RawRepresentable>(
        _ field: String, in bytes: Span<UInt8>
    ) throws(WireError) -> Value where Value.RawValue == UInt8 {
        let start = offset
        let raw = try unsigned8(field, in: bytes)
        guard let value = Value(rawValue: raw) else {
            throw .unknownValue(field: field, value: UInt64(raw), offset: start)
        }
        return value
    }

    /// Checks that the message ends here.
    package func finish(_ message: String) throws(WireError) {
        guard remaining == 0 else { throw .trailingBytes(message: message, offset: offset) }
    }

    private mutating func integer(_ count: Int, _ field: String, in bytes: Span<UInt8>) throws(WireError) -> UInt64 {
        var value: UInt64 = 0
        for index in try range(count, field) {
            value = value << 8 | UInt64(bytes[index])
        }
        return value
    }
}

/// Writes big-endian integers and length-prefixed fields into a span, remembering where it stands; `ByteReader`'s
/// counterpart.
package struct ByteWriter: Sendable {
    /// Bytes written so far.
    package private(set) var offset = 0
    private let message: String

    /// - Parameter message: what is being written, for the error.
    package init(_ message: String) {
        self.message = message
    }

    package mutating func unsigned8(_ value: UInt8, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try integer(UInt64(value), 1, to: &bytes)
    }

    package mutating func unsigned16(_ value: UInt16, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try integer(UInt64(value), 2, to: &bytes)
    }

    package mutating func unsigned32(_ value: UInt32, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try integer(UInt64(value), 4, to: &bytes)
    }

    package mutating func unsigned64(_ value: UInt64, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try integer(value, 8, to: &bytes)
    }

    /// Leaves `count` bytes for the caller to fill, and says where: secrets are copied there straight from where they
    /// live.
    package mutating func reserve(_ count: Int, in bytes: borrowing MutableSpan<UInt8>) throws(WireError) -> Range<Int>
    {
        guard count >= 0, bytes.count - offset >= count else { throw .doesNotFit(message: message, size: bytes.count) }
        defer { offset += count }
        return offset..<(offset + count)
    }

    private mutating func integer(_ value: UInt64, _ count: Int, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        let range = try reserve(count, in: bytes)
        for (position, index) in range.enumerated() {
            bytes[index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (count - 1 - position)))
        }
    }
}

/// An error in a message. The offset counts bytes from the start of the whole message.
package enum WireError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Fewer bytes than the field needs.
    case truncated(field: String, offset: Int)
    /// Bytes are left where the message should end.
    case trailingBytes(message: String, offset: Int)
    /// A length, count or number outside what the format allows.
    case outOfRange(field: String, offset: Int)
    /// A value that the format does not define.
    case unknownValue(field: String, value: UInt64, offset: Int)
    /// Text that is not UTF-8, or holds a NUL where none may be.
    case malformedText(field: String, offset: Int)
    /// A field that must be there is not.
    case missing(field: String)
    /// A field that may occur once is repeated.
    case duplicate(field: String, offset: Int)
    /// The message does not fit into the buffer that it should be written to.
    case doesNotFit(message: String, size: Int)

    /// The error and its place, for a log line.
    package var description: String {
        switch self {
        case .truncated(let field, let offset): "\(field) is cut short at byte \(offset)"
        case .trailingBytes(let message, let offset): "\(message) has trailing bytes at byte \(offset)"
        case .outOfRange(let field, let offset): "\(field) is out of range at byte \(offset)"
        case .unknownValue(let field, let value, let offset):
            "\(field) has the unknown value \(value) at byte \(offset)"
        case .malformedText(let field, let offset): "\(field) is not text at byte \(offset)"
        case .missing(let field): "\(field) is missing"
        case .duplicate(let field, let offset): "\(field) is repeated at byte \(offset)"
        case .doesNotFit(let message, let size): "\(message) does not fit into \(size) bytes"
        }
    }
}
