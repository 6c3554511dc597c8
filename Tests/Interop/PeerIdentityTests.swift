import CGnuTLS
import Glibc
import Handshake
import TestSupport
import Testing
import Wire

@testable import Inspect
@testable import TLS
@testable import X509

/// Who a peer is by its certificate, and what its certificate is good for: names, addresses, purposes, sizes of keys.
@Suite("identities of peers") struct PeerIdentityTests {
    /// A certificate made by openssl, with exactly the extensions that are given.
    private struct Made {
        var subject: String
        /// Lines of extensions as openssl writes them.
        var extensions: [String] = []
        var authority: String? = "ca"
        var isAuthority = false
        /// Bits of an RSA key; 0 for a P-256 key.
        var rsa = 0

        init(_ name: String, _ extensions: [String] = []) {
            subject = "/CN=\(name)"
            self.extensions = extensions
        }

        /// Makes `name.pem`, with the authorities between behind the leaf, and `name.key`.
        func make(_ name: String, below chain: [String] = []) throws {
            let files = Fixtures.shared
            let (key, pem) = (files.path(name + ".key"), files.path(name + ".pem"))
            let kind =
                rsa == 0
                ? ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"] : ["RSA", "-pkeyopt", "rsa_keygen_bits:\(rsa)"]
            try Command.run(["openssl", "genpkey", "-out", key, "-algorithm"] + kind)
            let basic = isAuthority ? ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"] : []
            files.write(Array((basic + extensions).joined(separator: "\n").utf8) + [0x0A], as: name + ".ext")
            try Command.run(
                ["openssl", "req", "-new", "-key", key, "-subj", subject, "-out", files.path(name + ".csr")])
            let issuer =
                authority.map { ["-CA", files.path($0 + ".pem"), "-CAkey", files.path($0 + ".key")] } ?? [
                    "-signkey", key,
                ]
            try Command.run(
                ["openssl", "x509", "-req", "-in", files.path(name + ".csr"), "-days", "3000", "-out", pem]
                    + ["-set_serial", "\(UInt32.random(in: 1 ... .max))", "-extfile", files.path(name + ".ext")]
                    + issuer)
            if !chain.isEmpty { files.join([name + ".pem"] + chain.map { $0 + ".pem" }, as: name + ".pem") }
        }
    }

    private static let names = "subjectAltName=DNS:server.test,IP:127.0.0.1"

    /// A handshake of our client with our server, which present these.
    private func shake(
        server: String = "rsa", client: String? = nil, serverRules: PeerRules = PeerRules(),
        clientRules: PeerRules = PeerRules(), peerName: String = "server.test", trust: String = "ca.pem"
    ) throws -> (client: Engine, server: Engine) {
        let (near, far) = try Loopback.pair()
        var serving = Engine.Plan.server(server)
        serving.rules = serverRules
        serving.trust = client == nil ? "ca.pem" : trust
        var asking = Engine.Plan()
        asking.rules = clientRules
        asking.peerName = peerName
        asking.trust = client == nil ? trust : "ca.pem"
        if let client {
            asking.authentication = .x509
            asking.certificate = client
        }
        return (try Engine(asking, on: near), try Engine(serving, on: far))
    }

    /// What our client says of a server.
    private func judgement(
        ofServer server: String, _ peerName: String = "server.test", trust: String = "ca.pem",
        _ change: (inout PeerRules) -> Void = { _ in }
    ) throws -> (failure: HandshakeFailure?, remarks: [String]) {
        var rules = PeerRules()
        change(&rules)
        let (client, server) = try shake(server: server, clientRules: rules, peerName: peerName, trust: trust)
        let step = client.run { _ = server.session.step() }
        let remarks = client.session.result(elapsed: .zero).remarks
        guard case .failed(let failure) = step else { return (nil, remarks) }
        #expect(client.session.alertSent == failure.reason.row.alert)
        return (failure, remarks)
    }

    /// What our server says of a client.
    private func judgement(
        ofClient client: String, trust: String = "ca.pem", _ change: (inout PeerRules) -> Void = { _ in }
    ) throws -> (failure: HandshakeFailure?, remarks: [String]) {
        var rules = PeerRules()
        change(&rules)
        let (client, server) = try shake(client: client, serverRules: rules, trust: trust)
        let step = server.run { _ = client.session.step() }
        let remarks = server.session.result(elapsed: .zero).remarks
        guard case .failed(let failure) = step else { return (nil, remarks) }
        #expect(server.session.alertSent == failure.reason.row.alert)
        return (failure, remarks)
    }

    // MARK: Subjects

    @Test("a value with a comma is one part of a name, whatever it looks like")
    func comma() throws {
        try Made("evil,O=Good").make("evil")
        var good = Made("a")
        good.subject = "/O=Good/CN=evil, or not"
        try good.make("good")
        for (certificate, isAllowed) in [("evil", false), ("good", true)] {
            let failure = try judgement(ofClient: certificate) {
                $0.subjects = ["CN=*,O=Good"].compactMap(NamePattern.init)
            }.failure
            #expect(failure?.reason == (isAllowed ? nil : .certificateNotAllowed), "\(certificate)")
        }
        var tags = SessionTags()
        tags.filters = [.subject(TextPattern("CN=*,O=Good"))]
        tags.tags = [SessionTag(name: "good", required: [0], excluded: [])]
        #expect(tags.names(for: try Certificate(der: Fixtures.shared.der("evil.pem")).facts).isEmpty)
        #expect(tags.names(for: try Certificate(der: Fixtures.shared.der("good.pem")).facts) == ["good"])
    }

    @Test("the library's text of a name is read back: its own pattern fits it, with every kind of character and type")
    func texts() throws {
        try #require(Engine.isStarted)
        let subjects = [
            "/C=DE/ST=a+b/O=Ex, Inc/OU=<x>;\"y\"/CN= lead and trail /emailAddress=a@b", "/CN=#hash/UID=7+CN=two/DC=a",
            "/2.5.4.97=NTR-1/serialNumber=5/SN=s/GN=g/title=t/street=s 1/postalCode=1/CN=back\\\\slash=1",
        ]
        for (index, subject) in subjects.enumerated() {
            var made = Made("x")
            made.subject = subject
            try made.make("text-\(index)")
            let text = try Certificate(der: Fixtures.shared.der("text-\(index).pem")).subject
            let pattern = try #require(NamePattern(text), "\(text)")
            #expect(pattern.matches(text), "\(text)")
        }
    }

    // MARK: Purposes

    static let purposes: [(usage: String?, server: Bool, client: Bool)] = [
        (nil, true, true), ("serverAuth", true, false), ("clientAuth", false, true),
        ("serverAuth,clientAuth", true, true),
        ("1.3.6.1.5.5.7.3.34", true, false), ("1.3.6.1.5.5.7.3.33", false, true), ("anyExtendedKeyUsage", true, true),
        ("codeSigning", false, false), ("emailProtection,codeSigning", false, false),
    ]

    private static func usage(_ text: String?) -> [String] { text.map { ["extendedKeyUsage=\($0)"] } ?? [] }

    @Test("where the extended key usage is there, it must allow the peer's role", arguments: purposes)
    func leafPurpose(_ usage: String?, _ server: Bool, _ client: Bool) throws {
        let name = "leaf-\(usage ?? "none")".replacing(",", with: "-")
        try Made(name, [Self.names] + Self.usage(usage)).make(name)
        #expect(try judgement(ofServer: name).failure?.reason == (server ? nil : .certificatePurposeMismatch))
        #expect(try judgement(ofClient: name).failure?.reason == (client ? nil : .certificatePurposeMismatch))
        #expect(try judgement(ofServer: name) { $0.purpose = .off }.failure == nil)
        #expect(try judgement(ofClient: name) { $0.purpose = .log }.failure == nil)
    }

    @Test(
        "an intermediate's extended key usage must allow it, too; each certificate by any of the purposes",
        arguments: purposes)
    func intermediatePurpose(_ usage: String?, _ server: Bool, _ client: Bool) throws {
        let name = "middle-\(usage ?? "none")".replacing(",", with: "-")
        var middle = Made(name, Self.usage(usage))
        middle.isAuthority = true
        try middle.make(name)
        var leaf = Made("below", [Self.names] + Self.usage("serverAuth,clientAuth"))
        leaf.authority = name
        try leaf.make("below-" + name, below: [name])
        let judged = try judgement(ofServer: "below-" + name).failure
        #expect(judged?.reason == (server ? nil : .certificatePurposeMismatch))
        #expect(judged?.detail.hasPrefix("CN=\(name) is for ") ?? true, "\(judged?.detail ?? "")")
        #expect(
            try judgement(ofClient: "below-" + name).failure?.reason == (client ? nil : .certificatePurposeMismatch))
        #expect(try judgement(ofServer: "below-" + name) { $0.purpose = .off }.failure == nil)
        var any = Made("any-below", [Self.names] + Self.usage("anyExtendedKeyUsage"))
        any.authority = name
        try any.make("any-below-" + name, below: [name])
        let enforced = try judgement(ofServer: "any-below-" + name) { $0.purpose = .enforce }.failure
        #expect(enforced?.reason == (server ? nil : .certificatePurposeMismatch))
        // Of an authority that we trust ourselves nothing is asked.
        Fixtures.shared.join(["ca.pem", name + ".pem"], as: "trusted-" + name)
        #expect(try judgement(ofServer: "below-" + name, trust: "trusted-" + name).failure == nil)
    }

    @Test("a pinned certificate is asked for its own purpose alone")
    func pinned() throws {
        var made = Made("pinned-signer", Self.usage("codeSigning"))
        made.authority = nil
        try made.make("pinned-signer")
        let facts = try Certificate(der: Fixtures.shared.der("pinned-signer.pem")).facts
        for (purpose, reason) in [(PurposeRule.standard, FailureReason.certificatePurposeMismatch), (.off, nil)] {
            var plan = Engine.Plan()
            plan.trust = nil
            plan.rules.pins = [Pin(.certificate, facts.sha256)]
            plan.rules.purpose = purpose
            let (near, far) = try Loopback.pair()
            let (client, server) = (try Engine(plan, on: near), try Engine(.server("pinned-signer"), on: far))
            let step = client.run { _ = server.session.step() }
            guard let reason else {
                guard case .finished = step else { throw Unexpected(step) }
                continue
            }
            guard case .failed(let failure) = step else { throw Unexpected(step) }
            #expect(failure.reason == reason)
        }
    }

    private struct Unexpected: Error {
        init(_ step: HandshakeSession.Step) { print("unexpected: \(step)") }
    }

    // MARK: Addresses

    @Test("an IPv4 address mapped into IPv6 is the IPv4 address, in the peer's name and in its certificate")
    func mapped() throws {
        let names = ["192.0.2.7", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]", "0:0:0:0:0:ffff:c000:207"]
        for (name, address, isSame) in [
            ("plain", "192.0.2.7", true), ("mapped", "::ffff:192.0.2.7", true), ("other", "192.0.2.8", false),
            ("other-mapped", "::ffff:192.0.2.8", false), ("compatible", "::192.0.2.7", false),
        ] {
            let file = "address-" + name
            try Made(file, ["subjectAltName=IP:\(address)"]).make(file)
            for peerName in names {
                let failure = try judgement(ofServer: file, peerName).failure
                #expect(failure?.reason == (isSame ? nil : .certificateNameMismatch), "\(peerName), \(name)")
                #expect(failure?.detail.hasPrefix("wanted 192.0.2.7; CN=\(file) carries IP:") ?? true)
            }
            let rule = try #require(NetworkPrefix("::ffff:192.0.2.7"))
            let allowed = try judgement(ofServer: file, address) { $0.names = [.address(rule)] }.failure
            #expect(allowed?.reason == (isSame ? nil : .certificateNotAllowed), "\(name)")
        }
    }

    @Test("name constraints for IPv4 concern an address mapped into IPv6 as well")
    func constrained() throws {
        for (authority, constraint) in [
            ("permits", "permitted;IP:192.0.2.0/255.255.255.0"), ("excludes", "excluded;IP:198.51.100.0/255.255.255.0"),
        ] {
            var made = Made(authority, ["nameConstraints=critical,\(constraint)"])
            made.isAuthority = true
            try made.make(authority)
            for (name, address) in [("in", "192.0.2.7"), ("out", "198.51.100.7")] {
                for form in ["", "::ffff:"] {
                    let file = "\(authority)-\(name)-\(form.isEmpty ? "plain" : "mapped")"
                    var leaf = Made(file, ["subjectAltName=IP:\(form)\(address)"])
                    leaf.authority = authority
                    try leaf.make(file, below: [authority])
                    let failure = try judgement(ofServer: file, address).failure
                    #expect(failure?.reason == (name == "in" ? nil : .certificateInvalid), "\(file)")
                    let rule = try #require(NetworkPrefix("198.51.100.0/24"))
                    let allowed = try judgement(ofServer: file, address) { $0.names = [.address(rule)] }.failure
                    #expect(allowed?.reason == (name == "in" ? .certificateNotAllowed : .certificateInvalid), "\(file)")
                }
            }
        }
    }

    // MARK: The common name

    static let alternatives: [String?] = [
        nil, "email:a@b.test", "URI:spiffe://a", "IP:192.0.2.7", "dirName:directory", "RID:1.2.3.4",
        "otherName:1.2.3;UTF8:a", "DNS:other.test",
    ]

    @Test("the common name counts only where there is no subjectAltName of any kind", arguments: alternatives)
    func commonName(_ alternative: String?) throws {
        let file = "common-" + (alternative ?? "none").filter(\.isLetter)
        let lines = alternative.map { ["subjectAltName=\($0)", "[directory]", "O=a"] } ?? []
        try Made("common.test", lines).make(file)
        let failure = try judgement(ofServer: file, "common.test").failure
        #expect(failure?.reason == (alternative == nil ? nil : .certificateNameMismatch))
        // The table says what the handshake does.
        let match = CertificateList([try Certificate(der: Fixtures.shared.der(file + ".pem"))]).match("common.test")
        #expect(match.matches == (failure == nil))
        #expect(match.candidates.contains(where: \.matches) == match.matches, "\(match.candidates)")
    }

    // MARK: Sizes of RSA keys

    @Test("RSA keys below 2048 bits are told, of leaf, intermediate and root, and those below the floor refused")
    func sizes() throws {
        let chains: [(name: String, root: Int, middle: Int, leaf: Int, told: String)] = [
            ("strong", 2048, 2048, 2048, ""), ("leaf", 2048, 2048, 1024, "CN=strength-leaf-leaf"),
            ("middle", 2048, 1024, 2048, "CN=strength-middle-middle"),
            ("root", 1024, 2048, 2048, "CN=strength-root-root"),
            ("elliptic", 0, 0, 0, ""),
        ]
        for chain in chains {
            let name = "strength-\(chain.name)"
            for (part, bits, above) in [
                ("root", chain.root, nil), ("middle", chain.middle, "root"), ("leaf", chain.leaf, "middle"),
            ] {
                var made = Made("\(name)-\(part)", part == "leaf" ? [Self.names] : [])
                made.authority = above.map { "\(name)-\($0)" }
                made.isAuthority = part != "leaf"
                made.rsa = bits
                try made.make("\(name)-\(part)", below: part == "leaf" ? ["\(name)-middle"] : [])
            }
            let trust = "\(name)-root.pem"
            for (good, refused) in [
                (
                    try judgement(ofServer: "\(name)-leaf", trust: trust),
                    try judgement(ofServer: "\(name)-leaf", trust: trust) { $0.leastRSABits = 2048 }
                ),
                (
                    try judgement(ofClient: "\(name)-leaf", trust: trust),
                    try judgement(ofClient: "\(name)-leaf", trust: trust) { $0.leastRSABits = 2048 }
                ),
            ] {
                // Some libraries' policies take none below 2048 bits by themselves.
                if good.failure == nil {
                    let told = chain.told.isEmpty ? [] : ["\(chain.told) has an RSA key of 1024 bits, less than 2048"]
                    #expect(good.remarks == told)
                } else {
                    #expect(good.failure?.reason == .certificateInsecureAlgorithm && !chain.told.isEmpty)
                }
                #expect(
                    refused.failure?.reason == (chain.told.isEmpty ? nil : .certificateInsecureAlgorithm), "\(name)")
                #expect(
                    refused.failure?.detail
                        == (chain.told.isEmpty
                            ? nil : "\(chain.told) has an RSA key of 1024 bits, and x509.rsa.minimum is 2048"))
            }
        }
        let weak = try Engine.credentials(.client, [(.trustStore, "strength-root-root.pem")])
        #expect(weak.summary.hasPrefix("WARNING: in the trust store CN=strength-root-root has an RSA key of 1024 bits"))
        #expect(weak.facts.warning.hasPrefix("in the trust store CN=strength-root-root has an RSA key of 1024 bits"))
    }

    @Test("a peer's RSA key below 1024 bits is refused with that reason, whatever the settings say")
    func tiny() throws {
        var root = Made("tiny-root")
        (root.authority, root.isAuthority, root.rsa) = (nil, true, 768)
        try root.make("tiny-root")
        var leaf = Made("tiny-leaf", [Self.names])
        leaf.authority = "tiny-root"
        try leaf.make("tiny-leaf")
        let failure = try judgement(ofServer: "tiny-leaf", trust: "tiny-root.pem").failure
        #expect(failure?.reason == .certificateInsecureAlgorithm)
        #expect(failure?.detail == "CN=tiny-root has an RSA key of 768 bits, and x509.rsa.minimum is 1024")
    }

    @Test("an own RSA key that is too small is refused when it is loaded, a small one is warned of")
    func own() throws {
        for (bits, least) in [(512, UInt16(1024)), (1024, 1024), (1024, 2048), (2048, 2048)] {
            let name = "own-\(bits)"
            var made = Made(name, [Self.names])
            made.rsa = bits
            try made.make(name)
            let files = [
                (CredentialKind.trustStore, "ca.pem"), (.certificate, name + ".pem"), (.privateKey, name + ".key"),
            ]
            var rules = PeerRules()
            rules.leastRSABits = least
            guard bits >= Int(least) else {
                let error = #expect(throws: TextError.self) { _ = try Engine.credentials(.server, files, rules) }
                #expect(
                    error?.description
                        == "certificate \(Fixtures.shared.path(name + ".pem")) cannot be used: CN=\(name) has an RSA key of "
                        + "\(bits) bits, and x509.rsa.minimum is \(least); reissue it with a key of 2048 bits or more")
                continue
            }
            let summary = try Engine.credentials(.server, files, rules).summary
            #expect(
                summary.hasPrefix("WARNING: CN=\(name) has an RSA key of \(bits) bits") == (bits < 2048), "\(summary)")
        }
    }

    @Test("a request's own certificate with an RSA key that is too small fails with that reason")
    func ofRequest() throws {
        var made = Made("request-512", [Self.names])
        made.rsa = 512
        try made.make("request-512")
        let files = Fixtures.shared
        try Command.run(
            [
                "openssl", "pkey", "-in", files.path("request-512.key"), "-outform", "DER", "-out",
                files.path("request-512.raw"),
            ])
        var plan = Engine.Plan()
        plan.authentication = .x509
        plan.usesSigner = false
        plan.requestCertificate = files.der("request-512.pem")
        plan.requestKey = files.bytes("request-512.raw")
        let (near, far) = try Loopback.pair()
        defer { close(far) }
        let failure = #expect(throws: HandshakeFailure.self) { _ = try Engine(plan, on: near) }
        #expect(failure?.reason == .certificateUnreadable)
        #expect(
            failure?.detail.contains("CN=request-512 has an RSA key of 512 bits, and x509.rsa.minimum is 1024") == true)
    }

    // MARK: Application protocols

    @Test(
        "a server that answers with a protocol which was not offered is told of, or refused",
        arguments: Strictness.allCases)
    func unofferedProtocol(_ strictness: Strictness) throws {
        var rules = PeerRules()
        rules.applicationProtocol = strictness
        let (client, server) = try shake(clientRules: rules)
        unsafe gnutls_handshake_set_post_client_hello_function(server.session.session, chooseAnotherProtocol)
        let step = client.run { _ = server.session.step() }
        if strictness == .enforce {
            guard case .failed(let failure) = step else { throw Unexpected(step) }
            #expect(failure.reason == .applicationProtocolMismatch)
            #expect(failure.detail == "the server chose ALPN sunRPC, which was not offered")
            #expect(client.session.alertSent == .noApplicationProtocol)
            _ = server.session.step()
            #expect(server.session.alertReceived == .noApplicationProtocol)
        } else {
            guard case .finished(let negotiated) = step else { throw Unexpected(step) }
            #expect(negotiated.applicationProtocol.isEmpty)
            let remarks = client.session.result(elapsed: .zero).remarks
            #expect(remarks == ["the server chose ALPN sunRPC, which was not offered"])
        }
    }
}

/// Makes GnuTLS' server, which has chosen the client's protocol already, answer with another of the same length: what
/// it chose is a pointer into the list that this overwrites.
private func chooseAnotherProtocol(_ session: gnutls_session_t?) -> Int32 {
    let name = Array("sunRPC".utf8)
    return unsafe name.withUnsafeBytes { raw in
        var datum = unsafe gnutls_datum_t(
            data: UnsafeMutablePointer(mutating: raw.baseAddress?.assumingMemoryBound(to: UInt8.self)),
            size: UInt32(raw.count))
        return unsafe gnutls_alpn_set_protocols(session, &datum, 1, 0)
    }
}
