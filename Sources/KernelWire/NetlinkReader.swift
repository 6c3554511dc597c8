package import Wire

/// Extensions of `ByteReader` and `ByteWriter` for netlink, which uses host byte order.
extension ByteReader {
    package mutating func hostUnsigned16(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> UInt16 {
        // Read as big-endian; `bigEndian` swaps the bytes on a little-endian host.
        try unsigned16(field, in: bytes).bigEndian
    }

    package mutating func hostUnsigned32(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> UInt32 {
        try unsigned32(field, in: bytes).bigEndian
    }

    /// Skips to the next multiple of four, counted from `start`, or to the end of the data.
    package mutating func align(from start: Int) throws(WireError) {
        let padding = -(offset - start) & 3
        _ = try range(min(padding, remaining), "padding")
    }
}

extension ByteWriter {
    package mutating func hostUnsigned16(_ value: UInt16, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try unsigned16(value.bigEndian, to: &bytes)
    }

    package mutating func hostUnsigned32(_ value: UInt32, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try unsigned32(value.bigEndian, to: &bytes)
    }
}

/// One netlink attribute: its number and the range of its value.
package struct NetlinkAttribute: Sendable, Equatable {
    /// Number without the flags in the two highest bits.
    package let type: UInt16
    package let value: Range<Int>

    /// All attributes in `range` of `bytes`, in order.
    ///
    /// - Throws: `WireError.truncated` if a header or value exceeds the range, `.outOfRange` for a length below that of
    ///   the header.
    package static func all(in range: Range<Int>, of bytes: Span<UInt8>) throws(WireError) -> [NetlinkAttribute] {
        var reader = ByteReader(from: range.lowerBound, to: range.upperBound)
        var found: [NetlinkAttribute] = []
        while reader.remaining > 0 {
            let start = reader.offset
            let length = Int(try reader.hostUnsigned16("attribute length", in: bytes))
            let type = try reader.hostUnsigned16("attribute type", in: bytes) & NetlinkNumber.typeMask
            guard length >= NetlinkNumber.attributeHeader else {
                throw .outOfRange(field: "attribute length", offset: start)
            }
            let value = try reader.range(length - NetlinkNumber.attributeHeader, "attribute \(type)")
            found.append(NetlinkAttribute(type: type, value: value))
            try reader.align(from: start)
        }
        return found
    }

    /// The value as a 32-bit integer; its length must be four bytes.
    package func unsigned32(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> UInt32 {
        guard value.count == 4 else { throw .outOfRange(field: field, offset: value.lowerBound) }
        var reader = ByteReader(from: value.lowerBound, to: value.upperBound)
        return try reader.hostUnsigned32(field, in: bytes)
    }

    /// The value as a signed 32-bit integer; its length must be four bytes.
    package func signed32(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> Int32 {
        Int32(bitPattern: try unsigned32(field, in: bytes))
    }

    /// The value as text with exactly one NUL at its end; never empty.
    package func text(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> String {
        let raw = value.map { bytes[$0] }
        guard raw.count > 1, raw.last == 0, !raw.dropLast().contains(0),
            let text = String(validating: raw.dropLast(), as: UTF8.self)
        else { throw .malformedText(field: field, offset: value.lowerBound) }
        return text
    }
}
