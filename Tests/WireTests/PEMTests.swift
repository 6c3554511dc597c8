import Foundation
import Policy
import Testing
import Wire

@Suite("What workers get of PEM files")
struct PEMTests {
    private static let mixed = """
        a text in front
        -----BEGIN PRIVATE KEY-----
        U0VDUkVU
        -----END PRIVATE KEY-----
        -----BEGIN CERTIFICATE-----
        Q0VSVA==
        -----END CERTIFICATE-----
        between them
        \t-----BEGIN X509 CERTIFICATE-----\r
        Q0VSVDI=\r
        -----END X509 CERTIFICATE-----\r
        -----BEGIN EC PARAMETERS-----
        BggqhkjOPQMBBw==
        -----END EC PARAMETERS-----
        -----BEGIN X509 CRL-----
        Q1JM
        -----END X509 CRL-----
        behind
        """

    private func filtered(_ text: String) -> String {
        var content = PublicPEM()
        content.add(Array(text.utf8).span)
        return String(decoding: content.bytes, as: UTF8.self)
    }

    @Test("certificates and revocation lists are kept at their lines, and nothing else")
    func kept() {
        #expect(
            filtered(Self.mixed) == """




                -----BEGIN CERTIFICATE-----
                Q0VSVA==
                -----END CERTIFICATE-----

                \t-----BEGIN X509 CERTIFICATE-----\r
                Q0VSVDI=\r
                -----END X509 CERTIFICATE-----\r



                -----BEGIN X509 CRL-----
                Q1JM
                -----END X509 CRL-----

                """)
        #expect(filtered("") == "" && filtered("-----BEGIN PRIVATE KEY-----\nU0VDUkVU") == "\n")
        #expect(filtered("\u{FEFF}-----BEGIN X509 CRL-----\n-----END X509 CRL-----").hasSuffix("CRL-----\n"))
    }

    @Test("of a block that does not end only the BEGIN line is kept, as a key may follow")
    func cutOff() {
        let text = """
            -----BEGIN CERTIFICATE-----
            Q0VSVA==
            -----BEGIN PRIVATE KEY-----
            U0VDUkVU
            -----END PRIVATE KEY-----
            -----BEGIN CERTIFICATE-----
            U0VDUkVU
            -----END PRIVATE KEY-----
            """
        #expect(filtered(text) == "-----BEGIN CERTIFICATE-----\n\n\n\n\n-----BEGIN CERTIFICATE-----\n\n")
        let bytes = Array(text.utf8)
        let blocks = PEMBlock.all(in: bytes.span)
        #expect(blocks.map(\.kind) == [.certificate, .other, .certificate])
        #expect(blocks.map(\.isComplete) == [false, true, false] && blocks.map(\.line) == [1, 3, 6])
    }

    @Test("files that are put behind each other keep their names and lines, and text cannot pass for a name")
    func several() {
        let block = "-----BEGIN X509 CRL-----\nQ1JM\n-----END X509 CRL-----\n"
        var content = PublicPEM()
        content.add(Array("tlshd file: no\n\n\(block)".utf8).span, named: "/etc/a\n.pem")
        content.add(Array(block.utf8).span, named: "b.crl")
        let blocks = PEMBlock.all(in: content.bytes.span)
        #expect(blocks.map(\.file) == ["/etc/a?.pem", "b.crl"] && blocks.map(\.line) == [3, 1])
    }

    @Test("a revocation list in DER gets its lines; a key in DER does not leave")
    func encoded() throws {
        let list: [UInt8] = [0x30, 0x81, 0x80, 0x30] + (0..<127).map { UInt8($0) }
        var content = PublicPEM()
        content.add(list.span, mayBeDER: true)
        let lines = String(decoding: content.bytes, as: UTF8.self).split(separator: "\n")
        #expect(lines.first == "-----BEGIN X509 CRL-----" && lines.last == "-----END X509 CRL-----")
        #expect(lines.allSatisfy { $0.count <= 64 })
        #expect(Data(base64Encoded: lines.dropFirst().dropLast().joined()).map(Array.init) == list)
        for other: [UInt8] in [[0x30, 0x81, 0x80, 0x02, 1, 0], [0x30, 0x80], [0x30, 0xFF, 0x30], [0x30], []] {
            var content = PublicPEM()
            content.add(other.span, mayBeDER: true)
            #expect(content.bytes == [])
        }
        var certificates = PublicPEM()
        certificates.add(list.span)
        #expect(certificates.bytes.allSatisfy { $0 == 0x0A })
    }

    @Test("however a file is cut off or a bit of it flipped, no line of the key leaves")
    func damaged() {
        let sample = Array(Self.mixed.utf8)
        // A flipped bit may make the key's own line another text; the lines around it must not let it out.
        let damaged = sample.indices.map { Array(sample.prefix($0)) } + bitFlips(of: sample).map(\.bytes)
        for file in damaged {
            var content = PublicPEM()
            content.add(file.span)
            #expect(!String(decoding: content.bytes, as: UTF8.self).contains("U0VDUkVU"))
            let blocks = PEMBlock.all(in: content.bytes.span)
            #expect(blocks.allSatisfy { $0.kind != .other })
        }
    }

    @Test("the fuzzer has samples of it")
    func corpus() throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Fuzz/corpus/pem")
        let samples = ["mixed": [0] + Array(Self.mixed.utf8), "list": [1, 0x30, 0x81, 0x02, 0x30, 0]]
        for (name, bytes) in samples {
            let file = folder.appending(path: name)
            if ProcessInfo.processInfo.environment["TLSHD_RECORD"] != nil { try Data(bytes).write(to: file) }
            #expect((try? Data(contentsOf: file)).map(Array.init) == bytes, "remedy: TLSHD_RECORD=1")
        }
    }
}
