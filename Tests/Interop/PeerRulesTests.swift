import CGnuTLS
import Handshake
import TestSupport
import Testing
import Wire

@testable import TLS
@testable import X509

/// What the settings ask of peers, against real ones.
@Suite("rules about peers") struct PeerRulesInteropTests {
    private func facts(_ name: String) throws -> CertificateFacts {
        try #require(Engine.isStarted)
        return try Certificate(der: Fixtures.shared.der(name + ".pem")).facts
    }

    // MARK: Pins

    @Test("a self-signed server is let in by the digest of its certificate or key, with no trust store and no name")
    func appliance() throws {
        let facts = try facts("appliance")
        for pin in [Pin(.certificate, facts.sha256), Pin(.key, facts.keySHA256)] {
            let (program, port) = try Peers.opensslServer(certificate: "appliance")
            defer { _ = program }
            var plan = Engine.Plan()
            plan.trust = nil
            plan.peerName = "192.0.2.99"
            plan.rules.pins = [pin]
            let engine = try Engine(plan, on: Loopback.connect(port))
            let negotiated = try #require(engine.success())
            #expect(negotiated.peerAuthenticated)
            engine.checkDataBothWays()
        }
    }

    @Test("another certificate than the pinned one is refused, and its digests are told")
    func otherAppliance() throws {
        let (program, port) = try Peers.opensslServer(certificate: "ecdsa")
        var plan = Engine.Plan()
        plan.trust = nil
        plan.rules.pins = [Pin(.certificate, try facts("appliance").sha256)]
        let failure = try #require(try Engine(plan, on: Loopback.connect(port)).failure())
        #expect(failure.reason == .certificateNotPinned)
        #expect(failure.detail.contains("sha256:" + hexadecimal(try facts("ecdsa").sha256)))
        #expect(program.wait(for: "certificate unknown"), "\(program.text)")
    }

    @Test("a pinned certificate that has expired is refused all the same")
    func expiredAppliance() throws {
        let (program, port) = try Peers.opensslServer(certificate: "old-appliance")
        defer { _ = program }
        var plan = Engine.Plan()
        plan.trust = nil
        plan.rules.pins = [Pin(.certificate, try facts("old-appliance").sha256)]
        let failure = try #require(try Engine(plan, on: Loopback.connect(port)).failure())
        #expect(failure == HandshakeFailure(.certificateExpired, "CN=old-appliance expired on 2021-11-02"))
    }

    @Test("with a trust store a pin is asked for besides chain and name, not in their place")
    func pinAndTrust() throws {
        for (certificate, peerName, reason) in [
            ("ecdsa", "server.test", nil), ("ecdsa", "other.test", FailureReason.certificateNameMismatch),
            ("stranger", "server.test", .certificateUnknownAuthority), ("rsa", "server.test", .certificateNotPinned),
        ] {
            let (program, port) = try Peers.opensslServer(certificate: certificate)
            defer { _ = program }
            var plan = Engine.Plan()
            plan.peerName = peerName
            plan.rules.pins = [Pin(.key, try facts("ecdsa").keySHA256), Pin(.key, try facts("stranger").keySHA256)]
            let engine = try Engine(plan, on: Loopback.connect(port))
            if let reason {
                #expect(engine.failure()?.reason == reason)
            } else {
                #expect(engine.success() != nil)
            }
        }
    }

    @Test("a server lets in a pinned client that nobody signed for", arguments: [true, false])
    func pinnedClient(_ isPinned: Bool) throws {
        let (program, socket) = try Peers.gnutlsClient([], certificate: "appliance")
        var plan = Engine.Plan.server()
        plan.trust = nil
        plan.rules.pins = [Pin(.key, try facts(isPinned ? "appliance" : "rsa").keySHA256)]
        let engine = try Engine(plan, on: socket)
        guard isPinned else {
            #expect(engine.failure()?.reason == .certificateNotPinned)
            return
        }
        #expect(try #require(engine.success()).peerAuthenticated)
        engine.checkDataBothWays(with: program)
    }

    @Test("neither trust store nor pin is an error, not trust in everybody")
    func nobody() throws {
        let error = #expect(throws: TextError.self) { try Engine.credentials(.client, []) }
        #expect(error?.description == "there is no trust store; install ca-certificates, or set x509.truststore")
    }

    // MARK: Allow rules

    @Test("a server lets in clients by name, subject and issuer, and tells the others that they may not")
    func allowed() throws {
        for (change, isAllowed): ((inout PeerRules) -> Void, Bool) in [
            ({ $0.names = [.dns("server.test")] }, true), ({ $0.names = [.dns("*.lab.test")] }, false),
            ({ $0.subjects = ["CN=r*"].compactMap(NamePattern.init) }, true),
            ({ $0.subjects = ["CN=e*"].compactMap(NamePattern.init) }, false),
            ({ $0.issuers = ["CN=ca"].compactMap(NamePattern.init) }, true),
            ({ $0.issuers = ["CN=other-ca"].compactMap(NamePattern.init) }, false),
        ] {
            let (program, socket) = try Peers.opensslClient(certificate: "rsa")
            var plan = Engine.Plan.server()
            change(&plan.rules)
            let engine = try Engine(plan, on: socket)
            guard !isAllowed else {
                #expect(try #require(engine.success()).peerAuthenticated)
                engine.checkDataBothWays(with: program)
                continue
            }
            #expect(engine.failure()?.reason == .certificateNotAllowed)
            #expect(engine.session.alertSent == .accessDenied)
            #expect(program.wait(for: "access denied"), "\(program.text)")
        }
    }

    @Test("a client that presents no certificate is not judged: the server's consumer decides")
    func anonymousClient() throws {
        let (program, socket) = try Peers.opensslClient()
        var plan = Engine.Plan.server()
        plan.rules.names = [.dns("nobody.test")]
        let engine = try Engine(plan, on: socket)
        #expect(try #require(engine.success()).peerAuthenticated == false)
        _ = program
    }

    // MARK: Whom a server's kernel expects

    /// What the kernel says, the client's certificate, and why it is refused.
    static let expectations: [(name: String, certificate: String?, reason: FailureReason?)] = [
        ("server.test", "rsa", nil), ("SERVER.test.", "ecdsa", nil), ("127.0.0.1", "rsa", nil), ("::1", "rsa", nil),
        ("server.test", "elsewhere", .certificateNameMismatch), ("127.0.0.1", "elsewhere", .certificateNameMismatch),
        ("other.test", "rsa", .certificateNameMismatch), ("server.test", "stranger", .certificateUnknownAuthority),
        ("server.test", nil, .certificateMissing),
    ]

    @Test("a server whose kernel names the peer lets in that peer alone", arguments: expectations)
    func expected(_ name: String, _ certificate: String?, _ reason: FailureReason?) throws {
        let (program, socket) = try Peers.opensslClient(certificate: certificate)
        var plan = Engine.Plan.server()
        plan.peerName = name
        let engine = try Engine(plan, on: socket)
        guard let reason else {
            #expect(try #require(engine.success()).peerAuthenticated)
            engine.checkDataBothWays(with: program)
            return
        }
        #expect(engine.failure()?.reason == reason)
        #expect(engine.session.alertSent == reason.row.alert)
        let told = [
            FailureReason.certificateMissing: "certificate required", .certificateNameMismatch: "bad certificate",
        ]
        #expect(program.wait(for: told[reason] ?? "unknown ca"), "\(program.text)")
    }

    @Test("that holds for a client that came before under another name, and is known")
    func expectedAgain() throws {
        let shared = try Engine.credentials(Engine.Plan.server(), nil)
        for (name, isGood) in [("server.test", true), ("other.test", false), ("server.test", true)] {
            let (program, socket) = try Peers.opensslClient(certificate: "rsa")
            defer { _ = program }
            var plan = Engine.Plan.server()
            plan.usesSigner = false
            plan.peerName = name
            let engine = try Engine(plan, on: socket, sharing: shared)
            if isGood {
                #expect(engine.success() != nil)
            } else {
                #expect(engine.failure()?.reason == .certificateNameMismatch)
            }
        }
    }

    @Test("a digest does not take the place of that name, as a server's digests are those of all its clients")
    func expectedAndPinned() throws {
        for (name, certificate, reason) in [
            ("server.test", "rsa", nil), ("server.test", "elsewhere", FailureReason.certificateNameMismatch),
            ("elsewhere.test", "elsewhere", nil), ("server.test", nil, .certificateMissing),
        ] {
            let (program, socket) = try Peers.opensslClient(certificate: certificate)
            defer { _ = program }
            var plan = Engine.Plan.server()
            plan.trust = nil
            plan.peerName = name
            plan.rules.pins = [Pin(.key, try facts("rsa").keySHA256), Pin(.key, try facts("elsewhere").keySHA256)]
            let engine = try Engine(plan, on: socket)
            if let reason {
                #expect(engine.failure()?.reason == reason)
            } else {
                #expect(engine.success() != nil)
            }
        }
    }

    @Test("a certificate can be required of clients, whatever the kernel says", arguments: [nil, "rsa", "stranger"])
    func required(_ certificate: String?) throws {
        let (program, socket) = try Peers.opensslClient(certificate: certificate)
        var plan = Engine.Plan.server()
        plan.rules.requiresCertificate = true
        let engine = try Engine(plan, on: socket)
        switch certificate {
        case nil:
            #expect(engine.failure() == HandshakeFailure(.certificateMissing, "x509.require=yes"))
            #expect(program.wait(for: "certificate required"), "\(program.text)")
        case "rsa":
            #expect(try #require(engine.success()).peerAuthenticated)
            engine.checkDataBothWays(with: program)
        default: #expect(engine.failure()?.reason == .certificateUnknownAuthority)
        }
    }

    // MARK: Strictness

    @Test(
        "the purpose of RFC 9289 is not looked at, told, or demanded", arguments: [PurposeRule.off, .log, .enforce])
    func purpose(_ strictness: PurposeRule) throws {
        for (certificate, isFit) in [("rpc-server", true), ("rpc-client", false), ("ecdsa", false)] {
            let (program, port) = try Peers.gnutlsServer(["--disable-client-cert"], certificate: certificate)
            defer { _ = program }
            var plan = Engine.Plan()
            plan.rules.purpose = strictness
            let engine = try Engine(plan, on: Loopback.connect(port))
            if strictness == .enforce, !isFit {
                #expect(engine.failure()?.reason == .certificatePurposeMismatch)
            } else {
                #expect(engine.success() != nil)
                let remarks = engine.session.result(elapsed: .zero).remarks
                #expect(remarks.isEmpty == (strictness != .log || isFit), "\(remarks)")
            }
        }
    }

    @Test("ALPN is not looked at, told, or demanded of a client", arguments: Strictness.allCases)
    func clientProtocol(_ strictness: Strictness) throws {
        for offers in [true, false] {
            let (program, socket) = try Peers.opensslClient(offers ? ["-alpn", "sunrpc"] : [])
            var plan = Engine.Plan.server()
            plan.rules.applicationProtocol = strictness
            let engine = try Engine(plan, on: socket)
            if strictness == .enforce, !offers {
                #expect(engine.failure()?.reason == .applicationProtocolMissing)
                #expect(program.wait(for: "no application protocol"), "\(program.text)")
            } else {
                #expect(engine.success() != nil)
                #expect(engine.session.result(elapsed: .zero).remarks.isEmpty == (strictness != .log || offers))
            }
        }
    }

    @Test("ALPN is not looked at, told, or demanded of a server", arguments: Strictness.allCases)
    func serverProtocol(_ strictness: Strictness) throws {
        for agrees in [true, false] {
            let (program, port) = try Peers.opensslServer(agrees ? ["-alpn", "sunrpc"] : [])
            defer { _ = program }
            var plan = Engine.Plan()
            plan.rules.applicationProtocol = strictness
            let engine = try Engine(plan, on: Loopback.connect(port))
            if strictness == .enforce, !agrees {
                #expect(engine.failure()?.reason == .applicationProtocolMissing)
            } else {
                #expect(engine.success() != nil)
                #expect(engine.session.result(elapsed: .zero).remarks.isEmpty == (strictness != .log || agrees))
            }
        }
    }

    // MARK: Several certificates

    static let choices: [(String, String)] = [
        ("ECDSA+SHA256:RSA-PSS+SHA256", "ecdsa"), ("RSA-PSS+SHA256", "rsa"), ("ed25519", "ed25519"),
        ("ECDSA+SHA384:RSA-PSS+SHA256", "p384"),
    ]

    @Test("a server presents the first certificate that its client can verify", arguments: choices)
    func severalOfServer(_ algorithms: String, _ chosen: String) throws {
        let (program, socket) = try Peers.opensslClient(["-sigalgs", algorithms])
        var plan = Engine.Plan.server()
        plan.others = ["p384", "rsa", "ed25519"]
        let engine = try Engine(plan, on: socket)
        #expect(engine.success() != nil)
        #expect(program.wait(for: "CN=\(chosen)"), "\(program.text)")
    }

    @Test("a client presents the first certificate that its server can verify", arguments: ["ecdsa", "rsa"])
    func severalOfClient(_ chosen: String) throws {
        let algorithms = chosen == "rsa" ? "RSA-PSS+SHA256" : "ECDSA+SHA256"
        let ask = [
            "-Verify", "3", "-CAfile", Fixtures.shared.path("ca.pem"), "-client_sigalgs", algorithms,
        ]
        let (program, port) = try Peers.opensslServer(ask, certificate: "rsa")
        var plan = Engine.Plan()
        plan.authentication = .x509
        plan.certificate = "ecdsa"
        plan.others = ["rsa"]
        let engine = try Engine(plan, on: Loopback.connect(port))
        #expect(engine.success() != nil)
        #expect(program.wait(for: "CN=\(chosen)"), "\(program.text)")
    }

    @Test("each pair must belong together, also one with a name")
    func mismatchedPair() throws {
        Fixtures.shared.join(["rsa.pem"], as: "half.pem")
        Fixtures.shared.join(["ecdsa.key"], as: "half.key")
        #expect(throws: TextError.self) {
            try Engine.credentials(
                .server, [(.trustStore, "ca.pem"), (.certificate, "rsa.pem"), (.privateKey, "rsa.key")],
                others: ["half"])
        }
    }

    // MARK: Session tags

    @Test("a server's verified client earns tags, one without a certificate none, and a client gives none")
    func tags() throws {
        var tags = SessionTags()
        let facts = try facts("rsa")
        tags.filters = [
            .issuer(TextPattern("CN=ca")), .fingerprint(TextPattern(hexadecimal(facts.sha256))),
            .signatureAlgorithm(TextPattern("ECDSA-SHA256")), .version(TextPattern("3")), .selfSigned,
            .keyUsage(KeyUsage(name: "digitalSignature") ?? []), .extendedKeyUsage(["1.3.6.1.5.5.7.3.2"]),
            .serialNumber(TextPattern(hexadecimal(facts.serialNumber))), .notBefore(1_577_836_800),
        ]
        tags.tags = [
            SessionTag(name: "all", required: [0, 1, 2, 3, 5, 6, 7, 8], excluded: [4]),
            SessionTag(name: "self", required: [4], excluded: []), SessionTag(name: "any", required: [], excluded: []),
        ]
        for (certificate, earned) in [("rsa", ["all", "any"]), ("ed25519", ["any"]), (nil, [])] {
            let (program, socket) = try Peers.opensslClient(certificate: certificate)
            defer { _ = program }
            var plan = Engine.Plan.server()
            plan.tags = tags
            let engine = try Engine(plan, on: socket)
            #expect(engine.success() != nil)
            #expect(engine.session.result(elapsed: .zero).tags == earned)
        }
        let (program, port) = try Peers.opensslServer(certificate: "rsa")
        defer { _ = program }
        var plan = Engine.Plan()
        plan.tags = tags
        let engine = try Engine(plan, on: Loopback.connect(port))
        #expect(engine.success() != nil)
        #expect(engine.session.result(elapsed: .zero).tags.isEmpty)
    }

    @Test("what a certificate says is read as openssl reads it")
    func factsOfCertificate() throws {
        let facts = try facts("rpc-client")
        let text = try Command.run(
            "openssl", "x509", "-in", Fixtures.shared.path("rpc-client.pem"), "-noout", "-serial", "-fingerprint",
            "-sha256", "-ext", "extendedKeyUsage"
        ).lowercased().replacing(":", with: "")
        // As an INTEGER of DER: a zero byte before a first bit that is set.
        #expect(text.contains("serial=" + hexadecimal(Array(facts.serialNumber.drop { $0 == 0 }))), "\(text)")
        #expect(text.contains("fingerprint=" + hexadecimal(facts.sha256)))
        #expect(facts.purposes?.contains(Purpose.rpcTLSClient) == true)
        #expect(facts.names.map(\.description) == ["DNS:server.test", "IP:127.0.0.1", "IP:::1"])
        #expect(facts.version == 3 && facts.sha1.count == 20 && facts.keySHA256.count == 32)
    }
}
