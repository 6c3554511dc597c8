import Testing

@testable import Settings

@Suite("NVMe TLS keys in interchange form")
struct NVMeInterchangeKeyTests {
    private static let key = (0..<32).map { UInt8($0) }
    /// The same key by Python: base64 of the key and of zlib.crc32 in four bytes, lowest first.
    private static let text = "NVMeTLSkey-1:01:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:"

    private static func decode(
        _ bytes: [UInt8], room: Int = 48
    ) throws(NVMeKeyProblem) -> (decoded: NVMeInterchangeKey.Decoded, buffer: [UInt8]) {
        var buffer = [UInt8](repeating: 0xFF, count: room)
        var span = buffer.mutableSpan
        let decoded = try NVMeInterchangeKey.decode(bytes.span, into: &span)
        return (decoded, buffer)
    }

    private static func encode(_ key: [UInt8], _ transform: NVMeInterchangeKey.Transform) throws(NVMeKeyProblem)
        -> String
    {
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
        #expect(buffer == Self.key + [UInt8](repeating: 0, count: 16))
        #expect(try NVMeInterchangeKey.check(Array(Self.text.utf8).span) == decoded)
    }

    @Test("what is written is what is read", arguments: NVMeInterchangeKey.keyLengths)
    func roundTrip(length: Int) throws {
        let key = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 200) }
        for transform in NVMeInterchangeKey.Transform.allCases {
            let text = try Self.encode(key, transform)
            #expect(text.hasSuffix(":"))
            let fits = transform == .none || (transform == .sha256) == (length == 32)
            guard fits else {
                #expect(throws: NVMeKeyProblem.self) { try Self.decode(Array(text.utf8)) }
                continue
            }
            let (decoded, buffer) = try Self.decode(Array(text.utf8))
            #expect(decoded.transform == transform)
            #expect(Array(buffer.prefix(decoded.length)) == key)
            #expect(decoded.length == length)
        }
        #expect(try Self.encode(Self.key, .sha256) == Self.text)
    }

    @Test("it is refused when cut off anywhere, and the buffer holds nothing then")
    func truncated() {
        let bytes = Array(Self.text.utf8)
        for length in 0..<bytes.count {
            var buffer = [UInt8](repeating: 0xFF, count: 48)
            var span = buffer.mutableSpan
            #expect(throws: NVMeKeyProblem.self, "\(length) bytes") {
                try NVMeInterchangeKey.decode(bytes.span.extracting(first: length), into: &span)
            }
            #expect(buffer.allSatisfy { $0 == 0 }, "\(length) bytes")
        }
    }

    @Test("no flipped bit passes, but the one that says another use of the same key")
    func flipped() {
        let bytes = Array(Self.text.utf8)
        for index in bytes.indices {
            for bit in 0..<8 {
                var flipped = bytes
                flipped[index] ^= 1 << bit
                guard let (decoded, buffer) = try? Self.decode(flipped) else { continue }
                #expect(index == 14 && decoded.transform == .none, "bit \(bit) of byte \(index)")
                #expect(Array(buffer.prefix(32)) == Self.key)
            }
        }
    }

    @Test(
        "what is wrong is named",
        arguments: [
            ("", NVMeKeyProblem.empty),
            ("nvmetlskey-1:01:", .otherText),
            ("NVMeTLSkey-2:01:", .otherText),
            (text.replacing("-1:", with: "-0:"), .versionZero),
            ("NVMeTLS", .cutShort),
            ("NVMeTLSkey-1:0", .cutShort),
            ("NVMeTLSkey-1:01:", .cutShort),
            ("NVMeTLSkey-1:03:AAAA:", .hash),
            ("NVMeTLSkey-1:01:AAAA", .cutShort),
            (text + "A", .trailing), (text + "\n" + text, .trailing), (text + ":", .trailing),
            ("NVMeTLSkey-1:01:AA!A:", .length),
            (text.replacing("AAEC", with: "AA!C"), .character),
            (text.replacing(":01:", with: ":02:"), .lengthForHash),
            (text.replacing("AAEC", with: "AAED"), .checksum),
        ])
    func broken(text: String, problem: NVMeKeyProblem) {
        #expect(throws: problem) { try Self.decode(Array(text.utf8)) }
        #expect(throws: problem) { try NVMeInterchangeKey.check(Array(text.utf8).span) }
    }

    @Test("each problem has a remedy, on one line", arguments: NVMeKeyProblem.allCases)
    func texts(problem: NVMeKeyProblem) {
        #expect(problem.description.contains("; remedy: ") && !problem.description.contains("\n"))
    }

    @Test("a buffer that is too small is not overrun")
    func small() {
        #expect(throws: NVMeKeyProblem.length) { try Self.decode(Array(Self.text.utf8), room: 31) }
        #expect(throws: NVMeKeyProblem.length) { try Self.encode([1, 2, 3], .none) }
    }
}
