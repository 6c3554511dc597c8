import KernelWire
import TLSWire
import Testing
import Wire

@Suite("Key descriptions")
struct KeyDescriptionTests {
    private static let sample = Array("psk;0;-1;3f1f0000;NVMe1R01 nqn.h;x nqn.s;".utf8)

    @Test("the description is all behind the fourth semicolon")
    func parse() throws {
        let parsed = try KeyDescription(from: Self.sample.span)
        #expect(
            parsed
                == KeyDescription(
                    type: "psk", user: 0, group: -1, permissions: 0x3f1f_0000,
                    description: Array("NVMe1R01 nqn.h;x nqn.s;".utf8)))
        #expect(try KeyDescription(from: Array("user;0;0;0;".utf8).span).description.isEmpty)
    }

    @Test("it is refused when cut off before the fourth semicolon")
    func truncated() throws {
        let head = "psk;0;-1;3f1f0000;".utf8.count
        for length in 0..<head {
            #expect(throws: WireError.self, "\(length) bytes") {
                try KeyDescription(from: Self.sample.span.extracting(first: length))
            }
        }
        for length in head..<Self.sample.count {
            let description = try KeyDescription(from: Self.sample.span.extracting(first: length)).description
            #expect(description == Array(Self.sample[head..<length]))
        }
    }

    @Test("a flipped bit never passes unnoticed")
    func flipped() throws {
        let whole = try KeyDescription(from: Self.sample.span)
        for flip in bitFlips(of: Self.sample) {
            guard let other = try? KeyDescription(from: flip.bytes.span) else { continue }
            #expect(other != whole, "bit \(flip.bit) of byte \(flip.index)")
        }
    }

    @Test(
        "each broken field is named with its place",
        arguments: [
            (";0;0;0;d", WireError.malformedText(field: "key type", offset: 0)),
            ("psk;x;0;0;d", .outOfRange(field: "key owner", offset: 4)),
            ("psk;0;4294967296;0;d", .outOfRange(field: "key group", offset: 6)),
            ("psk;0;0;100000000;d", .outOfRange(field: "key permissions", offset: 8)),
            ("psk;0;0;0;a\0b", .malformedText(field: "key description", offset: 10)),
            ("psk;0;0", .truncated(field: "key group", offset: 7)),
        ])
    func broken(text: String, error: WireError) {
        #expect(throws: error) { try KeyDescription(from: Array(text.utf8).span) }
    }
}

@Suite("NVMe identities")
struct NVMeIdentityTests {
    private static let digest256 = "YzrPElk4OYy1uUERriPwiiyEJE/+J5ckYpLB+5NHMsI="
    private static let digest384 = String(repeating: "AbC/", count: 16)
    private static let sample =
        "NVMe1R01 nqn.2014-08.org.nvmexpress:uuid:1 nqn.2014-08.org.example:s YzrPElk4OYy1uUERriPwiiyEJE/+J5ckYpLB+5NHMsI="

    private static func parse(_ text: String) throws(WireError) -> NVMeIdentity {
        try NVMeIdentity(from: Array(text.utf8).span)
    }

    @Test("every combination of version, origin, hash and digest is read")
    func combinations() throws {
        for version in [0, 1] as [UInt8] {
            for (letter, origin) in [("R", NVMeIdentity.Origin.retained), ("G", .generated)] {
                for (digits, hash, digest) in [("01", PSKHash.sha256, Self.digest256), ("02", .sha384, Self.digest384)]
                {
                    let head = "NVMe\(version)\(letter)\(digits) nqn.h nqn.s"
                    var expected = NVMeIdentity(
                        version: version, origin: origin, hash: hash, hostName: "nqn.h", subsystemName: "nqn.s")
                    #expect(try Self.parse(head) == expected)
                    expected.digest = digest
                    #expect(try Self.parse("\(head) \(digest)") == expected)
                    #expect(expected.keyLength == (hash == .sha256 ? 32 : 48))
                }
            }
        }
    }

    @Test(
        "each broken part is named with its place",
        arguments: [
            ("NVMe", WireError.truncated(field: "NVMe identity", offset: 4)),
            ("NVMx1R01 h s", .unknownValue(field: "start of NVMe identity", value: 0x78, offset: 3)),
            ("NVMe2R01 h s", .unknownValue(field: "NVMe identity version", value: 0x32, offset: 4)),
            ("NVMe1X01 h s", .unknownValue(field: "NVMe PSK type", value: 0x58, offset: 5)),
            ("NVMe1R03 h s", .unknownValue(field: "NVMe PSK hash", value: 0x3033, offset: 6)),
            ("NVMe1R011 h s", .unknownValue(field: "blank before host NQN", value: 0x31, offset: 8)),
            ("NVMe1R01  s", .truncated(field: "host NQN", offset: 9)),
            ("NVMe1R01 h", .missing(field: "subsystem NQN")),
            ("NVMe1R01 h ", .truncated(field: "subsystem NQN", offset: 11)),
            ("NVMe1R01 h s ", .truncated(field: "PSK digest", offset: 13)),
            ("NVMe1R01 h s abc=", .malformedText(field: "PSK digest", offset: 13)),
            ("NVMe1R01 h s\n", .malformedText(field: "subsystem NQN", offset: 11)),
        ])
    func broken(text: String, error: WireError) {
        #expect(throws: error) { try Self.parse(text) }
    }

    @Test("a name of 223 bytes is accepted, one of 224 is not; a digest of the other hash is not")
    func limits() throws {
        let longest = String(repeating: "n", count: 223)
        #expect(try Self.parse("NVMe1R01 \(longest) \(longest)").subsystemName == longest)
        #expect(throws: WireError.outOfRange(field: "host NQN", offset: 9)) { try Self.parse("NVMe1R01 \(longest)n s") }
        #expect(throws: WireError.self) { try Self.parse("NVMe1R02 h s \(Self.digest256)") }
        #expect(throws: WireError.self) { try Self.parse("NVMe1R01 h s \(Self.digest384)") }
        #expect(throws: WireError.trailingBytes(message: "NVMe identity", offset: 57)) {
            try Self.parse("NVMe1R01 h s \(Self.digest256) x")
        }
    }

    @Test(
        "cut off it is refused, or is the identity without digest or with a shorter name; a flipped bit never passes unnoticed"
    )
    func damaged() throws {
        let bytes = Array(Self.sample.utf8)
        let whole = try Self.parse(Self.sample)
        for length in 0..<bytes.count {
            guard let other = try? NVMeIdentity(from: bytes.span.extracting(first: length)) else { continue }
            #expect(other.digest == nil && whole.subsystemName.hasPrefix(other.subsystemName), "\(length) bytes")
        }
        for flip in bitFlips(of: bytes) {
            guard let other = try? NVMeIdentity(from: flip.bytes.span) else { continue }
            #expect(other != whole, "bit \(flip.bit) of byte \(flip.index)")
        }
    }

    @Test(
        "the hash is the identity's, else that of the key's length",
        arguments: [
            ("NVMe1R01 h s", 48, PSKHash.sha256), ("NVMe0G02 h s", 32, .sha384), ("storage", 48, .sha384),
            ("storage", 32, .sha256), ("NVMe1R03 h s", 48, .sha384), ("", 16, .sha256),
        ])
    func hash(identity: String, keyLength: Int, expected: PSKHash) {
        #expect(PSKHash.of(identity: Array(identity.utf8), keyLength: keyLength) == expected)
    }
}
