import Handshake
import Testing

@Suite("Rules about peers")
struct PeerRulesTests {
    private var facts: CertificateFacts {
        var facts = CertificateFacts()
        facts.subject = "CN=node7,OU=storage,O=Example\\, Inc"
        facts.issuer = "CN=ca,O=Example\\, Inc"
        facts.names = [.dns("Node7.lab.example"), .uri("spiffe://lab/ns/storage/sa/nfs"), .other]
        if let address = NetworkAddress("192.0.2.7") { facts.names.append(.address(address)) }
        facts.sha256 = [UInt8](repeating: 1, count: 32)
        facts.keySHA256 = [UInt8](repeating: 2, count: 32)
        return facts
    }

    private func reason(_ change: (inout PeerRules) -> Void, _ facts: CertificateFacts) -> FailureReason? {
        var rules = PeerRules()
        change(&rules)
        do {
            _ = try rules.judge(facts, of: .client)
            return nil
        } catch {
            return error.reason
        }
    }

    @Test(
        "letters that Unicode takes for one another are not alike in a host's name",
        arguments: ["Kelvin.example", "*.k"])
    func lookalikes(rule: String) {
        var facts = CertificateFacts()
        facts.names = [.dns("\u{212A}elvin.example"), .dns("kelvin.\u{212A}")]
        #expect(reason({ $0.names = [.dns(rule)] }, facts) == .certificateNotAllowed)
        facts.names = [.dns("kELVIN.example"), .dns("kelvin.K")]
        #expect(reason({ $0.names = [.dns(rule)] }, facts) == nil)
    }

    @Test("without rules everybody who verified is let in")
    func none() {
        #expect(reason({ _ in }, facts) == nil)
        #expect(reason({ _ in }, CertificateFacts()) == nil)
    }

    @Test("one of the pins must fit, of the certificate or of its key")
    func pins() {
        let (one, two) = ([UInt8](repeating: 1, count: 32), [UInt8](repeating: 2, count: 32))
        #expect(reason({ $0.pins = [Pin(.certificate, two), Pin(.certificate, one)] }, facts) == nil)
        #expect(reason({ $0.pins = [Pin(.key, two)] }, facts) == nil)
        #expect(reason({ $0.pins = [Pin(.key, one), Pin(.certificate, two)] }, facts) == .certificateNotPinned)
        // A certificate whose digests the library could not make has none that fits.
        #expect(reason({ $0.pins = [Pin(.certificate, [])] }, facts) == .certificateNotPinned)
    }

    static let names: [(AllowedName?, Bool)] = [
        (.dns("node7.LAB.example"), true), (.dns("*.lab.example"), true), (.dns("*.example"), false),
        (.dns("lab.example"), false), (.dns("192.0.2.7"), false),
        (NetworkPrefix("192.0.2.0/24").map { .address($0) }, true),
        (NetworkPrefix("192.0.2.8").map { .address($0) }, false),
        (.uri(TextPattern("spiffe://lab/ns/storage/*")), true), (.uri(TextPattern("spiffe://lab/ns/web/*")), false),
        (.uri(TextPattern("spiffe://lab/ns/storage")), false), (.email(TextPattern("*")), false),
    ]

    @Test("one of its names must be allowed, and only a name of the same kind is", arguments: names)
    func allowedNames(_ name: AllowedName?, _ isAllowed: Bool) throws {
        let name = try #require(name)
        #expect(reason({ $0.names = [name] }, facts) == (isAllowed ? nil : .certificateNotAllowed))
    }

    @Test("one of the patterns must fit the subject, and one the issuer", arguments: [true, false])
    func subjects(_ isAllowed: Bool) {
        let name = isAllowed ? "CN=node*,OU=*,O=Example*" : "CN=node*,O=Example*"
        let rule = ["CN=other", name].compactMap(NamePattern.init)
        #expect(rule.count == 2)
        #expect(reason({ $0.subjects = rule }, facts) == (isAllowed ? nil : .certificateNotAllowed))
        var turned = facts
        (turned.subject, turned.issuer) = (turned.issuer, turned.subject)
        #expect(reason({ $0.issuers = rule }, turned) == (isAllowed ? nil : .certificateNotAllowed))
    }

    @Test("rules of different kinds must all hold")
    func all() {
        let wrong = ["CN=other"].compactMap(NamePattern.init)
        #expect(
            reason(
                {
                    $0.names = [.dns("*.lab.example")]
                    $0.subjects = wrong
                }, facts) == .certificateNotAllowed)
    }

    static let purposes: [([String]?, Bool)] = [
        (nil, false), (["1.3.6.1.5.5.7.3.2"], false), ([Purpose.rpcTLSServer], false), ([Purpose.rpcTLSClient], true),
        ([Purpose.any], true),
    ]

    @Test("a purpose is not looked at, told, or demanded", arguments: purposes)
    func purpose(_ purposes: [String]?, _ isFit: Bool) throws {
        var facts = self.facts
        facts.purposes = purposes
        #expect(reason({ $0.purpose = .off }, facts) == nil)
        // That is judged with the chain.
        #expect(reason({ $0.purpose = .standard }, facts) == nil)
        #expect(reason({ $0.purpose = .enforce }, facts) == (isFit ? nil : .certificatePurposeMismatch))
        var rules = PeerRules()
        rules.purpose = .log
        #expect(try rules.judge(facts, of: .client).isEmpty == isFit)
    }

    static let roles: [([String]?, client: Bool, server: Bool)] = [
        (nil, true, true), ([], false, false), (["1.3.6.1.5.5.7.3.1"], false, true),
        (["1.3.6.1.5.5.7.3.2"], true, false), ([Purpose.rpcTLSServer], false, true),
        ([Purpose.rpcTLSClient], true, false), ([Purpose.any], true, true), (["1.3.6.1.5.5.7.3.3"], false, false),
        (["1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.1"], false, true),
    ]

    @Test("the purposes of TLS and of RFC 9289 allow a role, and so does their absence", arguments: roles)
    func standardPurpose(_ purposes: [String]?, client: Bool, server: Bool) {
        #expect(Purpose.allow(purposes, .client) == client)
        #expect(Purpose.allow(purposes, .server) == server)
    }

    @Test("a protocol that was not offered is told, or refused")
    func unoffered() throws {
        for strictness in Strictness.allCases {
            var rules = PeerRules()
            rules.applicationProtocol = strictness
            if strictness == .enforce {
                let error = #expect(throws: HandshakeFailure.self) { try rules.judge(unoffered: "h2") }
                #expect(error?.reason == .applicationProtocolMismatch)
            } else {
                #expect(try rules.judge(unoffered: "h2") == ["the server chose ALPN h2, which was not offered"])
            }
        }
    }

    @Test("an application protocol is not looked at, told, or demanded")
    func applicationProtocol() throws {
        var rules = PeerRules()
        #expect(try rules.judge(applicationProtocol: "", wanted: "sunrpc").isEmpty)
        rules.applicationProtocol = .log
        #expect(try rules.judge(applicationProtocol: "", wanted: "sunrpc").count == 1)
        rules.applicationProtocol = .enforce
        #expect(try rules.judge(applicationProtocol: "sunrpc", wanted: "sunrpc").isEmpty)
        #expect(throws: HandshakeFailure.self) { try rules.judge(applicationProtocol: "", wanted: "sunrpc") }
    }

    static let globs: [(String, String, Bool)] = [
        ("", "", true), ("", "a", false), ("*", "", true), ("*", "a,b", true), ("?", "", false), ("?", "é", true),
        ("a*b*c", "aXbYbc", true), ("a*b*c", "aXbYb", false), ("**a", "ba", true), ("a?c", "abc", true),
        ("A", "a", false), ("*a*a*a*b", String(repeating: "a", count: 200), false),
    ]

    static let escapedGlobs: [(String, String, Bool)] = [
        ("CN=*,O=Good", "CN=evil\\,O=Good", false), ("CN=*,O=Good", "CN=a,OU=b,O=Good", true),
        ("CN=a?b", "CN=a\\,b", true), ("CN=a??b", "CN=a\\,b", false), ("*\\,*", "CN=a\\,b", true),
        ("CN=a\\\\*", "CN=a\\\\b", true), ("CN=a\\", "CN=a\\", true), ("CN=*\\*", "CN=a\\,b", false),
    ]

    @Test("in the text of a name an escape is one character", arguments: escapedGlobs)
    func escapedGlob(_ pattern: String, _ name: String, _ isMatch: Bool) {
        #expect(TextPattern(pattern).matches(name: name) == isMatch)
    }

    @Test("a pattern must match the whole text", arguments: globs)
    func glob(_ pattern: String, _ text: String, _ isMatch: Bool) {
        #expect(TextPattern(pattern).matches(text) == isMatch)
    }

    static let addresses: [(String, String)] = [
        ("192.0.2.1", "192.0.2.1"), ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"), ("::", "::"), ("::1", "::1"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"), ("fe80::", "fe80::"),
        ("::ffff:192.0.2.1", "192.0.2.1"), ("0:0:0:0:0:ffff:c000:201", "192.0.2.1"),
        ("::fffe:c000:201", "::fffe:c000:201"),
    ]

    @Test("an address has one text", arguments: addresses)
    func addressText(_ given: String, _ text: String) {
        #expect(NetworkAddress(given)?.description == text)
        #expect(PeerName(given).description == text && PeerName("[\(given)%eth0]") == PeerName(text))
        let address = NetworkAddress(given)
        #expect(address.flatMap { NetworkAddress(binary: $0.mapped) } == address && address?.mapped.count == 16)
    }

    static let peerNames: [(String, PeerName)] = [
        ("192.0.2.1", .address(Self.address([192, 0, 2, 1]))),
        ("192.0.2.1.", .address(Self.address([192, 0, 2, 1]))),
        ("[2001:db8::1]", .address(Self.address([0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]))),
        ("fe80::1%eth0", .address(Self.address([0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]))),
        ("nfs.example.", .dns("nfs.example")), ("nfs", .dns("nfs")), ("192.0.2", .dns("192.0.2")),
    ]

    private static func address(_ bytes: [UInt8]) -> NetworkAddress {
        guard let address = NetworkAddress(binary: bytes) else { fatalError("\(bytes)") }
        return address
    }

    @Test("addresses and names are told apart", arguments: peerNames)
    func toldApart(_ text: String, _ name: PeerName) {
        #expect(PeerName(text) == name)
    }
}
