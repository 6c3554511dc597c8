import Testing

@testable import Settings

@Suite("INI documents")
struct INIDocumentTests {
    struct Accepted: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let text: String
        let key: String
        let raw: String?

        init(_ testDescription: String, _ text: String, key: String = "tls", raw: String?) {
            self.testDescription = testDescription
            self.text = text
            self.key = key
            self.raw = raw
        }
    }

    static let accepted: [Accepted] = [
        .init("a key under its section", "[debug]\ntls=3\n", raw: "3"),
        .init("a comment at the start of a line", "# note\n[debug]\n#tls=1\ntls=3\n", raw: "3"),
        .init("a comment behind blanks", "[debug]\n \t# note\ntls=3\n", raw: "3"),
        .init("a semicolon comment", "; note\n[debug]\n;tls=1\n  ; note\ntls=3\n", raw: "3"),
        .init("a hash behind a value belongs to it", "[debug]\ntls=3 # note\n", raw: "3 # note"),
        .init("blanks around the equals sign", "[debug]\ntls \t= \t3\n", raw: "3"),
        .init("blanks before a key", "[debug]\n  tls=3\n", raw: "3"),
        .init("blanks around a section", "  [debug] \t\ntls=3\n", raw: "3"),
        .init("blanks behind a value are kept", "[debug]\ntls=3 \t\n", raw: "3 \t"),
        .init("a value with an equals sign", "[debug]\ntls=a=b\n", raw: "a=b"),
        .init("a value with quotes", "[debug]\ntls=\"3\"\n", raw: "\"3\""),
        .init("an empty value", "[debug]\ntls=\n", raw: ""),
        .init("an empty value of blanks", "[debug]\ntls=  \n", raw: ""),
        .init("the last of a key given twice", "[debug]\ntls=1\ntls=2\n", raw: "2"),
        .init("a section given twice is one", "[debug]\ntls=1\n[x]\ntls=9\n[debug]\nnl=2\n", raw: "1"),
        .init("the last key across two headers", "[debug]\ntls=1\n[x]\n[debug]\ntls=2\n", raw: "2"),
        .init("a key of another case is another key", "[debug]\nTLS=3\n", raw: nil),
        .init("a section of another case is another section", "[Debug]\ntls=3\n", raw: nil),
        .init("a blank inside a key makes it another key", "[debug]\nt ls=3\n", raw: nil),
        .init("a blank inside a section makes it another section", "[ debug ]\ntls=3\n", raw: nil),
        .init("a key of a locale is another key", "[debug]\ntls[de]=3\n", raw: nil),
        .init("CRLF line ends", "[debug]\r\n# note\r\n\r\ntls=3\r\n", raw: "3"),
        .init("CRLF without the last LF", "[debug]\r\ntls=3\r", raw: "3"),
        .init("no newline at the end", "[debug]\ntls=3", raw: "3"),
        .init("an empty file", "", raw: nil),
        .init("only a newline", "\n", raw: nil),
        .init("only comments", "# a\n\n# b", raw: nil),
        .init("a byte order mark", "\u{FEFF}[debug]\ntls=3\n", raw: "3"),
        .init("a byte order mark alone", "\u{FEFF}", raw: nil),
        .init("unknown sections and keys", "[a b]\nc=d\n[debug]\nmore=1\ntls=3\n", raw: "3"),
    ]

    @Test("what GLib accepts, or is safe to accept, is accepted", arguments: accepted)
    func accepts(_ row: Accepted) throws {
        let document = try INIDocument.parse(Array(row.text.utf8), file: "f")
        let value = document.entry(row.key, in: "debug")?.value
        #expect(value?.bytes == row.raw.map { Array($0.utf8) })
    }

    static let refused: [Refused<INIProblem>] = [
        .init("a key before any section", "# a\n  tls=3\n[debug]\n", 2, 3, .keyBeforeSection),
        .init("a line without an equals sign", "[debug]\ntls 3\n", 2, 1, .missingEquals),
        .init("a continued line", "[debug]\ntls=3\\\nmore\n", 3, 1, .missingEquals),
        .init("a line without an equals sign, CRLF", "[debug]\r\n\r\n tls\r\n", 3, 2, .missingEquals),
        .init("an unclosed section", "[debug\ntls=3\n", 1, 7, .unclosedSection),
        .init("an unclosed section with a value in it", "[debug]\n[x=y\n", 2, 5, .unclosedSection),
        .init("a comment behind a section", "[debug] # note\n", 1, 8, .textAfterSection),
        .init("a comment with an equals sign behind a section", "[debug] # a=b\n", 1, 8, .textAfterSection),
        .init("a section that is given a value", "[debug]=3\n", 1, 8, .textAfterSection),
        .init("an empty section name", "[]\n", 1, 2, .sectionName),
        .init("a bracket in a section name", "[a[b]\n", 1, 2, .sectionName),
        .init("a control character in a section name", "[a\u{1}b]\n", 1, 2, .sectionName),
        .init("an empty key", "[debug]\n=3\n", 2, 1, .emptyKey),
        .init("an empty key behind blanks", "[debug]\n  = 3\n", 2, 3, .emptyKey),
        .init("a bracket in a key", "[debug]\n tls]=3\n", 2, 5, .bracketInKey),
        .init("a key and a section on one line", "[debug]\ntls=3\nx[debug] tls=3\n", 3, 2, .bracketInKey),
        .init("an unclosed locale", "[debug]\ntls[de=3\n", 2, 4, .bracketInKey),
        .init("two locales", "[debug]\ntls[de][fr]=3\n", 2, 4, .bracketInKey),
        .init("a file of zeros, as a power cut leaves it", "\0\0\0\0", 1, 1, .missingEquals),
    ]

    @Test("what GLib refuses is refused with its place", arguments: refused)
    func refuses(_ row: Refused<INIProblem>) {
        row.expectRefusal(SettingsError.Problem.syntax) { _ = try INIDocument.parse(Array($0.utf8), file: "f") }
    }

    @Test("an error reads as place, fault and remedy on one line")
    func describesErrors() {
        let error = SettingsError(file: "/etc/tlshd.conf", line: 12, column: 5, problem: .syntax(.unclosedSection))
        #expect(error.description == "/etc/tlshd.conf:12:5: the ] of the section is missing; end the line with ]")
    }

    @Test("a value remembers its line and column")
    func remembersPlaces() throws {
        let document = try INIDocument.parse(Array("\u{FEFF}\r\n[debug]\r\n\r\n  tls =  3\r\n".utf8), file: "f")
        #expect(document.sections == [.init(name: "debug", line: 2)])
        let value = try #require(document.entry("tls", in: "debug")?.value)
        #expect(value == INIValue(bytes: Array("3".utf8), line: 4, column: 10))
    }

    @Test("names that are not UTF-8 match no name")
    func repairsNames() throws {
        let bytes = Array("[debug]\ntls".utf8) + [0xFF] + Array("=3\n[debug".utf8) + [0xC3] + Array("]\n".utf8)
        let document = try INIDocument.parse(bytes, file: "f")
        #expect(document.entry("tls", in: "debug") == nil)
        #expect(document.sections.map(\.name) == ["debug", "debug\u{FFFD}"])
    }
}
