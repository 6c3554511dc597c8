import Testing

@testable import Settings

@Suite("INI values")
struct INIValueTests {
    static func value(_ text: String) -> INIValue {
        INIValue(bytes: Array(text.utf8), line: 1, column: 1)
    }

    @Test(
        "escapes are replaced and everything else is kept",
        arguments: [
            ("/a/b", "/a/b"), ("/a/b ", "/a/b "), (#"\s\n\t\r\\"#, " \n\t\r\\"), (#"a\sb"#, "a b"),
            ("\"a\"", "\"a\""), ("pkcs11:token=x;object=y", "pkcs11:token=x;object=y"), ("a # b", "a # b"),
            ("ä€😀", "ä€😀"), ("", ""),
        ])
    func readsStrings(_ raw: String, _ expected: String) throws {
        #expect(try Self.value(raw).string() == expected)
    }

    @Test(
        "an unknown escape makes a text unreadable",
        arguments: [#"\;"#, #"a\"#, #"\x"#, #"\S"#, #"\\\"#, #"/a\ b"#, #"\""#])
    func refusesEscapes(_ raw: String) {
        #expect(throws: INIValueProblem.unknownEscape) { try Self.value(raw).string() }
        #expect(throws: INIValueProblem.unknownEscape) { try Self.value(raw).path() }
    }

    @Test(
        "blanks at the end of a path are dropped unless they are escaped",
        arguments: [
            ("/a/b ", "/a/b"), ("/a/b \t\r", "/a/b"), (#"/a/b\s"#, "/a/b "), (#"/a/b\s  "#, "/a/b "), ("/a b", "/a b"),
        ])
    func readsPaths(_ raw: String, _ expected: String) throws {
        #expect(try Self.value(raw).path() == expected)
    }

    @Test("an empty path is none", arguments: ["", " ", "\t "])
    func refusesEmptyPaths(_ raw: String) {
        #expect(throws: INIValueProblem.empty) { try Self.value(raw).path() }
    }

    @Test(
        "a text that is not UTF-8 is unreadable",
        arguments: [[0xFF], [0x61, 0xC3], [0xED, 0xA0, 0x80], [0xC0, 0x80]])
    func refusesOtherEncodings(_ bytes: [UInt8]) {
        let value = INIValue(bytes: bytes, line: 1, column: 1)
        #expect(throws: INIValueProblem.notUTF8) { try value.string() }
        #expect(throws: INIValueProblem.notUTF8) { try value.path() }
        #expect(throws: INIValueProblem.notUTF8) { try value.list() }
        #expect(throws: INIValueProblem.notAnInteger) { try value.integer() }
    }

    @Test("a NUL byte makes a text unreadable")
    func refusesNUL() {
        #expect(throws: INIValueProblem.nulByte) { try Self.value("/a\0b").path() }
        #expect(throws: INIValueProblem.nulByte) { try Self.value("a;\0;b").list() }
    }

    @Test(
        "a list is split at semicolons that are not escaped",
        arguments: [
            ("a ; b; c;", ["a ", " b", " c"]), (";a;;b;", ["", "a", "", "b"]), ("a", ["a"]), ("a;", ["a"]),
            ("", []), (";", [""]), (";;", ["", ""]), (#"a\;b;c"#, ["a;b", "c"]), (#"a\\;b"#, [#"a\"#, "b"]),
            (#"a\sb;\t"#, ["a b", "\t"]), ("a; ", ["a", " "]), ("a b", ["a b"]),
        ] as [(String, [String])])
    func readsLists(_ raw: String, _ expected: [String]) throws {
        #expect(try Self.value(raw).list() == expected)
    }

    @Test("an unknown escape makes a list unreadable", arguments: [#"a;\x"#, #"a;b\"#, #"\q;a"#])
    func refusesEscapesInLists(_ raw: String) {
        #expect(throws: INIValueProblem.unknownEscape) { try Self.value(raw).list() }
    }

    @Test(
        "integers are decimal, with a sign if need be",
        arguments: [
            ("0", 0), ("7", 7), ("010", 10), ("+3", 3), ("-3", -3), ("3 ", 3), ("3\t\r", 3), ("3 # note", 3),
            ("2147483647", 2_147_483_647), ("-2147483648", -2_147_483_648), ("0000000000000000000000000000001", 1),
        ])
    func readsIntegers(_ raw: String, _ expected: Int) throws {
        #expect(try Self.value(raw).integer() == expected)
    }

    @Test(
        "what is no decimal number is unreadable",
        arguments: ["", "-", "+", "0x10", "x", "3;4", "3,4", "\"3\"", "'3'", "3#", "1e3", "--3", "٣", #"3\s"#])
    func refusesIntegers(_ raw: String) {
        #expect(throws: INIValueProblem.notAnInteger) { try Self.value(raw).integer() }
    }

    @Test(
        "a number beyond 32 bits is unreadable",
        arguments: ["2147483648", "-2147483649", "9223372036854775808", String(repeating: "9", count: 400)])
    func refusesOverflow(_ raw: String) {
        #expect(throws: INIValueProblem.integerOutOfRange) { try Self.value(raw).integer() }
    }
}
