import Handshake
import TestSupport
import Testing
import Wire

@testable import TLS

/// Our server against `openssl s_client`.
@Suite("server against openssl s_client") struct OpenSSLClientTests {
    @Test(
        "every suite with every group carries data both ways",
        arguments: KernelCipher.allCases, ["P-256", "X25519", "P-384", "P-521", "X448", "ffdhe2048"])
    func suitesAndGroups(_ cipher: KernelCipher, _ group: String) throws {
        let (program, socket) = try Peers.opensslClient(["-ciphersuites", cipher.suite, "-groups", group])
        var plan = Engine.Plan.server()
        // Nobody takes it without being told to.
        if group == "ffdhe2048" { plan.limits.groups = ["FFDHE2048"] }
        let engine = try Engine(plan, on: socket)
        let negotiated = try #require(engine.success())
        #expect(negotiated.cipherSuite == cipher.suite)
        #expect(!negotiated.peerAuthenticated)
        engine.checkDataBothWays(with: program)
    }

    @Test(
        "every kind of certificate on either side carries data both ways",
        arguments: ["rsa", "ecdsa", "p521", "pss-sha384", "ed25519"],
        [nil, "rsa", "ecdsa", "p521", "pss-sha512", "ed25519"])
    func certificates(_ server: String, _ client: String?) throws {
        let (program, socket) = try Peers.opensslClient(certificate: client)
        let engine = try Engine(.server(server), on: socket)
        let negotiated = try #require(engine.success())
        #expect(negotiated.peerAuthenticated == (client != nil))
        #expect(engine.session.peerCertificate?.subject == client.map { "CN=\($0)" })
        engine.checkDataBothWays(with: program)
    }

    @Test(
        "a PSK with SHA-256 carries data both ways", arguments: [KernelCipher.aes128GCM, .chacha20Poly1305, .aes128CCM])
    func preSharedKey(_ cipher: KernelCipher) throws {
        let (program, socket) = try Peers.opensslClient(
            ["-psk_identity", Peers.identity, "-psk", Peers.keyText, "-ciphersuites", cipher.suite])
        let engine = try Engine(.server(keys: [("another", [1, 2, 3]), (Peers.identity, Peers.key)]), on: socket)
        let negotiated = try #require(engine.success())
        #expect(negotiated.cipherSuite == cipher.suite)
        #expect(negotiated.peerAuthenticated)
        #expect(engine.session.pskIdentity == Peers.identity)
        engine.checkDataBothWays(with: program)
    }

    @Test("a hello retry request works, with certificates and with PSKs", arguments: [false, true])
    func helloRetry(_ usesKey: Bool) throws {
        let key = ["-psk_identity", Peers.identity, "-psk", Peers.keyText, "-ciphersuites", "TLS_AES_128_GCM_SHA256"]
        let (program, socket) = try Peers.opensslClient(usesKey ? key : [])
        var plan = Engine.Plan.server()
        plan.authentication = usesKey ? .preSharedKey : .x509
        plan.keys = [(Peers.identity, Peers.key)]
        plan.restriction = ":-GROUP-ALL:+GROUP-SECP521R1"
        let engine = try Engine(plan, on: socket)
        let negotiated = try #require(engine.success())
        #expect(negotiated.group == "SECP521R1")
        #expect(engine.log.filter { $0.hasPrefix("received CLIENT HELLO") }.count == 2)
        engine.checkDataBothWays(with: program)
    }

    @Test("sunrpc is chosen from what the client offers")
    func applicationProtocol() throws {
        let (program, socket) = try Peers.opensslClient(["-alpn", "h2,sunrpc"])
        let negotiated = try #require(try Engine(.server(), on: socket).success())
        #expect(negotiated.applicationProtocol == "sunrpc")
        _ = program
    }

    @Test("a client that offers other application protocols only is refused with no_application_protocol")
    func otherProtocols() throws {
        let (program, socket) = try Peers.opensslClient(["-alpn", "h2,http/1.1"])
        let engine = try Engine(.server(), on: socket)
        let failure = try #require(engine.failure())
        #expect(failure.reason == .applicationProtocolMismatch)
        #expect(failure.detail == "it offers h2, http/1.1, not sunrpc")
        #expect(program.wait(for: "alert number 120"), "\(program.text)")
    }

    @Test("no authority is named in the certificate request, and no ticket is sent")
    func noAuthoritiesNoTickets() throws {
        let (program, socket) = try Peers.opensslClient(["-msg"])
        let engine = try Engine(.server(), on: socket)
        _ = try #require(engine.success())
        engine.checkDataBothWays(with: program)
        #expect(engine.log.contains { $0.hasPrefix("sent CERTIFICATE REQUEST") })
        let request = engine.log.first { $0.hasPrefix("sent CERTIFICATE REQUEST") }?.split(separator: " ").compactMap {
            Int($0)
        }.first
        #expect((request ?? 1000) < 200)
        #expect(!program.text.contains("NewSessionTicket"))
        #expect(program.text.contains("CertificateRequest"))
    }

    @Test("a client of TLS 1.2 is refused with protocol_version")
    func oldVersion() throws {
        let (program, socket) = try Peers.opensslClient(version: "-tls1_2")
        let engine = try Engine(.server(), on: socket)
        let failure = try #require(engine.failure())
        #expect(failure.reason == .protocolVersionUnsupported)
        #expect(engine.session.alertSent == .protocolVersion)
        #expect(program.wait(for: "alert number 70"), "\(program.text)")
    }

    @Test(
        "ends without a common suite or group fail with handshake_failure",
        arguments: [
            (["-ciphersuites", "TLS_AES_256_GCM_SHA384"], FailureReason.noCommonCipherSuite),
            (["-groups", "P-384:P-521"], .noCommonGroup),
        ])
    func nothingInCommon(_ arguments: [String], _ reason: FailureReason) throws {
        let (program, socket) = try Peers.opensslClient(arguments)
        var plan = Engine.Plan.server()
        plan.ciphers = [.aes128GCM]
        plan.restriction = ":-GROUP-ALL:+GROUP-X25519"
        let engine = try Engine(plan, on: socket)
        let failure = try #require(engine.failure())
        #expect(failure.reason == reason, "\(failure)")
        #expect(program.wait(for: "alert number 40"), "\(program.text)")
    }
}
