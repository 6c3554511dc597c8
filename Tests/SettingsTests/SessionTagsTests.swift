import Foundation
import Handshake
import TestSupport
import Testing

@testable import Settings

/// Good files of session tags, to be read whole and in damaged forms.
enum TagSamples {
    static let filters = """
        # who may do what
        ---
        filters:
          ours: {type: x509.tbs.issuer, pattern: 'CN=ca,O=Example'}
          storage:
            type: "x509.tbs.subject"   # the nodes
            pattern: 'CN=*,OU=storage,*'
          signs:
            type: x509.extension.keyUsage
            purpose: [ digitalSignature,
                       keyAgreement ]
          rpc:
            type: x509.extension.extendedKeyUsage
            purpose:
            - rpcTLSClient
            - 1.3.6.1.5.5.7.3.2
          young: {type: x509.tbs.validity.notBefore, pattern: 2026-01-01 00:00:00}
        ...

        """

    static let tags = """
        tags:
          trusted:
            filter: [ours, storage, not self]
          any: { filter: [] }
        ---
        filters:
          self:
            type: x509.derived.selfSigned

        """

    static func parse(_ text: String) throws(SettingsError) -> [YAMLNode] {
        try YAMLParser.parse(Array(text.utf8), file: "f")
    }

    static func read(_ texts: String...) throws(SettingsError) -> SessionTags {
        try SessionTagsReader.read(texts.map { (path: "f", bytes: Array($0.utf8)) })
    }
}

@Suite("Session tags")
struct SessionTagsTests {
    private var facts: CertificateFacts {
        var facts = CertificateFacts()
        facts.subject = "CN=n1,OU=storage,O=Example"
        facts.issuer = "CN=ca,O=Example"
        facts.serialNumber = [0, 0xAB, 1]
        facts.signatureAlgorithm = "ECDSA-SHA256"
        facts.signatureAlgorithmIdentifier = "1.2.840.10045.4.3.2"
        facts.notBefore = 1_767_225_600
        facts.notAfter = 1_798_761_599
        facts.keyUsage = KeyUsage(name: "digitalSignature")
        facts.purposes = [Purpose.rpcTLSClient, "1.3.6.1.5.5.7.3.2"]
        facts.sha1 = [UInt8](repeating: 1, count: 20)
        facts.sha256 = [UInt8](repeating: 2, count: 32)
        return facts
    }

    @Test("filters and tags of several files and documents belong together, whatever their order")
    func order() throws {
        for tags in [
            try TagSamples.read(TagSamples.filters, TagSamples.tags),
            try TagSamples.read(TagSamples.tags, TagSamples.filters),
        ] {
            #expect(tags.tags.map(\.name) == ["any", "trusted"])
            #expect(tags.names(for: facts) == ["any", "trusted"])
            var own = facts
            own.issuer = own.subject
            #expect(tags.names(for: own) == ["any"])
        }
    }

    static let filters: [(String, Bool)] = [
        ("type: x509.cert.signatureAlgorithm, pattern: ECDSA-SHA256", true),
        ("type: x509.cert.signatureAlgorithm, pattern: 1.2.840.10045.4.3.2", true),
        ("type: x509.cert.signatureAlgorithm, pattern: RSA-SHA256", false),
        ("type: x509.tbs.version, pattern: 3", true), ("type: x509.tbs.serialNumber, pattern: 00ab01", true),
        ("type: x509.tbs.serialNumber, pattern: ab01", false),
        ("type: x509.tbs.issuer, pattern: 'CN=c?,O=Example'", true),
        // As in GLib, which ktls-utils matches with, a wildcard goes over commas.
        ("type: x509.tbs.subject, pattern: 'CN=n1*Example'", true),
        ("type: x509.tbs.subject, pattern: 'CN=*,O=Example'", true),
        ("type: x509.tbs.validity.notBefore, pattern: 2026-01-01 00:00:00", true),
        ("type: x509.tbs.validity.notBefore, pattern: 2026-01-01 00:00:01", false),
        ("type: x509.tbs.validity.notAfter, pattern: 2026-12-31 23:59:59", true),
        ("type: x509.tbs.validity.notAfter, pattern: 2026-12-31 23:59:58", false),
        ("type: x509.extension.keyUsage, purpose: [digitalSignature]", true),
        ("type: x509.extension.keyUsage, purpose: [digitalSignature, keyCertSign]", false),
        ("type: x509.extension.extendedKeyUsage, purpose: [rpcTLSClient, clientAuth]", true),
        ("type: x509.extension.extendedKeyUsage, purpose: [serverAuth]", false),
        ("type: x509.derived.fingerprint, pattern: '0202*'", true),
        ("type: x509.derived.fingerprint, pattern: '0101*01'", true),
        ("type: x509.derived.fingerprint, pattern: '0303*'", false), ("type: x509.derived.selfSigned", false),
    ]

    @Test(
        "each type of filter compares what it says, moments in UTC and as the manual page has them", arguments: filters)
    func types(_ filter: String, _ fits: Bool) throws {
        let tags = try TagSamples.read("filters: {f: {\(filter)}}\ntags: {t: {filter: [f]}, u: {filter: [not f]}}\n")
        #expect(tags.names(for: facts) == [fits ? "t" : "u"])
        // A certificate without the extensions fits neither usage nor purpose.
        if filter.contains("extension") {
            #expect(tags.names(for: CertificateFacts()) == ["u"])
        }
    }

    @Test("a comma of a filter is not an escaped one, which is part of a value that its owner may have chosen")
    func escapes() throws {
        for type in ["subject", "issuer"] {
            let tags = try TagSamples.read(
                "filters: {f: {type: x509.tbs.\(type), pattern: 'CN=*,O=Example'}}\ntags: {t: {filter: [f]}}\n")
            #expect(tags.names(for: facts) == ["t"])
            var evil = facts
            evil.subject = "CN=evil\\,O=Example"
            evil.issuer = evil.subject
            #expect(tags.names(for: evil).isEmpty, "\(type)")
        }
    }

    static let refused: [Refused<TagProblem>] = [
        .init("another top-level key", "filter:\n", 1, 1, .topLevel),
        .init("a list at the top", "- a\n", 1, 1, .keysExpected),
        .init("a name with a dot", "tags:\n  a.b: {filter: []}\n", 2, 3, .name),
        .init(
            "a filter twice",
            "filters:\n  a: {type: x509.derived.selfSigned}\n---\nfilters:\n  a: {type: x509.derived.selfSigned}\n", 5,
            3, .duplicateFilter),
        .init("a tag twice", "tags: {a: {filter: []}}\n---\ntags: {a: {filter: []}}\n", 3, 8, .duplicateTag),
        .init("an unknown filter", "tags: {a: {filter: [x]}}\n", 1, 21, .unknownFilter),
        .init("a tag without its list", "tags:\n  a:\n", 2, 3, .tagKeys),
        .init("a tag with another key", "tags: {a: {filters: []}}\n", 1, 12, .tagKeys),
        .init("no type", "filters: {a: {pattern: b}}\n", 1, 11, .filterKeys),
        .init("a misspelt type", "filters: {a: {type: x509.tbs.subjekt, pattern: b}}\n", 1, 21, .filterType),
        .init("a pattern that is missing", "filters: {a: {type: x509.tbs.subject}}\n", 1, 11, .filterKeys),
        .init(
            "a pattern where none is wanted", "filters: {a: {type: x509.derived.selfSigned, pattern: b}}\n", 1, 46,
            .filterKeys),
        .init(
            "a moment that is none", "filters: {a: {type: x509.tbs.validity.notAfter, pattern: 2026-02-29 00:00:00}}\n",
            1, 58, .moment),
        .init(
            "too many wildcards", "filters: {a: {type: x509.tbs.subject, pattern: '*****************'}}\n", 1, 48,
            .wildcards),
        .init(
            "an unknown usage", "filters: {a: {type: x509.extension.keyUsage, purpose: [signing]}}\n", 1, 56, .purposes),
        .init("no usage", "filters: {a: {type: x509.extension.keyUsage, purpose: []}}\n", 1, 46, .purposes),
    ]

    @Test("what is no session tag is refused with its place", arguments: refused)
    func refuses(_ row: Refused<TagProblem>) {
        row.expectRefusal(SettingsError.Problem.tag) { _ = try TagSamples.read($0) }
    }

    @Test("moments are counted in UTC from 1970")
    func moments() {
        #expect(TagFilterReader.seconds("1970-01-01 00:00:00") == 0)
        #expect(TagFilterReader.seconds("2000-02-29 12:34:56") == 951_827_696)
        #expect(TagFilterReader.seconds("2026-11-24 10:00:00") == 1_795_514_400)
        #expect(TagFilterReader.seconds("1969-12-31 23:59:59") == -1)
        #expect(TagFilterReader.seconds("2026-11-24") == nil)
    }
}

@Suite("The part of YAML that is read")
struct YAMLTests {
    static let refused: [Refused<YAMLProblem>] = [
        .init("an alias", "a: *b\n", 1, 4, .alias), .init("an anchor", "a: &b c\n", 1, 4, .anchor),
        .init("a type", "a: !!str b\n", 1, 4, .typeTag),
        .init("a text of several lines", "a: |\n  b\n", 1, 4, .blockText),
        .init("a directive", "%YAML 1.2\n---\n", 1, 1, .directive), .init("a tab", "a:\n\tb: c\n", 2, 1, .tab),
        .init("a complex key", "? a\n: b\n", 1, 1, .complexKey), .init("an open quote", "a: 'b\n", 1, 4, .quoteOpen),
        .init("an unknown escape", "a: \"\\x41\"\n", 1, 5, .escape),
        .init("a key twice", "a: b\na: c\n", 2, 1, .duplicateKey),
        .init("a colon in a text", "a: b: c\n", 1, 5, .colonInText),
        .init("a list in a list", "- - a\n", 1, 3, .nestedInSequence),
        .init("keys in a list", "- a: b\n", 1, 4, .nestedInSequence),
        .init("an open bracket", "a: [b\n", 1, 4, .flowOpen),
        .init("no comma", "a: [b 'c' d, {e: f} g]\n", 1, 21, .flowSeparator),
        .init("a line too far left in brackets", "a: [b,\nc]\n", 2, 1, .flowIndentation),
        .init("text behind a value", "a: 'b' c\n", 1, 8, .textAfterValue),
        .init("text behind a marker", "--- a\n", 1, 5, .textAfterMarker),
        .init("a line that goes on", "a: b\n  c\n", 2, 3, .indentation),
        .init("a line that steps back to nowhere", "a:\n    b: c\n  d: e\n", 3, 3, .indentation),
        .init("a key without its colon", "a: b\nc\n", 2, 2, .keyMissing),
        .init("a control character", "a: b\u{1}\n", 1, 5, .character),
        .init("a line separator", "a: ä\u{2028}\n", 1, 6, .character),
        .init("a carriage return alone", "a: b\rc: d\n", 1, 5, .character),
        .init("too deep", "a: [[[[[[[[[b]]]]]]]]]\n", 1, 11, .tooDeep),
    ]

    @Test("what is not taken is refused with its place", arguments: refused)
    func refuses(_ row: Refused<YAMLProblem>) {
        row.expectRefusal(SettingsError.Problem.yaml) { _ = try TagSamples.parse($0) }
    }

    @Test("texts are texts, quoted or not, and nothing is a number or a date")
    func texts() throws {
        let text =
            "a: yes\n'b': 0x10\n\"c\": 2026-01-01\nd: 'it''s'\ne: \"\\\"\\\\\"\nf: a#b # c\ng:\nh: [ 'x: y', \"z\", ]\n"
        let document = try #require(try TagSamples.parse(text).first)
        guard case .mapping(let entries) = document.value else {
            Issue.record("no mapping")
            return
        }
        let texts = entries.dropLast(2).map(\.node.value)
        let wanted = ["yes", "0x10", "2026-01-01", "it's", "\"\\", "a#b"]
        #expect(texts == wanted.map { .scalar($0) })
        #expect(entries[6].node.value == .empty)
        #expect(entries[7].place == TextPlace(line: 8, column: 1))
    }

    /// A document as JSON, to be compared.
    private static func plain(_ node: YAMLNode) -> Any {
        switch node.value {
        case .empty: ""
        case .scalar(let text): text
        case .sequence(let items): items.map(plain)
        case .mapping(let entries): Dictionary(uniqueKeysWithValues: entries.map { ($0.key, plain($0.node)) })
        }
    }

    /// The samples, whole, cut at every length, with every bit flipped, and with characters that mean something put in
    /// everywhere.
    private static var variants: [[UInt8]] {
        var all: [[UInt8]] = []
        for sample in [TagSamples.filters, TagSamples.tags].map({ Array($0.utf8) }) {
            all += (0...sample.count).map { Array(sample.prefix($0)) }
            for index in sample.indices {
                for bit in 0..<8 {
                    var bytes = sample
                    bytes[index] ^= 1 << UInt8(bit)
                    all.append(bytes)
                }
                for insertion in " \n:-,'\"[]{}#&*!|>?%@\\\t~=.".utf8 {
                    var bytes = sample
                    bytes.insert(insertion, at: index)
                    all.append(bytes)
                }
                var bytes = sample
                bytes.remove(at: index)
                all.append(bytes)
            }
        }
        return all
    }

    @Test("damaged files are read as every YAML parser reads them, or refused with a place")
    func differential() throws {
        var lines: [String] = []
        var refused = 0
        for bytes in Self.variants {
            do {
                let documents = try YAMLParser.parse(bytes, file: "f").map(Self.plain)
                let line = try JSONSerialization.data(
                    withJSONObject: ["text": String(decoding: bytes, as: UTF8.self), "documents": documents])
                lines.append(String(decoding: line, as: UTF8.self))
            } catch let error as SettingsError {
                refused += 1
                let count = bytes.count { $0 == 0x0A } + 1
                #expect((1...count).contains(error.line) && error.column >= 1, "\(error)")
                #expect(!error.description.utf8.contains { $0 < 0x20 })
            }
            _ = try? SessionTagsReader.read([(path: "f", bytes: bytes)])
        }
        #expect(refused > 1000 && lines.count > 1000)
        #expect(try compare(lines) == "\(lines.count) alike\n")
    }

    /// Has PyYAML read the same texts, all scalars as text.
    private func compare(_ lines: [String]) throws -> String {
        let script = """
            import json, sys, yaml
            alike = 0
            for line in sys.stdin:
                given = json.loads(line)
                try:
                    read = [d for d in yaml.load_all(given["text"], yaml.BaseLoader) if d is not None and d != ""]
                except yaml.YAMLError as error:
                    read = str(error)
                if read == [d for d in given["documents"] if d != ""]:
                    alike += 1
                else:
                    print("not alike:", repr(given["text"]), "ours", given["documents"], "theirs", read)
            print(alike, "alike")
            """
        let input = lines.joined(separator: "\n") + "\n"
        return String(try Command(["/usr/bin/python3", "-c", script], input: input).output.prefix(4000))
    }
}
