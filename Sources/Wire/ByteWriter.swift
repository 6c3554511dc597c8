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
