import Handshake
import Testing

@Suite("Patterns for names of certificates")
struct NamePatternTests {
    private func matches(_ pattern: String, _ name: String) throws -> Bool {
        try #require(NamePattern(pattern), "\(pattern) is no pattern").matches(name)
    }

    static let good: [(pattern: String, name: String)] = [
        ("CN=node7,OU=storage,O=Example\\, Inc", "CN=node7,OU=storage,O=Example\\, Inc"),
        ("CN=node?,OU=*,O=Example*", "CN=node7,OU=storage,O=Example\\, Inc"), ("*,*,*", "CN=node7,OU=storage,O=a"),
        ("CN=*,O=Good", "CN=evil\\,O\\=Good,O=Good"), ("cn=a,ou=b", "CN=a,OU=b"),
        ("emailAddress=a@b,commonName=c", "EMAIL=a@b,CN=c"), ("2.5.4.3=a", "CN=a"), ("CN = a , O = b c ", "CN=a,O=b c"),
        ("CN=\\ a\\ ", "CN=\\ a\\ "), ("CN=a\\2Cb\\C3\\A9", "CN=a\\,b\u{E9}"), ("CN=a=b", "CN=a=b"), ("CN=", "CN="),
        ("CN=\\*\\?", "CN=*?"), ("CN=*", "CN=*?"), ("CN=\\#04", "CN=\\#04"), ("1.2.3.4=#04*", "1.2.3.4=#0401"),
        ("UID=7+CN=a,O=b", "CN=a+UID=7,O=b"), ("CN=*+UID=7", "UID=7+CN=a"), ("*=a", "OU=a"), ("CN=*", "CN=#0401"),
        ("CN=?", "CN=\\,"), ("CN=a\\\\", "CN=a\\\\"), ("CN=\"a\"", "CN=\\\"a\\\""),
    ]

    @Test("part by part, types in any case, values without their escapes", arguments: good)
    func fits(_ pattern: String, _ name: String) throws {
        #expect(try matches(pattern, name))
    }

    static let other: [(pattern: String, name: String)] = [
        // A value that looks like two parts.
        ("CN=*,O=Good", "CN=evil\\,O=Good"), ("CN=?*,O=Good", "CN=evil\\,O=Good"), ("*,O=Good", "CN=evil\\,O=Good"),
        ("CN=*+O=Good", "CN=evil\\+O=Good"), ("CN=*,O=Good", "CN=evil\\2CO=Good"), ("CN=a?O=b", "CN=a,O=b"),
        // Nor is half an escape a character.
        ("CN=a??b", "CN=a\\,b"), ("CN=a\\\\?", "CN=a\\,"), ("CN=a\\\\*", "CN=a\\,b"),
        // More or fewer parts, or in another order.
        ("CN=*", "CN=a,O=b"), ("CN=a,O=*", "CN=a"), ("*", "CN=a,O=b"), ("*", "CN=a+UID=b"), ("O=*,CN=*", "CN=a,O=b"),
        ("CN=*,O=b", "CN=a,OU=x,O=b"), ("CN=a+UID=7", "CN=a,UID=7"), ("CN=a+CN=a", "CN=a+CN=b"),
        // Values are compared with their case; a text is not an encoding of the same characters.
        ("CN=Node", "CN=node"), ("CN=#04", "CN=\\#04"), ("CN=\\#04", "CN=#04"), ("CN=?04", "CN=#04"),
        // What is no name fits nothing.
        ("CN=*", ""), ("CN=*", "(no subject)"), ("*", "CN"), ("CN=*", "CN=a\\"), ("CN=*", "CN=a\\b"),
        ("CN=*", "CN=\\FF"),
    ]

    @Test("wildcards keep within a value, and no value is more than that", arguments: other)
    func differs(_ pattern: String, _ name: String) throws {
        #expect(try !matches(pattern, name))
    }

    @Test("a name that is longer than any real one fits nothing")
    func long() throws {
        let length = 4096 - "CN=".utf8.count
        #expect(try matches("CN=*", "CN=" + String(repeating: "a", count: length)))
        #expect(try !matches("CN=*", "CN=" + String(repeating: "a", count: length + 1)))
    }

    @Test(
        "what can fit nobody is no pattern",
        arguments: [
            "", "a", "/C=US/O=Example", "C=US/O=Example/CN=a, b", "CN=a,", ",CN=a", "CN=a,,O=b", "CN*", "C*=a", "=a",
            "FOO=a", "CN=a\\", "CN=a\\b", "CN=\\FF", "1.2.3.4=a", "1.2=#04", "CN=a+CN=b+CN=c+CN=d+CN=e", "\\CN=a",
        ])
    func refused(_ text: String) {
        #expect(NamePattern(text) == nil)
    }

    static let orders: [(String, Bool)] = [
        ("CN=*,O=Example", false), ("O=Example,CN=*", true), ("C=US,O=Example,CN=*", true), ("DC=a,DC=b,CN=*", true),
        ("CN=*,DC=b,DC=a", false), ("CN=*", false), ("*,O=a", false), ("OU=b,OU=a", false), ("L=a,CN=b", true),
        ("description=a,CN=b", false),
    ]

    @Test("the wrong way round is noticed", arguments: orders)
    func order(_ pattern: String, _ isReversed: Bool) throws {
        #expect(try #require(NamePattern(pattern)).isReversed == isReversed)
    }

    @Test("cut short or with any bit flipped, a name is compared all the same, and never fits by its first part alone")
    func damage() throws {
        let name = "CN=a\\,b+UID=7,OU=\\C3\\A9,O=\\#x,1.2.3.4=#0401"
        let pattern = try #require(NamePattern(name))
        #expect(pattern.matches(name))
        let bytes = Array(name.utf8)
        for count in bytes.indices {
            let cut = String(decoding: bytes.prefix(count), as: UTF8.self)
            #expect(!pattern.matches(cut), "\(cut)")
            #expect(NamePattern(cut)?.matches(cut) ?? true, "\(cut)")
        }
        for index in bytes.indices {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[index] ^= 1 << UInt8(bit)
                let text = String(decoding: damaged, as: UTF8.self)
                _ = pattern.matches(text)
                guard !text.contains("*"), !text.contains("?") else { continue }
                #expect(NamePattern(text)?.matches(text) ?? true, "\(text)")
            }
        }
    }
}
