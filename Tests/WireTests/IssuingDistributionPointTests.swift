import TLSWire
import Testing

@Suite("A revocation list's scope")
struct IssuingDistributionPointTests {
    /// A place with one URI, `http://a`.
    private static let place = "a00c a00a 8608 687474703a2f2f61"

    private static func read(_ bytes: [UInt8]) -> IssuingDistributionPoint? {
        IssuingDistributionPoint(der: bytes.span)
    }

    @Test(
        "what limits it is said",
        arguments: [
            ("3003 8101ff", "it covers only certificates of users"),
            ("3003 8201ff", "it covers only certificates of authorities"),
            ("3004 83020780", "it covers only some reasons"), ("3003 8401ff", "it is an indirect list"),
            ("3003 8501ff", "it covers only attribute certificates"),
            ("3006 8201ff 8401ff", "it covers only certificates of authorities"),
            ("3004 a002 a100", "it is for a distribution point without a URI"),
            ("3011 \(place) 8201ff", "it covers only certificates of authorities"), ("3003 820100", nil), ("3000", nil),
        ] as [(String, String?)])
    func limits(_ text: String, _ problem: String?) throws {
        #expect(try #require(Self.read(hex(text))).problem == problem)
    }

    @Test("a place is read")
    func locations() throws {
        let read = try #require(Self.read(hex("300e \(Self.place)")))
        #expect(read.problem == nil && read.locations == [Array("http://a".utf8)])
    }

    @Test("what is cut off anywhere is none, and no flipped bit is more than another one or none")
    func damaged() {
        let sample = hex("3011 \(Self.place) 8201ff")
        for length in sample.indices {
            #expect(Self.read(Array(sample.prefix(length))) == nil, "\(length) bytes")
        }
        #expect(Self.read(sample + [0]) == nil)
        for (index, bit, bytes) in bitFlips(of: sample) {
            let read = Self.read(bytes)
            #expect(read?.locations.allSatisfy { $0.count <= 8 } ?? true, "byte \(index), bit \(bit)")
        }
    }

    @Test(
        "what is something else is none",
        arguments: ["", "30", "3001", "3003 8102ffff", "3002 8100", "3002 0500", "3180"])
    func other(_ text: String) {
        #expect(Self.read(hex(text)) == nil)
    }
}
