import Testing

@testable import Settings

@Suite("Settings that fail closed")
struct FailClosedTests {
    struct Key: CustomTestStringConvertible, Sendable {
        let section: String
        let name: String
        var testDescription: String { "[\(section)] \(name)" }
    }

    static let guarded: [Key] =
        ["authenticate.client", "authenticate.server"].flatMap { section in
            ["x509.truststore", "x509.crl", "x509.certificate", "x509.private_key"].map {
                Key(section: section, name: $0)
            }
        } + [Key(section: "authenticate", name: "psk.file"), Key(section: "authenticate", name: "psk.keyring")]

    static let badValues: [(String, INIValueProblem)] = [
        ("", .empty), ("  ", .empty), (#"/a\;b"#, .unknownEscape), (#"/a\"#, .unknownEscape), ("/a\0", .nulByte),
    ]

    @Test("a value that cannot be read refuses the file, with its place", arguments: guarded, badValues)
    func refuses(_ key: Key, _ bad: (String, INIValueProblem)) {
        let expected = SettingsError(
            file: "f", line: 3, column: key.name.utf8.count + 2 + (bad.0 == "  " ? 2 : 0),
            problem: .value(key: key.testDescription, bad.1))
        #expect(throws: expected) { try settings("\n[\(key.section)]\n\(key.name)=\(bad.0)\n") }
    }

    @Test("a value that is not UTF-8 refuses the file", arguments: guarded)
    func refusesOtherEncodings(_ key: Key) {
        let bytes = Array("[\(key.section)]\n\(key.name)=/a".utf8) + [0xFF, 0x0A]
        let expected = SettingsError(
            file: "f", line: 2, column: key.name.utf8.count + 2, problem: .value(key: key.testDescription, .notUTF8))
        #expect(throws: expected) { try DaemonSettings.read(bytes, file: "f") }
    }

    @Test("a good value that is given again in a bad way refuses the file", arguments: guarded)
    func refusesLastValue(_ key: Key) {
        #expect(throws: SettingsError.self) {
            try settings("[\(key.section)]\n\(key.name)=/a\n\(key.name)=\n")
        }
        #expect(throws: Never.self) {
            try settings("[\(key.section)]\n\(key.name)=\n\(key.name)=/a\n")
        }
    }

    @Test("a post-quantum pair that cannot be read is left out with a notice")
    func ignoresPQ() throws {
        let settings = try settings(
            """
            [authenticate.client]
            x509.certificate=/c
            x509.private_key=/k
            x509.pq.certificate=
            x509.pq.private_key=foo:bar
            """)
        #expect(settings.client.pqCertificate == nil)
        #expect(settings.client.pqPrivateKey == nil)
        #expect(settings.client.certificate?.value == .file("/c"))
        #expect(settings.notices.map(\.line) == [4, 5])
        #expect(settings.notices.first?.text.contains("is empty, and is ignored") == true)
    }

    @Test("a URL names no file", arguments: ["x509.truststore", "x509.crl"])
    func refusesURLs(_ key: String) {
        let expected = SettingsError(
            file: "f", line: 2, column: key.utf8.count + 2,
            problem: .urlAsFile(key: "[authenticate.client] \(key)"))
        #expect(throws: expected) {
            try settings("[authenticate.client]\n\(key)=pkcs11:token=t;pin-value=1234\n")
        }
    }
}

@Suite("Private keys")
struct PrivateKeySourceTests {
    static func read(_ value: String) throws(SettingsError) -> PrivateKeySource? {
        try settings("[authenticate.client]\nx509.certificate=/c\nx509.private_key=\(value)\n").client.privateKey?.value
    }

    @Test(
        "a name without a scheme is a file",
        arguments: [
            "/etc/key.pem", "/a:b", "/key.pem", "%d/key.pem", "/pkcs11:a",
        ])
    func files(_ value: String) throws {
        #expect(try Self.read(value) == .file(value))
    }

    @Test(
        "a relative path refuses the file, as it depends on where tlshd was started; quotation marks are named",
        arguments: ["x509.truststore", "x509.crl", "x509.certificate", "x509.private_key", "x509.rsa.certificate"],
        ["key.pem", "./foo:bar", ":a", "1a:b", "a_b:c", "ä:b", "etc/key", "~/key", "%d", "\"/etc/key\"", "'/etc/key'"])
    func refusesRelativePaths(_ key: String, _ value: String) {
        let isQuoted = value.hasPrefix("'") || value.hasPrefix("\"")
        let expected = SettingsError(
            file: "f", line: 2, column: key.utf8.count + 2,
            problem: .relativePath(key: "[authenticate.server] \(key)", isQuoted: isQuoted))
        #expect(throws: expected) { try settings("[authenticate.server]\n\(key)=\(value)\n") }
        #expect(expected.description.hasPrefix("f:2:\(key.utf8.count + 2): the value of [authenticate.server] \(key) "))
        #expect(
            expected.remedy
                == (isQuoted ? "write the path without quotation marks" : "write the whole path, which begins with /"))
    }

    @Test("a file of PSKs or of a PIN with a relative path refuses the settings")
    func refusesOtherRelativePaths() {
        #expect(throws: SettingsError.self) { try settings("[authenticate]\npsk.file=psk\n") }
        for pin in ["pin", "file:pin", "file://pin"] {
            #expect(throws: SettingsError.self) { try Self.read("pkcs11:token=a?pin-source=\(pin)") }
        }
    }

    @Test(
        "a scheme that GnuTLS knows keys under makes a URL, whatever its case",
        arguments: [
            ("pkcs11:token=x;object=y", "pkcs11"), ("PKCS11:a", "pkcs11"), ("tpmkey:uuid=1", "tpmkey"),
            ("system:uuid=1", "system"), ("pkcs11:", "pkcs11"),
        ])
    func urls(_ value: String, _ scheme: String) throws {
        #expect(try Self.read(value) == .url(KeyURL(scheme: scheme, text: value)))
    }

    @Test("another scheme refuses the file", arguments: ["C:key.pem", "foo:bar", "a+b-c.d1:x", "file:/etc/key.pem"])
    func refusesOtherSchemes(_ value: String) {
        let expected = SettingsError(
            file: "f", line: 3, column: 18, problem: .keyURLScheme(key: "[authenticate.client] x509.private_key"))
        #expect(throws: expected) { try Self.read(value) }
    }

    @Test(
        "the PIN's file is taken out of a URL, and a label shows only what tells tokens and objects apart",
        arguments: [
            ("pkcs11:token=a;object=b", nil, "pkcs11:token=a;object=b", "pkcs11:token=a;object=b"),
            ("pkcs11:token=a?pin-source=/p", "/p", "pkcs11:token=a", "pkcs11:token=a"),
            ("pkcs11:token=a?pin-source=file:/p%20q", "/p q", "pkcs11:token=a", "pkcs11:token=a"),
            ("pkcs11:token=a?x=1&pin-source=file:///p&y=2", "/p", "pkcs11:token=a?x=1&y=2", "pkcs11:token=a"),
            ("pkcs11:token=a?pin-source=|prog", nil, "pkcs11:token=a?pin-source=|prog", "pkcs11:token=a"),
            ("pkcs11:model=m;pin-value=1", nil, "pkcs11:model=m;pin-value=1", "pkcs11:…"),
            ("pkcs11:id=%01?pin-value=9", nil, "pkcs11:id=%01?pin-value=9", "pkcs11:id=%01"),
        ] as [(String, String?, String, String)])
    func pinFiles(_ text: String, _ file: String?, _ rest: String, _ label: String) {
        let url = KeyURL(scheme: "pkcs11", text: text)
        #expect(url.pinFile == file)
        #expect(url.withoutPINFile == rest)
        #expect(url.label == label)
    }

    @Test("a URL prints without what follows its scheme")
    func redacts() throws {
        let source = try #require(try Self.read("pkcs11:token=t;pin-value=1234"))
        var dumped = ""
        dump(source, to: &dumped)
        let texts = ["\(source)", String(reflecting: source), dumped, "\(at(source, line: 1))"]
        for text in texts {
            #expect(text.contains("pkcs11"))
            #expect(!text.contains("1234"))
            #expect(!text.contains("token"))
        }
    }

    @Test(
        "no error and no notice repeats a value",
        arguments: [
            "secret:pin-value=1234", "pkcs11:pin-value=1234\\", "\"pkcs11:pin-value=1234\"",
            "pkcs11:pin-value=1234 # x",
        ])
    func keepsValuesOut(_ value: String) {
        var text = ""
        do {
            let notices = try settings("[authenticate.client]\nx509.private_key=\(value)\n").notices
            text = notices.map(\.description).joined()
        } catch {
            text = error.description
        }
        #expect(text.contains("x509.private_key"))
        #expect(!text.contains("1234"))
        #expect(!text.contains("secret"))
    }
}
