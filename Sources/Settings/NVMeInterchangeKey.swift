/// An NVMe TLS key in interchange format: `NVMeTLSkey-1:HH:BASE64:`. HH is the hash with which a host derives its own
/// key, or `00` for none. The base64 text contains the key followed by its CRC-32 in little-endian order (NVMe TCP
/// Transport Specification, "PSK Interchange Format").
///
/// nvme-cli writes TLS PSKs in the same format, after their identities, in the files of `nvme keys export`; there is
/// nothing to derive from these.
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
    }

    /// Parses a text without surrounding white space.
    ///
    /// - Parameter key: at least 48 bytes, or as many as the key has; receives the key at its start. Contains zeros if
    ///   this throws.
    @_lifetime(key: copy key)
    package static func decode(
        _ text: Span<UInt8>, into key: inout MutableSpan<UInt8>
    ) throws(NVMeKeyProblem) -> Decoded {
        for index in key.indices { key[index] = 0 }
        do throws(NVMeKeyProblem) {
            return try read(text) { index, byte in
                guard index < key.count else { return false }
                key[index] = byte
                return true
            }
        } catch {
            for index in key.indices { key[index] = 0 }
            throw error
        }
    }

    /// Checks a text without surrounding white space, and keeps nothing of the key.
    package static func check(_ text: Span<UInt8>) throws(NVMeKeyProblem) -> Decoded {
        try read(text) { _, _ in true }
    }

    /// Writes the text of a key of 32 or 48 bytes.
    ///
    /// - Parameter text: at least `textLimit` bytes.
    /// - Returns: The length of the text.
    @_lifetime(text: copy text)
    package static func encode(
        _ key: Span<UInt8>, transform: Transform, into text: inout MutableSpan<UInt8>
    ) throws(NVMeKeyProblem) -> Int {
        guard keyLengths.contains(key.count), text.count >= textLimit else { throw .length }
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
                put(isPadding ? Byte.equals : letter(UInt8(group >> UInt32(18 - 6 * place) & 63)))
            }
        }
        put(Byte.colon)
        return count
    }

    /// CRC-32 as of IEEE 802.3, reflected, as zlib and Ethernet compute it.
    package static func crc32(_ bytes: Span<UInt8>) -> UInt32 {
        var crc = UInt32.max
        for index in bytes.indices { add(bytes[index], to: &crc) }
        return ~crc
    }

    /// Bit by bit: it is called for few bytes, and a table would be indexed by secret values.
    private static func add(_ byte: UInt8, to crc: inout UInt32) {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc >> 1 ^ (0xEDB8_8320 & (0 &- (crc & 1))) }
    }

    /// Parses a text, whose base64 must be canonical (RFC 4648 §3.5), and verifies the CRC after the key.
    ///
    /// - Parameter put: takes each byte of the key with its index; `false` if there is no room for it.
    private static func read(
        _ text: Span<UInt8>, put: (Int, UInt8) -> Bool
    ) throws(NVMeKeyProblem) -> Decoded {
        let (decoded, base64) = try parts(of: text)
        var pending: UInt32 = 0
        var bits: UInt32 = 0
        var count = 0
        var crc = UInt32.max
        var found: UInt32 = 0
        for index in base64 {
            guard let value = value(of: text[index]) else { throw .character }
            pending = pending << 6 | UInt32(value)
            bits += 6
            guard bits >= 8 else { continue }
            bits -= 8
            let byte = UInt8(truncatingIfNeeded: pending >> bits)
            pending &= 1 << bits - 1
            if count < decoded.length {
                guard put(count, byte) else { throw .length }
                add(byte, to: &crc)
            } else {
                found |= UInt32(byte) << UInt32(8 * (count - decoded.length))
            }
            count += 1
        }
        guard pending == 0 else { throw .character }
        guard found == ~crc else { throw .checksum }
        return decoded
    }

    private static func parts(
        of text: Span<UInt8>
    ) throws(NVMeKeyProblem) -> (decoded: Decoded, base64: Range<Int>) {
        guard !text.isEmpty else { throw .empty }
        for (index, letter) in start.utf8.enumerated() {
            guard index < text.count else { throw .cutShort }
            // nvme-cli up to 3.0 writes the version of the identity here.
            if index == start.utf8.count - 2, text[index] == UInt8(ascii: "0") { throw .versionZero }
            guard text[index] == letter else { throw .otherText }
        }
        let body = start.utf8.count
        guard text.count >= body + 3 else { throw .cutShort }
        guard text[body] == UInt8(ascii: "0"),
            let transform = Transform(rawValue: text[body + 1] &- UInt8(ascii: "0")), text[body + 2] == Byte.colon
        else { throw .hash }
        let base64 = body + 3..<max(body + 3, text.count - 1)
        for index in base64 where text[index] == Byte.colon { throw .trailing }
        guard text[text.count - 1] == Byte.colon, base64.count.isMultiple(of: 4), !base64.isEmpty else {
            throw .cutShort
        }
        var padding = 0
        while padding < 2, text[base64.upperBound - 1 - padding] == Byte.equals { padding += 1 }
        let length = base64.count / 4 * 3 - padding - 4
        guard keyLengths.contains(length) else { throw .length }
        let fits = transform == .none || (transform == .sha256) == (length == 32)
        guard fits else { throw .lengthForHash }
        return (Decoded(transform: transform, length: length), base64.dropLast(padding))
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

/// A text is not an NVMe TLS key in interchange format. No case contains a character of the text.
package enum NVMeKeyProblem: Error, Equatable, Sendable, CaseIterable {
    case empty
    case otherText
    case versionZero
    case hash
    case cutShort
    case trailing
    case character
    case length
    case lengthForHash
    case checksum

    package var what: String {
        switch self {
        case .empty: "there is no text"
        case .otherText: "the text does not begin with NVMeTLSkey-1:"
        case .versionZero:
            "the key begins with NVMeTLSkey-0:, as nvme-cli writes by mistake for identities of version 0"
        case .hash: "the number after NVMeTLSkey-1: is not 00, 01 or 02"
        case .cutShort: "the key is cut short"
        case .trailing: "text follows the key's last colon"
        case .character: "the key contains a character that it cannot have"
        case .length: "the key has neither 32 nor 48 bytes"
        case .lengthForHash: "the key has not the length that its hash requires: 32 bytes for 01, 48 for 02"
        case .checksum: "the checksum of the key does not match, so that at least one character is wrong"
        }
    }

    package var remedy: String {
        switch self {
        case .empty, .otherText: "give the line that tlshctl keys gen-tls or nvme-cli has printed, NVMeTLSkey-1:...:"
        case .versionZero: "write NVMeTLSkey-1:"
        case .trailing: "give one key, and nothing after it"
        case .hash, .cutShort, .character, .length, .lengthForHash, .checksum:
            "copy the whole key again, from NVMeTLSkey-1: to its last colon"
        }
    }

    /// Problem and remedy.
    package var description: String { "\(what); remedy: \(remedy)" }
}
