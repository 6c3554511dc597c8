package import TLSWire
package import Wire

/// An NVMe TLS key in interchange format: `NVMeTLSkey-1:HH:BASE64:`. HH is the hash with which a host derives its own
/// key, or `00` for none. The base64 text contains the key followed by its CRC-32 in little-endian order (NVMe TCP
/// Transport Specification, "PSK Interchange Format").
///
/// Key bytes are only in the caller's buffers.
package enum NVMeInterchangeKey {
    /// Derivation of the retained PSK from the configured PSK.
    package enum Transform: UInt8, Sendable, Equatable, CaseIterable {
        /// `00`: none.
        case none = 0
        /// `01`, `02`: derived with this hash.
        case sha256 = 1
        case sha384 = 2
    }

    package static let start = "NVMeTLSkey-1:"
    /// Length of a key in bytes: 32 or 48.
    package static let keyLengths = [32, 48]
    /// Maximum length of the text: prefix, hash, 72 characters of base64, and two colons.
    package static let textLimit = 13 + 2 + 1 + 72 + 1

    /// A parsed key.
    package struct Decoded: Sendable, Equatable {
        package let transform: Transform
        /// Length of the key at the start of the buffer, in bytes.
        package let length: Int

        package init(transform: Transform, length: Int) {
            self.transform = transform
            self.length = length
        }

        /// The hash of the identity and of everything that is derived from it: that of the derivation, otherwise the
        /// one whose digest is as long as the key.
        package var hash: PSKHash {
            switch transform {
            case .none: length == PSKHash.sha384.keyLength ? .sha384 : .sha256
            case .sha256: .sha256
            case .sha384: .sha384
            }
        }
    }

    /// Parses a text without surrounding white space.
    ///
    /// - Parameter key: at least 52 bytes; receives the key at its start. Contains zeros if this throws.
    package static func decode(
        _ text: Span<UInt8>, into key: inout MutableSpan<UInt8>
    ) throws(WireError) -> Decoded {
        for index in key.indices { key[index] = 0 }
        do throws(WireError) {
            return try decodeParts(text, into: &key)
        } catch {
            for index in key.indices { key[index] = 0 }
            throw error
        }
    }

    /// Writes the text of a key of 32 or 48 bytes.
    ///
    /// - Parameter text: at least `textLimit` bytes.
    /// - Returns: The length of the text.
    package static func encode(
        _ key: Span<UInt8>, transform: Transform, into text: inout MutableSpan<UInt8>
    ) throws(WireError) -> Int {
        guard keyLengths.contains(key.count) else { throw .outOfRange(field: "length of the key", offset: 0) }
        guard text.count >= textLimit else { throw .doesNotFit(message: "NVMe TLS key", size: text.count) }
        var count = 0
        func put(_ byte: UInt8) {
            text[count] = byte
            count += 1
        }
        for byte in start.utf8 { put(byte) }
        for byte in "0\(transform.rawValue):".utf8 { put(byte) }
        let crc = crc32(key)
        let total = key.count + 4
        func byte(_ index: Int) -> UInt32 {
            index < key.count ? UInt32(key[index]) : index < total ? crc >> UInt32(8 * (index - key.count)) & 0xFF : 0
        }
        for index in stride(from: 0, to: total, by: 3) {
            let group = byte(index) << 16 | byte(index + 1) << 8 | byte(index + 2)
            for place in 0..<4 {
                let isPadding = index + place > total
                put(isPadding ? UInt8(ascii: "=") : letter(UInt8(group >> UInt32(18 - 6 * place) & 63)))
            }
        }
        put(UInt8(ascii: ":"))
        return count
    }

    /// CRC-32 as of IEEE 802.3, reflected, as zlib and Ethernet compute it. Bit by bit: it is called once for few
    /// bytes, and a table would be indexed by secret values.
    package static func crc32(_ bytes: Span<UInt8>) -> UInt32 {
        var crc: UInt32 = 0xFFFF_FFFF
        for index in bytes.indices {
            crc ^= UInt32(bytes[index])
            for _ in 0..<8 { crc = crc >> 1 ^ (0xEDB8_8320 & (0 &- (crc & 1))) }
        }
        return ~crc
    }

    private static func decodeParts(
        _ text: Span<UInt8>, into key: inout MutableSpan<UInt8>
    ) throws(WireError) -> Decoded {
        for (index, letter) in start.utf8.enumerated() {
            guard index < text.count else { throw .truncated(field: "NVMeTLSkey-1:", offset: index) }
            guard text[index] == letter else {
                throw .unknownValue(field: "start of the key", value: UInt64(text[index]), offset: index)
            }
        }
        let body = start.utf8.count
        guard text.count >= body + 3 else { throw .truncated(field: "hash of the key", offset: text.count) }
        let digit = text[body + 1] &- UInt8(ascii: "0")
        guard text[body] == UInt8(ascii: "0"), let transform = Transform(rawValue: digit),
            text[body + 2] == UInt8(ascii: ":")
        else { throw .unknownValue(field: "hash of the key", value: UInt64(digit), offset: body) }
        guard text[text.count - 1] == UInt8(ascii: ":"), text.count > body + 3 else {
            throw .missing(field: "colon at the key's end")
        }
        let length = try decodeBase64(text, body + 3..<text.count - 1, into: &key) - 4
        guard keyLengths.contains(length) else { throw .outOfRange(field: "length of the key", offset: body + 3) }
        let decoded = Decoded(transform: transform, length: length)
        guard transform == .none || decoded.hash.keyLength == length else {
            throw .outOfRange(field: "length of the key for its hash", offset: body + 3)
        }
        try checkSum(of: length, in: &key)
        return decoded
    }

    /// Verifies the CRC after the key and removes it.
    private static func checkSum(of length: Int, in key: inout MutableSpan<UInt8>) throws(WireError) {
        let expected = crc32(key.span.extracting(first: length))
        var found: UInt32 = 0
        for index in 0..<4 {
            found |= UInt32(key[length + index]) << UInt32(8 * index)
            key[length + index] = 0
        }
        guard found == expected else { throw .outOfRange(field: "check sum of the key", offset: length) }
    }

    /// Decodes base64 with padding in its canonical form (RFC 4648 §3.5).
    ///
    /// - Returns: The number of bytes.
    private static func decodeBase64(
        _ text: Span<UInt8>, _ range: Range<Int>, into bytes: inout MutableSpan<UInt8>
    ) throws(WireError) -> Int {
        guard range.count.isMultiple(of: 4), !range.isEmpty else {
            throw .truncated(field: "base64 of the key", offset: range.upperBound)
        }
        var padding = 0
        while padding < 2, text[range.upperBound - 1 - padding] == UInt8(ascii: "=") { padding += 1 }
        guard range.count / 4 * 3 - padding <= bytes.count else {
            throw .outOfRange(field: "length of the key", offset: range.lowerBound)
        }
        var group: UInt32 = 0
        var count = 0
        for (position, index) in range.dropLast(padding).enumerated() {
            guard let value = value(of: text[index]) else {
                // The error does not contain the character, which is part of a secret.
                throw .malformedText(field: "base64 of the key", offset: index)
            }
            group = group << 6 | UInt32(value)
            guard position % 4 == 3 else { continue }
            for place in 0..<3 { bytes[count + place] = UInt8(truncatingIfNeeded: group >> UInt32(16 - 8 * place)) }
            count += 3
            group = 0
        }
        guard padding > 0 else { return count }
        let last = 3 - padding
        group <<= UInt32(6 * padding)
        guard group & (padding == 1 ? 0xFF : 0xFFFF) == 0 else {
            throw .malformedText(field: "base64 of the key", offset: range.upperBound - 1)
        }
        for place in 0..<last { bytes[count + place] = UInt8(truncatingIfNeeded: group >> UInt32(16 - 8 * place)) }
        return count + last
    }

    private static func letter(_ value: UInt8) -> UInt8 {
        switch value {
        case ..<26: UInt8(ascii: "A") + value
        case ..<52: UInt8(ascii: "a") + value - 26
        case ..<62: UInt8(ascii: "0") + value - 52
        case 62: UInt8(ascii: "+")
        default: UInt8(ascii: "/")
        }
    }

    private static func value(of letter: UInt8) -> UInt8? {
        switch letter {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): letter - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): letter - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): letter - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
