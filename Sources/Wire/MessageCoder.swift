internal import Handshake

/// Writes or reads the fields of a message, in their order.
///
/// A message lists its fields once, in `code`, which serves both directions: each call writes the field's value, or
/// reads into it. Integers are big-endian. The coder holds no bytes: each call is given the whole message. It never
/// sees a secret: writing leaves room for it, reading says where it is. After an error the message is of no use.
package struct MessageCoder: Sendable {
    /// True if fields are read.
    package let isReading: Bool
    /// Bytes written or read so far; the offset that errors name.
    package private(set) var offset = 0
    /// Length of the message that is read, or of the room for the one that is written.
    private let end: Int
    /// Name of the message, for errors.
    private let message: String

    private init(_ message: String, _ end: Int, isReading: Bool) {
        self.message = message
        self.end = end
        self.isReading = isReading
    }

    /// Writes a message of at most `limit` bytes.
    static func writing(_ message: String, limit: Int) -> MessageCoder {
        MessageCoder(message, limit, isReading: false)
    }

    /// Reads a message of `length` bytes.
    static func reading(_ message: String, length: Int) -> MessageCoder {
        MessageCoder(message, length, isReading: true)
    }

    /// Checks that a message that is read ends here.
    func finish() throws(WireError) {
        guard !isReading || offset == end else { throw .trailingBytes(message: message, offset: offset) }
    }

    /// Checks a value that was read. What is written is not checked: the reader does.
    package func require(_ isValid: Bool, _ error: @autoclosure () -> WireError) throws(WireError) {
        guard !isReading || isValid else { throw error() }
    }

    // MARK: Fields

    /// An integer, as wide as its type. Negative numbers are in two's complement.
    package mutating func integer<Value: FixedWidthInteger>(
        _ field: String, _ value: inout Value, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        let range = try take(Value.bitWidth / 8, field)
        if isReading {
            value = 0
            for index in range { value = value << 8 | Value(truncatingIfNeeded: bytes[index]) }
        } else {
            for index in range {
                bytes[index] = UInt8(truncatingIfNeeded: value >> (8 * (range.upperBound - 1 - index)))
            }
        }
    }

    /// One byte, 0 or 1.
    package mutating func flag(
        _ field: String, _ value: inout Bool, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        let start = offset
        var raw: UInt8 = value ? 1 : 0
        try integer(field, &raw, in: &bytes)
        guard raw <= 1 else { throw .unknownValue(field: field, value: UInt64(raw), offset: start) }
        value = raw == 1
    }

    /// The raw value of an enumeration, as wide as its type.
    package mutating func choice<Value: RawRepresentable>(
        _ field: String, _ value: inout Value, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) where Value.RawValue: FixedWidthInteger & UnsignedInteger {
        let start = offset
        var raw = value.rawValue
        try integer(field, &raw, in: &bytes)
        guard let known = Value(rawValue: raw) else {
            throw .unknownValue(field: field, value: UInt64(raw), offset: start)
        }
        value = known
    }

    /// At most `limit` bytes, after their number in 16 bits. Not for secrets.
    package mutating func bytes(
        _ field: String, _ value: inout [UInt8], limit: Int, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        let range = try counted(field, value.count, limit: limit, in: &bytes)
        if isReading {
            value = range.map { bytes[$0] }
        } else {
            for (index, byte) in zip(range, value) { bytes[index] = byte }
        }
    }

    /// UTF-8 text without NUL of at most `limit` bytes, after their number in 16 bits.
    package mutating func text(
        _ field: String, _ value: inout String, limit: Int, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        let start = offset
        var encoded = isReading ? [] : Array(value.utf8)
        try self.bytes(field, &encoded, limit: limit, in: &bytes)
        guard isReading else { return }
        guard !encoded.contains(0), let text = String(validating: encoded, as: UTF8.self) else {
            throw .malformedText(field: field, offset: start)
        }
        value = text
    }

    /// The same for a text that may be absent: it is empty then.
    package mutating func text(
        _ field: String, _ value: inout String?, limit: Int, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        var text = value ?? ""
        try self.text(field, &text, limit: limit, in: &bytes)
        value = text.isEmpty ? nil : text
    }

    /// The place of a secret of at most `limit` bytes, after their number in 16 bits. Writing leaves room for as many
    /// bytes as the range has, and sets it to their place, to which the caller copies them.
    package mutating func secret(
        _ field: String, _ place: inout SecretRange, limit: Int, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        place = SecretRange(try counted(field, place.count, limit: limit, in: &bytes))
    }

    // MARK: Several

    /// Fields that may be absent, after a byte that is 1 if they are present, 0 if not.
    ///
    /// - Parameter blank: what they are read into.
    package mutating func optional<Value>(
        _ field: String, _ value: inout Value?, blank: Value, in bytes: inout MutableSpan<UInt8>,
        _ code: (inout MessageCoder, inout Value, inout MutableSpan<UInt8>) throws(WireError) -> Void
    ) throws(WireError) {
        var isPresent = value != nil
        try flag(field, &isPresent, in: &bytes)
        guard isPresent else { return value = nil }
        var present = value ?? blank
        try code(&self, &present, &bytes)
        value = present
    }

    /// At most `limit` elements, after their number, which is as wide as `Count`.
    ///
    /// - Parameters:
    ///   - blank: what each is read into.
    ///   - code: lists the fields of an element.
    package mutating func list<Element, Count: FixedWidthInteger & UnsignedInteger>(
        _ field: String, _ elements: inout [Element], limit: Int, counted: Count.Type = UInt8.self, blank: Element,
        in bytes: inout MutableSpan<UInt8>,
        _ code: (inout MessageCoder, inout Element, inout MutableSpan<UInt8>) throws(WireError) -> Void
    ) throws(WireError) {
        let start = offset
        guard isReading || elements.count <= limit else { throw .outOfRange(field: field, offset: start) }
        var count = Count(clamping: elements.count)
        try integer(field, &count, in: &bytes)
        guard Int(count) <= limit else { throw .outOfRange(field: field, offset: start) }
        guard isReading else {
            for index in elements.indices { try code(&self, &elements[index], &bytes) }
            return
        }
        elements = []
        for _ in 0..<count {
            var element = blank
            try code(&self, &element, &bytes)
            elements.append(element)
        }
    }

    /// At most `limit` texts, each of at most `each` bytes.
    package mutating func texts(
        _ field: String, _ name: String, _ values: inout [String], limit: Int, each: Int,
        in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        try list(field, &values, limit: limit, blank: "", in: &bytes) { (coder, text, bytes) throws(WireError) in
            try coder.text(name, &text, limit: each, in: &bytes)
        }
    }

    // MARK: Places

    /// A number of bytes in 16 bits, and the place of as many bytes.
    private mutating func counted(
        _ field: String, _ count: Int, limit: Int, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) -> Range<Int> {
        let start = offset
        guard isReading || count <= limit else { throw .outOfRange(field: field, offset: start) }
        var length = UInt16(clamping: count)
        try integer(field, &length, in: &bytes)
        guard Int(length) <= limit else { throw .outOfRange(field: field, offset: start) }
        return try take(Int(length), field)
    }

    /// The place of the next `count` bytes.
    private mutating func take(_ count: Int, _ field: String) throws(WireError) -> Range<Int> {
        guard count <= end - offset else {
            throw isReading ? .truncated(field: field, offset: offset) : .doesNotFit(message: message, size: end)
        }
        defer { offset += count }
        return offset..<(offset + count)
    }
}

/// Fields that stand in messages, listed once for both directions.
package protocol MessageFields {
    /// Writes or reads the fields. Reading replaces all of them.
    mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError)
}

/// Sizes that the messages between broker and worker keep to, in bytes unless said otherwise.
package enum MessageLimit {
    /// One message; below the kernel's default send buffer for unix sockets (net.core.wmem_default, 212,992).
    package static let message = 131_072
    /// A message of a few numbers.
    package static let short = 64
    /// Descriptors that one message may carry: trust store, revocation lists, and two for each pair of certificate and
    /// key.
    package static let descriptors = 2 + 2 * (2 + pairs)
    /// Pairs with a name, besides the one without and the post-quantum one.
    package static let pairs = 6
    /// A peer name: the longest DNS name, or an address with a zone.
    package static let peerName = 255
    /// A GnuTLS priority string.
    package static let priorities = 1024
    /// A PSK identity: `NVMe`, two NQNs of 223 bytes, a digest of 64, and blanks, with room.
    package static let identity = 1024
    package static let preSharedKey = 256
    /// A question for a PSK, or its answer.
    package static let keyMessage = 2048
    /// Number of PSKs; the kernel's limit (include/net/handshake.h, ta_my_peerids).
    package static let preSharedKeys = 5
    /// Number of connections whose secrets a worker keeps for key updates.
    package static let keptSessions = 1024
    /// Number of identities that a worker may look up for one handshake.
    package static let lookups = 1
    /// Number of identities that a worker may look up in its life. It gets no new handshakes long before.
    package static let identities = 1024
    package static let certificate = 65_535
    package static let privateKey = 32_768
    /// A question to the signer; a longer one is refused before it is read.
    package static let signingQuestion = 128
    /// An answer of the signer.
    package static let signingAnswer = 8192
    /// A signature; those of ML-DSA-87 have 4,627 bytes.
    package static let signature = 5120
    /// A SubjectPublicKeyInfo; those of RSA with 16,384 bits have 2,102 bytes.
    package static let publicKey = 5120
    /// Keys and certificates that the signer opens for one role: several pairs of two.
    package static let signerParts = 40
    /// A pattern of a rule.
    static let rule = PeerRules.longestText
    /// A key-exchange group or cipher suite by name.
    static let name = 64
    /// A path or URL.
    package static let path = 4096
    /// Any text that is meant for a log line.
    package static let text = 1024
}

/// Text for messages.
package enum MessageText {
    /// At most as long as a message allows, and without control characters, which strangers' names may hold.
    package static func fit(_ text: String) -> String {
        var result = ""
        var count = 0
        for scalar in text.unicodeScalars {
            let shown = scalar.properties.generalCategory == .control ? "?" : scalar
            count += UTF8.width(shown)
            if count > MessageLimit.text { break }
            result.unicodeScalars.append(shown)
        }
        return result
    }
}
