internal import Handshake
package import Wire

/// Result of KEYCTL_DESCRIBE: `type;uid;gid;permissions;description` (security/keys/keyctl.c, keyctl_describe_key).
///
/// The description is everything after the fourth semicolon and may contain semicolons.
package struct KeyDescription: Sendable, Equatable {
    /// Such as `psk`, `user`, `keyring`.
    package var type: String
    package var user: Int32
    package var group: Int32
    /// Permission mask as keyctl(1) prints it, possessor's byte first.
    package var permissions: UInt32
    /// Never empty for the key types in use; the TLS identity of a `psk`.
    package var description: [UInt8]

    package init(type: String, user: Int32, group: Int32, permissions: UInt32, description: [UInt8]) {
        self.type = type
        self.user = user
        self.group = group
        self.permissions = permissions
        self.description = description
    }

    /// Parses the whole span, which does not include the final NUL.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var start = 0
        type = try Self.text(Self.field("key type", from: &start, in: bytes), "key type", in: bytes)
        user = try Self.decimal(Self.field("key owner", from: &start, in: bytes), "key owner", in: bytes)
        group = try Self.decimal(Self.field("key group", from: &start, in: bytes), "key group", in: bytes)
        permissions = try Self.hexadecimal(Self.field("key permissions", from: &start, in: bytes), in: bytes)
        description = (start..<bytes.count).map { bytes[$0] }
        guard !description.contains(0) else { throw .malformedText(field: "key description", offset: start) }
    }

    /// The field from `start` to the next semicolon. Moves `start` past the semicolon.
    private static func field(
        _ name: String, from start: inout Int, in bytes: Span<UInt8>
    ) throws(WireError) -> Range<Int> {
        guard let end = (start..<bytes.count).first(where: { bytes[$0] == UInt8(ascii: ";") }) else {
            throw .truncated(field: name, offset: bytes.count)
        }
        defer { start = end + 1 }
        return start..<end
    }

    private static func text(_ range: Range<Int>, _ name: String, in bytes: Span<UInt8>) throws(WireError) -> String {
        let raw = range.map { bytes[$0] }
        guard !raw.isEmpty, raw.allSatisfy({ $0 > 0x20 && $0 < 0x7f }),
            let text = String(validating: raw, as: UTF8.self)
        else { throw .malformedText(field: name, offset: range.lowerBound) }
        return text
    }

    private static func decimal(_ range: Range<Int>, _ name: String, in bytes: Span<UInt8>) throws(WireError) -> Int32 {
        let digits = try text(range, name, in: bytes)
        guard let value = Int32(digits), String(value) == digits else {
            throw .outOfRange(field: name, offset: range.lowerBound)
        }
        return value
    }

    private static func hexadecimal(_ range: Range<Int>, in bytes: Span<UInt8>) throws(WireError) -> UInt32 {
        let name = "key permissions"
        let digits = try text(range, name, in: bytes)
        let isLowerCase = digits.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        guard isLowerCase, let value = UInt32(digits, radix: 16) else {
            throw .outOfRange(field: name, offset: range.lowerBound)
        }
        return value
    }
}
