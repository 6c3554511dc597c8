/// A ClientHello, field by field, with whatever is wrong with it (RFC 8446 §4.1.2).
struct HelloBytes: Sendable {
    var recordVersion: UInt16 = 0x0303
    var legacyVersion: UInt16 = 0x0303
    var session: [UInt8] = []
    var suites: [UInt8] = [0x13, 0x01]
    var compression: [UInt8] = [0]
    var extensions: [Extension]
    /// Bytes behind the extensions, inside the message.
    var behind: [UInt8] = []
    /// By how much the length in the handshake header is too long or too short.
    var lengthError = 0

    struct Extension: Sendable {
        var type: UInt16
        var body: [UInt8]
    }

    static let serverName: UInt16 = 0
    static let groups: UInt16 = 10
    static let signatures: UInt16 = 13
    static let protocols: UInt16 = 16
    static let recordSize: UInt16 = 28
    static let preSharedKey: UInt16 = 41
    static let versions: UInt16 = 43
    static let modes: UInt16 = 45
    static let keyShare: UInt16 = 51

    /// The generator of P-256, a point as good as any (FIPS 186-4 D.1.2.3).
    static let point: [UInt8] = [
        0x04, 0x6B, 0x17, 0xD1, 0xF2, 0xE1, 0x2C, 0x42, 0x47, 0xF8, 0xBC, 0xE6, 0xE5, 0x63, 0xA4, 0x40, 0xF2, 0x77,
        0x03, 0x7D, 0x81, 0x2D, 0xEB, 0x33, 0xA0, 0xF4, 0xA1, 0x39, 0x45, 0xD8, 0x98, 0xC2, 0x96, 0x4F, 0xE3, 0x42,
        0xE2, 0xFE, 0x1A, 0x7F, 0x9B, 0x8E, 0xE7, 0xEB, 0x4A, 0x7C, 0x0F, 0x9E, 0x16, 0x2B, 0xCE, 0x33, 0x57, 0x6B,
        0x31, 0x5E, 0xCE, 0xCB, 0xB6, 0x40, 0x68, 0x37, 0xBF, 0x51, 0xF5,
    ]

    /// What every server of TLS 1.3 with a P-256 certificate answers.
    init(_ change: (inout HelloBytes) -> Void = { _ in }) {
        extensions = [
            Extension(type: Self.versions, body: [2, 3, 4]),
            Extension(type: Self.groups, body: [0, 2, 0, 23]),
            Extension(type: Self.signatures, body: [0, 4, 4, 3, 8, 4]),
            Extension(type: Self.keyShare, body: Self.share(23, Self.point)),
        ]
        change(&self)
    }

    /// With a PSK in place of certificates; its binder is wrong.
    static func preSharedKey(
        _ identity: String, age: UInt32 = 0, binder: Int = 32, _ change: (inout HelloBytes) -> Void = { _ in }
    ) -> HelloBytes {
        HelloBytes {
            $0.add(Self.modes, [1, 1])
            let name = vector16(Array(identity.utf8))
            let entry = name + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: age >> UInt32($0)) }
            $0.add(Self.preSharedKey, vector16(entry) + vector16([UInt8(binder)] + Array(repeating: 7, count: binder)))
            change(&$0)
        }
    }

    /// The body of key_share.
    static func share(_ group: UInt16, _ key: [UInt8], _ count: Int = 1) -> [UInt8] {
        vector16(Array(repeatElement(bytes16(Int(group)) + vector16(key), count: count).joined()))
    }

    mutating func set(_ type: UInt16, _ body: [UInt8]) {
        for index in extensions.indices where extensions[index].type == type { extensions[index].body = body }
    }

    mutating func add(_ type: UInt16, _ body: [UInt8]) { extensions.append(Extension(type: type, body: body)) }

    mutating func remove(_ type: UInt16) { extensions.removeAll { $0.type == type } }

    /// The handshake message.
    var message: [UInt8] {
        var body = bytes16(Int(legacyVersion)) + [UInt8](repeating: 0x5A, count: 32)
        body += [UInt8(session.count)] + session + vector16(suites) + [UInt8(compression.count)] + compression
        body += vector16(extensions.flatMap { bytes16(Int($0.type)) + vector16($0.body) }) + behind
        return [1, 0] + bytes16(body.count + lengthError) + body
    }

    /// The record that holds it.
    var record: [UInt8] { Self.record(22, message, version: recordVersion) }

    static func record(_ type: UInt8, _ body: [UInt8], version: UInt16 = 0x0303) -> [UInt8] {
        [type] + bytes16(Int(version)) + vector16(body)
    }
}

func bytes16(_ number: Int) -> [UInt8] { [UInt8(number >> 8 & 0xFF), UInt8(number & 0xFF)] }

/// Bytes with their number before them.
func vector16(_ bytes: [UInt8]) -> [UInt8] { bytes16(bytes.count) + bytes }
