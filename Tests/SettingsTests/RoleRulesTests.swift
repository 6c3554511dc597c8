import Handshake
import Testing

@testable import Settings

@Suite("Rules about peers in the settings")
struct RoleRulesTests {
    private static let digest = String(repeating: "ab", count: 32)
    private static let colons = Array(repeating: "AB", count: 32).joined(separator: ":")

    @Test("every rule of a role is read, in any section that has one", arguments: ["authenticate.client", "profile p"])
    func all(_ section: String) throws {
        let settings = try settings(
            """
            [\(section)]
            x509.truststore=/t
            x509.require=yes
            x509.pin=sha256:\(Self.colons); key-sha256:\(Self.digest)
            x509.allow.san=DNS:*.lab.example;IP:192.0.2.0/24;URI:spiffe://lab/*;email:*@lab.example
            x509.allow.subject=CN=*,O=Example
            x509.allow.issuer=CN=ca
            x509.purpose=log
            x509.rsa.minimum=3072
            x509.crl=/crl
            x509.crl.missing=log
            tls.alpn=enforce
            tls.suites=TLS_AES_256_GCM_SHA384;tls_chacha20_poly1305_sha256
            tls.groups=x25519;P-384
            x509.rsa.certificate=/r.pem
            x509.rsa.private_key=/r.key
            x509.ed.private_key=/e.key
            x509.ed.certificate=/e.pem
            """)
        let role = try #require(section == "profile p" ? settings.profiles.first?.credentials : settings.client)
        let digest = [UInt8](repeating: 0xAB, count: 32)
        #expect(role.rules.pins == [Pin(.certificate, digest), Pin(.key, digest)])
        #expect(role.rules.requiresCertificate)
        #expect(role.rules.names.count == 4 && role.rules.names.first == .dns("*.lab.example"))
        #expect(role.rules.subjects.map(\.text) == ["CN=*,O=Example"])
        #expect(role.rules.issuers.map(\.text) == ["CN=ca"])
        #expect(role.rules.purpose == .log && role.rules.applicationProtocol == .enforce)
        #expect(role.rules.leastRSABits == 3072)
        #expect(role.rules.missingList == .log)
        #expect(role.limits.suites == ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
        #expect(role.limits.groups == ["X25519", "SECP384R1"])
        #expect(role.pairs.map(\.name) == ["rsa", "ed"])
        #expect(role.pairs.last?.certificate == at(.file("/e.pem"), line: 18))
        #expect(!role.verifiesByPin)
        #expect(settings.notices.allSatisfy { $0.text.contains("match rules") })
        #expect(settings.server.rules == PeerRules() && settings.server.pairs.isEmpty)
    }

    @Test("a pin takes the place of a trust store that is not named, and then a revocation list is refused")
    func pinAlone() throws {
        let text = "[authenticate.client]\nx509.pin=sha256:\(Self.digest)\n"
        #expect(try settings(text).client.verifiesByPin)
        let key = "[authenticate.client] x509.crl"
        let expected = SettingsError(
            file: "f", line: 3, column: 10, problem: .rule(.revocationWithoutTrust(key: key)))
        #expect(throws: expected) { try settings(text + "x509.crl=/c\n") }
        #expect(try !settings(text + "x509.crl=/c\nx509.truststore=/t\n").client.verifiesByPin)
    }

    static let bad: [(String, String)] = [
        ("x509.pin", "abcd"), ("x509.pin", "sha256:" + digest.dropLast()), ("x509.pin", "sha1:" + digest),
        ("x509.pin", "sha256:" + digest + "zz"), ("x509.pin", ""), ("x509.allow.san", "lab.example"),
        ("x509.allow.san", "DNS:*"), ("x509.allow.san", "DNS:a.*.b"), ("x509.allow.san", "DNS:"),
        ("x509.allow.san", "IP:192.0.2.1/24"), ("x509.allow.san", ";"), ("x509.allow.subject", "node7"),
        ("x509.allow.subject", "CN=" + String(repeating: "a", count: 254)), ("x509.purpose", "yes"),
        ("x509.purpose", "off;log"), ("x509.rsa.minimum", "512"), ("x509.rsa.minimum", "1023"),
        ("x509.rsa.minimum", "2048 bits"), ("x509.rsa.minimum", "16385"), ("x509.rsa.minimum", "+2048"),
        ("x509.allow.subject", "/C=US/O=Example"), ("x509.allow.subject", "CN=*,Example"),
        ("x509.allow.subject", "CN*"), ("x509.allow.issuer", "FOO=ca"), ("x509.allow.issuer", "CN=ca,"),
        ("x509.allow.issuer", "1.2.3.4=ca"),
        ("x509.crl.missing", "off"), ("tls.alpn", "Log"), ("tls.suites", "TLS_RSA_WITH_AES_128_CBC_SHA"),
        ("tls.groups", "SECP192R1"), ("tls.groups", ""),
        ("x509.allow.issuer", Array(repeating: "CN=a", count: 33).joined(separator: ";")),
    ]

    @Test("a value that is not understood refuses the file and is not repeated", arguments: bad)
    func refused(_ key: String, _ value: String) throws {
        let error = try #require(throws: SettingsError.self) {
            try settings("[authenticate.server]\n\(key)=\(value)\n")
        }
        #expect(error.line == 2 && error.column == key.utf8.count + 2)
        guard case .rule = error.problem else {
            Issue.record("\(error)")
            return
        }
        #expect(error.description.contains(key))
    }

    @Test("whether a certificate is required is yes or no, and no where nothing is said", arguments: ["", "maybe"])
    func required(_ bad: String) throws {
        #expect(try !settings("[authenticate.server]\n").server.rules.requiresCertificate)
        #expect(try !settings("[authenticate.server]\nx509.require=no\n").server.rules.requiresCertificate)
        #expect(throws: SettingsError.self) { try settings("[authenticate.server]\nx509.require=\(bad)\n") }
    }

    @Test("names written the wrong way round are noticed, and every other pattern is not")
    func order() throws {
        let notices = try settings(
            "[authenticate.server]\nx509.allow.subject=CN=*,O=Example;O=Example,CN=*\nx509.allow.issuer=CN=ca,O=Example\n"
        ).notices
        #expect(notices.map(\.line) == [2])
        #expect(notices.first?.text.contains("x509.allow.subject has its most specific part last") == true)
    }

    @Test("without a word the standard purposes and RSA keys from 1024 bits on are asked for")
    func defaults() throws {
        let role = try settings("[authenticate.server]\nx509.purpose=standard\n").server
        #expect(role.rules == PeerRules() && role.rules.purpose == .standard && role.rules.leastRSABits == 1024)
        let effective = try settings("").effective.filter { $0.section == "authenticate.server" }
        #expect(effective.first { $0.key == "x509.purpose" }?.value == "standard")
        #expect(effective.first { $0.key == "x509.rsa.minimum" }?.value == "1024")
    }

    @Test("there is room for six pairs with a name")
    func pairs() throws {
        func text(_ count: Int) -> String {
            "[authenticate.client]\n"
                + (0..<count).map { "x509.k\($0).certificate=/c\nx509.k\($0).private_key=/k\n" }.joined()
        }
        #expect(try settings(text(6)).client.pairs.count == 6)
        #expect(throws: SettingsError.self) { try settings(text(7)) }
    }
}
