import InspectWire
import TLSWire
import Testing
import Wire

@Suite("NVMe TLS keys in interchange form")
struct NVMeInterchangeKeyTests {
    private static let key = (0..<32).map { UInt8($0) }
    /// The same key by Python: base64 of the key and of zlib.crc32 in four bytes, lowest first.
    private static let text = "NVMeTLSkey-1:01:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:"

    private static func decode(
        _ bytes: [UInt8], room: Int = 52
    ) throws(WireError) -> (decoded: NVMeInterchangeKey.Decoded, buffer: [UInt8]) {
        var buffer = [UInt8](repeating: 0xFF, count: room)
        var span = buffer.mutableSpan
        let decoded = try NVMeInterchangeKey.decode(bytes.span, into: &span)
        return (decoded, buffer)
    }

    private static func encode(_ key: [UInt8], _ transform: NVMeInterchangeKey.Transform) throws(WireError) -> String {
        var text = [UInt8](repeating: 0, count: NVMeInterchangeKey.textLimit)
        var span = text.mutableSpan
        let count = try NVMeInterchangeKey.encode(key.span, transform: transform, into: &span)
        return String(decoding: text.prefix(count), as: UTF8.self)
    }

    @Test("CRC-32 is the usual one")
    func crc() {
        #expect(NVMeInterchangeKey.crc32(Array("123456789".utf8).span) == 0xCBF4_3926)
    }

    @Test("a key is read, and nothing of its check sum is left behind it")
    func decode() throws {
        let (decoded, buffer) = try Self.decode(Array(Self.text.utf8))
        #expect(decoded.transform == .sha256)
        #expect(decoded.length == 32)
        #expect(decoded.hash == .sha256)
        #expect(buffer == Self.key + [UInt8](repeating: 0, count: 20))
    }

    @Test("what is written is what is read", arguments: NVMeInterchangeKey.keyLengths)
    func roundTrip(length: Int) throws {
        let key = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 200) }
        for transform in NVMeInterchangeKey.Transform.allCases {
            let text = try Self.encode(key, transform)
            #expect(text.hasSuffix(":"))
            let fits = transform == .none || (transform == .sha256) == (length == 32)
            guard fits else {
                #expect(throws: WireError.self) { try Self.decode(Array(text.utf8)) }
                continue
            }
            let (decoded, buffer) = try Self.decode(Array(text.utf8))
            #expect(decoded.transform == transform)
            #expect(Array(buffer.prefix(decoded.length)) == key)
            #expect(decoded.hash.keyLength == length)
        }
        #expect(try Self.encode(Self.key, .sha256) == Self.text)
    }

    @Test("it is refused when cut off anywhere, and the buffer holds nothing then")
    func truncated() {
        let bytes = Array(Self.text.utf8)
        for length in 0..<bytes.count {
            var buffer = [UInt8](repeating: 0xFF, count: 52)
            var span = buffer.mutableSpan
            #expect(throws: WireError.self, "\(length) bytes") {
                try NVMeInterchangeKey.decode(bytes.span.extracting(first: length), into: &span)
            }
            #expect(buffer.allSatisfy { $0 == 0 }, "\(length) bytes")
        }
    }

    @Test("no flipped bit passes, but the one that says another use of the same key")
    func flipped() {
        for flip in bitFlips(of: Array(Self.text.utf8)) {
            guard let (decoded, buffer) = try? Self.decode(flip.bytes) else { continue }
            #expect(flip.index == 14 && decoded.transform == .none, "bit \(flip.bit) of byte \(flip.index)")
            #expect(Array(buffer.prefix(32)) == Self.key)
        }
    }

    @Test(
        "what is wrong is named, and no letter of the key is",
        arguments: [
            ("nvmetlskey-1:01:", WireError.unknownValue(field: "start of the key", value: 0x6E, offset: 0)),
            ("NVMeTLSkey-1:03:AAAA:", .unknownValue(field: "hash of the key", value: 3, offset: 13)),
            ("NVMeTLSkey-1:01:AAAA", .missing(field: "colon at the key's end")),
            ("NVMeTLSkey-1:01:AA!A:", .malformedText(field: "base64 of the key", offset: 18)),
            ("NVMeTLSkey-1:01:AAAAAAA=:", .outOfRange(field: "length of the key", offset: 16)),
            (text.replacing("AAEC", with: "AAED"), .outOfRange(field: "check sum of the key", offset: 32)),
        ])
    func broken(text: String, error: WireError) {
        #expect(throws: error) { try Self.decode(Array(text.utf8)) }
    }

    @Test("a buffer that is too small is not overrun")
    func small() {
        #expect(throws: WireError.outOfRange(field: "length of the key", offset: 16)) {
            try Self.decode(Array(Self.text.utf8), room: 35)
        }
        #expect(throws: WireError.outOfRange(field: "length of the key", offset: 0)) {
            try Self.encode([1, 2, 3], .none)
        }
    }
}
