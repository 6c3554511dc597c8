import Handshake
import TestSupport
import Testing
import Wire

@testable import TLS

/// Our client against `openssl s_server`.
@Suite("client against openssl s_server") struct OpenSSLServerTests {
    @Test(
        "every suite with every group carries data both ways",
        arguments: KernelCipher.allCases, ["P-256", "X25519", "P-384", "P-521", "X448", "ffdhe2048"])
    func suitesAndGroups(_ cipher: KernelCipher, _ group: String) throws {
        let (program, port) = try Peers.opensslServer(["-tls1_3", "-ciphersuites", cipher.suite, "-groups", group])
        defer { _ = program }
        var plan = Engine.Plan()
        // It is not offered unless settings name it.
        if group == "ffdhe2048" { plan.limits.groups = ["FFDHE2048"] }
        let engine = try Engine(plan, on: Loopback.connect(port))
        let negotiated = try #require(engine.success())
        #expect(negotiated.cipherSuite == cipher.suite)
        #expect(
            negotiated.group.contains(group.split(separator: "-").last.map(String.init)?.uppercased() ?? "") == true)
        #expect(negotiated.peerAuthenticated)
        engine.checkDataBothWays()
    }

    @Test(
        "every kind of certificate on either side carries data both ways",
        arguments: ["rsa", "ecdsa", "p521", "pss-sha384", "ed25519"],
        [nil, "rsa", "ecdsa", "p521", "pss-sha512", "ed25519"])
    func certificates(_ server: String, _ client: String?) throws {
        let ask = ["-Verify", "3", "-CAfile", Fixtures.shared.path("ca.pem"), "-verify_return_error"]
        let (program, port) = try Peers.opensslServer(client == nil ? [] : ask, certificate: server)
        defer { _ = program }
        var plan = Engine.Plan()
        if let client {
            plan.authentication = .x509
            plan.certificate = client
        }
        let engine = try Engine(plan, on: Loopback.connect(port))
        let negotiated = try #require(engine.success())
        #expect(negotiated.peerAuthenticated)
        #expect(engine.session.peerCertificate?.subject == "CN=\(server)")
        #expect(engine.session.peerCertificate?.issuer == "CN=ca")
        #expect(engine.session.presentedCertificate == (client != nil))
        engine.checkDataBothWays()
    }

    @Test(
        "the traffic secrets are had where they are wanted, make the session's keys, and are given once",
        arguments: [0, 60])
    func trafficSecrets(_ seconds: UInt32) throws {
        for cipher in KernelCipher.allCases {
            let (program, port) = try Peers.opensslServer(["-tls1_3", "-ciphersuites", cipher.suite])
            defer { _ = program }
            var plan = Engine.Plan()
            plan.keepFor = seconds
            let engine = try Engine(plan, on: Loopback.connect(port))
            _ = try #require(engine.success())
            #expect((engine.session.takeTrafficSecrets() != nil) == (seconds > 0))
            #expect(engine.session.takeTrafficSecrets() == nil)
        }
    }

    @Test("a certificate is not presented when the consumer wants none, even if one is configured")
    func anonymousPresentsNothing() throws {
        let ask = ["-verify", "3", "-CAfile", Fixtures.shared.path("ca.pem")]
        let (program, port) = try Peers.opensslServer(ask)
        defer { _ = program }
        var plan = Engine.Plan()
        plan.certificate = "rsa"
        let engine = try Engine(plan, on: Loopback.connect(port))
        _ = try #require(engine.success())
        #expect(!engine.session.presentedCertificate)
        engine.checkDataBothWays()
    }

    @Test("the request's own DER certificate is presented instead of the configured one")
    func certificateOfTheRequest() throws {
        let ask = ["-Verify", "3", "-CAfile", Fixtures.shared.path("ca.pem"), "-verify_return_error"]
        let (program, port) = try Peers.opensslServer(ask, mode: ["-rev"])
        var plan = Engine.Plan()
        plan.authentication = .x509
        plan.certificate = "rsa"
        plan.requestCertificate = Fixtures.shared.der("ed25519.pem")
        plan.requestKey = Fixtures.shared.der("ed25519.key")
        let engine = try Engine(plan, on: Loopback.connect(port))
        _ = try #require(engine.success())
        engine.checkDataBothWays()
        #expect(program.wait(for: "CN=ed25519"), "\(program.text)")
    }

    @Test(
        "a PSK with SHA-256 carries data both ways", arguments: [KernelCipher.aes128GCM, .chacha20Poly1305, .aes128CCM])
    func preSharedKey(_ cipher: KernelCipher) throws {
        let (program, port) = try Peers.opensslServer(
            ["-tls1_3", "-psk_identity", Peers.identity, "-psk", Peers.keyText, "-ciphersuites", cipher.suite],
            certificate: nil)
        defer { _ = program }
        var plan = Engine.Plan()
        plan.authentication = .preSharedKey
        plan.peerName = nil
        plan.keys = [(Peers.identity, Peers.key)]
        let engine = try Engine(plan, on: Loopback.connect(port))
        let negotiated = try #require(engine.success())
        #expect(negotiated.cipherSuite == cipher.suite)
        #expect(negotiated.peerAuthenticated)
        #expect(engine.session.pskIdentity == Peers.identity)
        engine.checkDataBothWays()
    }

    @Test(
        "the server's application protocol is taken when it is sunrpc, and its absence is tolerated",
        arguments: [true, false])
    func applicationProtocol(_ isAnswered: Bool) throws {
        let (program, port) = try Peers.opensslServer(isAnswered ? ["-alpn", "http/1.1,sunrpc"] : [])
        defer { _ = program }
        let engine = try Engine(Engine.Plan(), on: Loopback.connect(port))
        let negotiated = try #require(engine.success())
        #expect(negotiated.applicationProtocol == (isAnswered ? "sunrpc" : ""))
    }

    @Test("a hello retry request is followed")
    func helloRetry() throws {
        let (program, port) = try Peers.opensslServer(["-groups", "P-521"])
        defer { _ = program }
        let engine = try Engine(Engine.Plan(), on: Loopback.connect(port))
        _ = try #require(engine.success())
        #expect(engine.log.filter { $0.hasPrefix("sent CLIENT HELLO") }.count == 2)
        engine.checkDataBothWays()
    }

    @Test(
        "a peer name that is an address is matched and never sent", arguments: ["127.0.0.1", "::1", "[::1]", "::1%lo"])
    func addresses(_ name: String) throws {
        let (program, port) = try Peers.opensslServer([
            "-servername_fatal", "-servername", "never", "-cert2", Fixtures.shared.path("rsa.pem"), "-key2",
            Fixtures.shared.path("rsa.key"),
        ])
        defer { _ = program }
        var plan = Engine.Plan()
        plan.peerName = name
        let engine = try Engine(plan, on: Loopback.connect(port))
        _ = try #require(engine.success())
    }

    @Test("a trailing dot, upper case and wildcards match as DNS names do", arguments: ["SERVER.test.", "server.test"])
    func names(_ name: String) throws {
        let (program, port) = try Peers.opensslServer()
        defer { _ = program }
        var plan = Engine.Plan()
        plan.peerName = name
        _ = try #require(try Engine(plan, on: Loopback.connect(port)).success())
    }
}
