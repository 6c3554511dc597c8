import Testing

@testable import Settings

private let key16 = "000102030405060708090a0b0c0d0e0f"
private let key32 = Samples.key32
private let key48 = Samples.key48

/// The key of `key32`'s length with the bytes 0 to 31, as nvme-cli writes it.
private let interchange32 = "NVMeTLSkey-1:01:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:"

private func parse(_ text: String) throws(SettingsError) -> [PSKFileEntry] {
    try PSKFile.parse(Array(text.utf8), file: "f")
}

@Suite("PSK files")
struct PSKFileTests {
    @Test("a file as psktool writes it is read in order")
    func readsSample() throws {
        let entries = try parse(Samples.pskFile)
        #expect(entries.map(\.line) == [2, 3, 5, 6])
        #expect(entries.map(\.keyLength) == [32, 48, 32, 32])
        let identities = entries.map { String(decoding: $0.identity, as: UTF8.self) }
        #expect(
            identities == [
                "NVMe0R01 nqn.2014-08.org.nvmexpress:uuid:36ebf5a9 nqn.io:sub1",
                "NVMe1R02 nqn.host nqn.sub S6ifP3aAyxqNVA2IiUBEU1fSRtcxF9Zs/+gTJA==", "nq", "backup",
            ])
        #expect(entries.allSatisfy { $0.file == "f" })
    }

    struct Accepted: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let text: String
        let identities: [String]

        init(_ testDescription: String, _ text: String, _ identities: [String]) {
            self.testDescription = testDescription
            self.text = text
            self.identities = identities
        }
    }

    static let accepted: [Accepted] = [
        .init("an empty file", "", []),
        .init("only blank lines", "\n \n\t\r\n", []),
        .init("no newline at the end", "a:\(key32)", ["a"]),
        .init("CRLF", "a:\(key32)\r\nb:\(key32)\r\n", ["a", "b"]),
        .init("blanks around the key", "a: \(key32) \t\n", ["a"]),
        .init("a byte order mark", "\u{FEFF}a:\(key32)\n", ["a"]),
        .init("comments", "# a:b\n#\n##x\n#\ttab\n  \na:\(key32)\n", ["a"]),
        .init("an identity with colons", "a:b:c:\(key32)\n", ["a:b:c"]),
        .init("an identity with a blank, a semicolon and an equals sign", "a b;c=d:\(key32)\n", ["a b;c=d"]),
        .init("an identity in hexadecimal digits", "#613A62:\(key32)\n", ["a:b"]),
        .init("an identity in hexadecimal digits with a blank at its end", "#6120:\(key32)\n", ["a "]),
        .init("identities of which one begins the other", "a:\(key32)\nab:\(key32)\n", ["a", "ab"]),
        .init("the same key twice", "a:\(key32)\nb:\(key32)\n", ["a", "b"]),
        .init("the shortest key", "a:\(key16)\n", ["a"]),
        .init("the longest key", "a:\(String(repeating: "0a", count: 256))\n", ["a"]),
        .init(
            "the longest identity", "\(String(repeating: "i", count: 4095)):\(key32)\n",
            [
                String(repeating: "i", count: 4095)
            ]),
        .init("an NVMe identity of SHA-256", "NVMe0R01 a b:\(key32)\n", ["NVMe0R01 a b"]),
        .init("an NVMe identity of SHA-384", "NVMe1G02 a b c=:\(key48)\n", ["NVMe1G02 a b c="]),
        .init("an identity that only looks like NVMe's", "NVMeof-01 a:\(key16)\n", ["NVMeof-01 a"]),
        .init("a line of nvme-cli", "NVMe0R01 a b \(interchange32)\n", ["NVMe0R01 a b"]),
        .init("a line of nvme-cli, CRLF", "NVMe1R01 a b c= \(interchange32)\r\n", ["NVMe1R01 a b c="]),
        .init("lines of both kinds", "a:\(key32)\nNVMe0R01 a b \(interchange32)", ["a", "NVMe0R01 a b"]),
        .init("a DH-HMAC-CHAP secret, which is for others", "nqn.host DHHC-1:00:AAAA:\na:\(key32)\n", ["a"]),
    ]

    @Test("what is well formed is accepted", arguments: accepted)
    func accepts(_ row: Accepted) throws {
        #expect(try parse(row.text).map { String(decoding: $0.identity, as: UTF8.self) } == row.identities)
    }

    @Test("an identity need not be UTF-8")
    func acceptsBytes() throws {
        let entries = try PSKFile.parse([0x61, 0xFF, 0x3A] + Array(key32.utf8), file: "f")
        #expect(entries.map(\.identity) == [[0x61, 0xFF]])
    }

    static let refused: [Refused<PSKFileProblem>] = [
        .init("a line without a colon", "# a\nabc\n", 2, 1, .missingColon),
        .init("a line that is only a key", "\(key32)\n", 1, 1, .missingColon),
        .init("an empty identity", ":\(key32)\n", 1, 1, .emptyIdentity),
        .init("an empty identity in hexadecimal digits", "#:\(key32)\n", 1, 1, .emptyIdentity),
        .init("a blank before an identity", " a:\(key32)\n", 1, 1, .blankAroundIdentity),
        .init("a blank behind an identity", "a :\(key32)\n", 1, 2, .blankAroundIdentity),
        .init("a comment without a blank", "#note: x\n", 1, 2, .identityNotHex),
        .init("a bad digit in an identity", "#61g2:\(key32)\n", 1, 4, .identityNotHex),
        .init("an identity of half a byte", "#613:\(key32)\n", 1, 2, .oddIdentityHex),
        .init("a NUL in an identity", "a\0b:\(key32)\n", 1, 1, .nulInIdentity),
        .init("a NUL in an identity in hexadecimal digits", "#610062:\(key32)\n", 1, 1, .nulInIdentity),
        .init("a long identity", "\(String(repeating: "i", count: 4096)):\(key32)\n", 1, 1, .identityTooLong),
        .init("the same identity again", "a:\(key32)\n\na:\(key16)\n", 3, 1, .duplicateIdentity(firstLine: 1)),
        .init("the same identity in both forms", "a:\(key32)\n#61:\(key16)\n", 2, 1, .duplicateIdentity(firstLine: 1)),
        .init("no key", "a:\n", 1, 3, .emptyKey),
        .init("a key of blanks", "a:  \n", 1, 5, .emptyKey),
        .init("a bad digit in a key", "a:00x0\n", 1, 5, .keyNotHex),
        .init("a blank in a key", "a:\(key16) \(key16)\n", 1, 35, .keyNotHex),
        .init("a comment behind a key", "a:\(key32) # note\n", 1, 67, .keyNotHex),
        .init("a NUL in a key", "a:\(key32)\0\n", 1, 67, .keyNotHex),
        .init("a key of half a byte", "a:\(key32.dropLast())\n", 1, 3, .oddKeyHex),
        .init("a short key", "a:\(key16.dropLast(2))\n", 1, 3, .keyTooShort),
        .init("a key with colons between its bytes", "a:de:ad:be:ef\n", 1, 12, .keyTooShort),
        .init("a long key", "a:\(String(repeating: "0a", count: 257))\n", 1, 3, .keyTooLong),
        .init("a base64 key", "a:3q2+7w==\n", 1, 4, .keyNotHex),
        .init(
            "an interchange key", "NVMe0R01 a b:NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:\n", 1,
            1,
            .interchangeFormat),
        .init("an interchange key without an identity", "\(interchange32)\n", 1, 1, .interchangeFormat),
        .init("an interchange key with two blanks", "NVMe0R01 a b  \(interchange32)\n", 1, 13, .blankAroundIdentity),
        .init("an interchange key after a blank alone", " \(interchange32)\n", 1, 1, .interchangeFormat),
        .init(
            "a damaged interchange key", "NVMe0R01 a b \(interchange32.replacing("AAEC", with: "AAED"))\n", 1, 14,
            .interchange(.checksum)),
        .init(
            "an interchange key that is cut short", "NVMe0R01 a b \(interchange32.dropLast())\n", 1, 14,
            .interchange(.cutShort)),
        .init(
            "an interchange key of another hash", "NVMe0R02 a b \(interchange32)\n", 1, 14,
            .nvmeKeyLength(expected: 48)),
        .init(
            "the same identity in psktool's and nvme-cli's form",
            "NVMe0R01 a b:\(key32)\nNVMe0R01 a b \(interchange32)\n", 2, 1, .duplicateIdentity(firstLine: 1)),
        .init("an NVMe identity without a hash", "NVMe0R00 a b:\(key32)\n", 1, 1, .nvmeHash),
        .init("an NVMe identity of SHA-512", "NVMe1R03 a b:\(key48)\n", 1, 1, .nvmeHash),
        .init("a SHA-384 key for SHA-256", "NVMe0R01 a b:\(key48)\n", 1, 14, .nvmeKeyLength(expected: 32)),
        .init("a SHA-256 key for SHA-384", "NVMe1R02 a b c=:\(key32)\n", 1, 17, .nvmeKeyLength(expected: 48)),
    ]

    @Test("what is malformed is refused with its place", arguments: refused)
    func refuses(_ row: Refused<PSKFileProblem>) {
        row.expectRefusal(SettingsError.Problem.psk) { _ = try parse($0) }
    }

    @Test("no error holds text of the file", arguments: refused)
    func keepsKeysOut(_ row: Refused<PSKFileProblem>) {
        let text = "NVMe1R01 unrelated:\(key32)\n" + row.text.replacing("a", with: "zqzq")
        do {
            _ = try parse(text)
            Issue.record("accepted")
        } catch {
            #expect(!error.description.contains("zqzq"))
            #expect(!error.description.contains("VRLbtnN9"))
            #expect(!error.description.contains(key16.prefix(8)))
            #expect(!error.description.contains(key32.prefix(8)))
        }
    }

    @Test("a key is decoded into the caller's buffer")
    func decodes() throws {
        let bytes = Array("b:\(key32)\na:00010A0bfF\(key32.dropLast(8))\n".utf8)
        let entry = try #require(try PSKFile.parse(bytes, file: "f").last)
        var key = [UInt8](repeating: 0xEE, count: entry.keyLength)
        var span = key.mutableSpan
        try entry.decodeKey(from: bytes.span, into: &span)
        #expect(key.prefix(6) == [0x00, 0x01, 0x0A, 0x0B, 0xFF, 0xD2])
        #expect(key.count == 33)
    }

    @Test("a key of nvme-cli's form is decoded as it is")
    func decodesInterchange() throws {
        let bytes = Array("NVMe0R01 a b \(interchange32)\n".utf8)
        let entry = try #require(try PSKFile.parse(bytes, file: "f").first)
        #expect(entry.form == .interchange && entry.keyLength == 32)
        var key = [UInt8](repeating: 0xEE, count: entry.keyLength)
        var span = key.mutableSpan
        try entry.decodeKey(from: bytes.span, into: &span)
        #expect(key == Array(0..<32))
    }

    @Test("a line of nvme-cli that is cut short anywhere is refused")
    func truncatedInterchange() {
        let line = Array("NVMe0R01 a b \(interchange32)".utf8)
        for length in 1..<line.count {
            #expect(throws: SettingsError.self, "\(length) bytes") {
                try PSKFile.parse(Array(line.prefix(length)), file: "f")
            }
        }
    }

    @Test("no flipped bit gives another key")
    func flippedInterchange() throws {
        let line = Array("NVMe0R01 a b \(interchange32)".utf8)
        for index in line.indices {
            for bit in 0..<8 {
                var flipped = line
                flipped[index] ^= 1 << bit
                guard let entry = try? PSKFile.parse(flipped, file: "f").first else { continue }
                var key = [UInt8](repeating: 0xEE, count: entry.keyLength)
                var span = key.mutableSpan
                try entry.decodeKey(from: flipped.span, into: &span)
                #expect(key == Array(0..<32), "bit \(bit) of byte \(index)")
            }
        }
    }

    @Test("a key is not decoded from other bytes or into a buffer of another length, which is zeroed")
    func refusesToDecode() throws {
        let bytes = Array("a:\(key32)\n".utf8)
        let entry = try #require(try PSKFile.parse(bytes, file: "f").first)
        let expected = SettingsError(file: "f", line: 1, column: 1, problem: .psk(.keyBuffer))
        var damaged = bytes
        damaged[40] = 0x78
        for (source, length) in [(bytes, 31), (bytes, 33), (bytes, 0), (Array(bytes.prefix(60)), 32), (damaged, 32)] {
            var key = [UInt8](repeating: 0xEE, count: length)
            var span = key.mutableSpan
            var thrown: SettingsError?
            do {
                try entry.decodeKey(from: source.span, into: &span)
            } catch {
                thrown = error
            }
            #expect(thrown == expected)
            #expect(key.allSatisfy { $0 == 0 })
        }
    }
}
