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
