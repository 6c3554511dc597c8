import Testing

@testable import Settings

@Suite("Unknown names in the settings")
struct UnknownNameTests {
    private func refusal(_ text: String) throws -> SettingsError {
        try #require(throws: SettingsError.self) { try settings(text) }
    }

    static let misspelt: [(key: String, meant: String)] = [
        ("x509.trustore", "x509.truststore"), ("x509.clr", "x509.crl"), ("x509.alow.san", "x509.allow.san"),
        ("X509.TrustStore", "x509.truststore"), ("x509.truststroe", "x509.truststore"),
        ("x509 . truststore", "x509.truststore"), ("x509.requires", "x509.require"), ("x509.pins", "x509.pin"),
        ("x509.purposes", "x509.purpose"), ("x509.pq.certifcate", "x509.pq.certificate"),
        ("x509.rsa.private.key", "x509.private_key"), ("x509.rsa.privatekey", "x509.rsa.private_key"),
        ("tls.suite", "tls.suites"), ("x509.allow.subjects", "x509.allow.subject"),
    ]

    @Test(
        "a misspelt key of a role refuses the file, with its line and the key that was meant", arguments: misspelt,
        ["authenticate.client", "authenticate.server", "profile p"])
    func misspeltKey(_ row: (key: String, meant: String), _ section: String) throws {
        guard row.key.split(separator: ".").count < 4 else {
            _ = try refusal("[\(section)]\n\(row.key)=a\n")
            return
        }
        let error = try refusal("[debug]\n[\(section)]\n\(row.key)=/etc/secret\n")
        #expect(error.problem == .unknown(.key(row.key, section: section, nearest: row.meant)))
        #expect(error.line == 3 && error.column == 1)
        #expect(error.description.hasSuffix("; write \(row.meant), or remove the line"))
        #expect(!error.description.contains("secret"))
    }

    @Test("every known key is found again when a letter is missing, doubled or another, or two are exchanged")
    func everyKey() throws {
        let keys = SettingKey.Role.server.all.map(\.name.key)
        #expect(keys.count > 14)
        for key in keys {
            let letters = Array(key)
            let last = letters.count - 1
            let variants = [
                String(letters.dropLast()), key + "s", "y" + key.dropFirst(), key.uppercased(), " " + key,
                String(letters[..<(last - 1)] + [letters[last], letters[last - 1]]),
            ]
            for variant in variants where variant.trimmingPrefix(" ") != key {
                let error = try refusal("[authenticate.server]\n\(variant)=a\n")
                #expect(error.problem == .unknown(.key(variant, section: "authenticate.server", nearest: key)))
            }
        }
    }

    @Test(
        "a key that is like none refuses the file as well, and the error lists those there are",
        arguments: ["cafile", "loglevel", "x509.truststore[de]", "keyrings", String(repeating: "x509.pin", count: 900)])
    func strangeKey(_ key: String) throws {
        let error = try refusal("[authenticate.client]\n\(key)=a\n")
        #expect(error.problem == .unknown(.key(key, section: "authenticate.client", nearest: nil)))
        for known in SettingKey.Role.client.all { #expect(error.remedy.contains(known.name.key)) }
        #expect(error.description.utf8.count < 700)
    }

    @Test(
        "a key of a role in another section refuses the file",
        arguments: [
            "authenticate", "authentication", "main", "debug", "nfsd", "authenticate.nfsd", "listener",
        ], ["x509.truststore", "X509.Certificate", "tls.alpn", "x509.nonsense"])
    func misplaced(_ section: String, _ key: String) throws {
        let error = try refusal("\n[\(section)]\n\(key)=a\n")
        #expect(error.problem == .unknown(.misplacedKey(key, section: section)))
        #expect(error.line == 3 && error.remedy.contains("[authenticate.client], [authenticate.server]"))
    }

    static let sections: [(section: String, meant: String)] = [
        ("authenticate.sever", "authenticate.server"), ("Authenticate.Server", "authenticate.server"),
        ("authenticate.servers", "authenticate.server"), ("authenticate.cleint", "authenticate.client"),
        ("authenticate .client", "authenticate.client"), (" authenticate.client ", "authenticate.client"),
        ("autenticate", "authenticate"), ("AUTHENTICATE", "authenticate"), ("Debug", "debug"), ("limit", "limits"),
        ("namespace", "namespaces"), ("listen", "listener"), ("metric", "metrics"), ("controls", "control"),
        ("profil blue", "profile NAME"), ("Pofile blue", "profile NAME"), ("prifole.blue", "profile NAME"),
    ]

    @Test(
        "a section that differs from a known one by case, blanks or two letters refuses the file", arguments: sections)
    func nearSection(_ row: (section: String, meant: String)) throws {
        let error = try refusal("\n[\(row.section)]\n")
        #expect(error.problem == .unknown(.section(row.section, nearest: row.meant)))
        #expect(error.line == 2 && error.remedy.hasPrefix("write [\(row.meant)]"))
    }

    @Test(
        "other sections, and unknown keys elsewhere, are notices",
        arguments: [
            "[nfs]\na=b\n", "[authenticate.nfsd]\nx=y\n", "[debug]\nloglevels=1\n", "[authenticate]\nkeyring=a\n",
            "[main]\nlibdebug=1\n", "[\(String(repeating: "debug", count: 400))]\n",
        ])
    func notices(_ text: String) throws {
        #expect(try settings(text).notices.count == 1)
    }

    @Test("every key that a release of ktls-utils has known is read without an error")
    func ktlsUtils() throws {
        let role = """
            x509.truststore=/t
            x509.crl=/l
            x509.certificate=/c
            x509.private_key=/k
            x509.pq.certificate=/pc
            x509.pq.private_key=/pk
            """
        let text = """
            [main]
            debug=0
            tlsdebug=0
            libdebug=0
            nl_debug=0
            delay_done=0
            keyrings=a
            [authentication]
            keyrings=b
            [debug]
            loglevel=0
            tls=0
            nl=0
            delay_done=0
            [authenticate]
            keyrings=c;d
            [authenticate.client]
            \(role)
            [authenticate.server]
            \(role)
            """
        let settings = try settings(text)
        #expect(settings.server.trustStore?.value == "/t" && settings.client.pqPrivateKey != nil)
        // Former names, all but one of which are replaced by the present ones below.
        #expect(settings.notices.map(\.line) == [2, 3, 4, 5, 6, 7, 9])
    }

    @Test("the distance between names counts letters that are put in, left out and replaced")
    func distance() {
        for (left, right, wanted) in [
            ("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("crl", "clr", 2), ("abc", "abc", 0),
        ] { #expect(Spelling.distance(Array(left.utf8), Array(right.utf8)) == wanted) }
        #expect(Spelling.nearest(to: "abcd", in: [], within: 9) == nil)
    }
}
