import Handshake
import TestSupport
import Testing

@testable import TLS

/// Against `gnutls-serv` and `gnutls-cli`.
@Suite("against the GnuTLS tools") struct GnuTLSToolTests {
    private static let priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3"
    private static let names: [KernelCipher: String] = [
        .aes128GCM: "AES-128-GCM", .aes256GCM: "AES-256-GCM", .aes128CCM: "AES-128-CCM",
        .chacha20Poly1305: "CHACHA20-POLY1305",
    ]

    @Test(
        "the client agrees on every suite, anonymous and with a certificate", arguments: KernelCipher.allCases,
        [false, true])
    func client(_ cipher: KernelCipher, _ presents: Bool) throws {
        let ask = ["--x509cafile", Fixtures.shared.path("ca.pem"), "--require-client-cert", "--verify-client-cert"]
        let (program, port) = try Peers.gnutlsServer(
            ["--priority", Self.priority + ":-CIPHER-ALL:+" + (Self.names[cipher] ?? "")]
                + (presents ? ask : ["--disable-client-cert"]))
        defer { _ = program }
        var plan = Engine.Plan()
        if presents {
            plan.authentication = .x509
            plan.certificate = "ed25519"
        }
        let engine = try Engine(plan, on: Loopback.connect(port))
        let negotiated = try #require(engine.success())
        #expect(negotiated.cipherSuite == cipher.suite)
        let records = engine.records()
        records.send("echo this\n")
        #expect(records.text(until: "echo this\n").contains("echo this\n"))
    }

    @Test(
        "the server agrees on every suite, with and without a client certificate", arguments: KernelCipher.allCases,
        [false, true])
    func server(_ cipher: KernelCipher, _ presents: Bool) throws {
        let (program, socket) = try Peers.gnutlsClient(
            ["--priority", Self.priority + ":-CIPHER-ALL:+" + (Self.names[cipher] ?? "")],
            certificate: presents ? "rsa" : nil)
        let engine = try Engine(.server(), on: socket)
        let negotiated = try #require(engine.success())
        #expect(negotiated.cipherSuite == cipher.suite)
        #expect(negotiated.peerAuthenticated == presents)
        #expect(program.wait(for: "Handshake was completed"), "\(program.text)")
        engine.checkDataBothWays(with: program)
    }

    @Test("a PSK is agreed with a GnuTLS server")
    func clientKey() throws {
        Fixtures.shared.write(Array("host:\(Peers.keyText)\n".utf8), as: "psk-passwords")
        let (program, port) = try Peers.gnutlsServer(
            [
                "--pskpasswd", Fixtures.shared.path("psk-passwords"), "--priority",
                Self.priority + ":-KX-ALL:+ECDHE-PSK:+DHE-PSK",
            ],
            certificate: nil)
        defer { _ = program }
        var plan = Engine.Plan()
        plan.authentication = .preSharedKey
        plan.keys = [("host", Peers.key)]
        let engine = try Engine(plan, on: Loopback.connect(port))
        let negotiated = try #require(engine.success())
        #expect(negotiated.peerAuthenticated)
        let records = engine.records()
        records.send("echo this\n")
        #expect(records.text(until: "echo this\n").contains("echo this\n"))
    }

    /// psk_ke goes before psk_dhe_ke in the second. ktls-utils offers those of the kernel's PSKs so that are neither 32
    /// nor 48 bytes long.
    @Test(
        "a PSK is agreed with a GnuTLS client, whatever it would rather use",
        arguments: ["+ECDHE-PSK:+DHE-PSK", "+PSK:+ECDHE-PSK"])
    func serverKey(_ exchanges: String) throws {
        let (program, socket) = try Peers.gnutlsClient(
            [
                "--pskusername", "host", "--pskkey", Peers.keyText, "--priority",
                Self.priority + ":-KX-ALL:" + exchanges,
            ])
        let engine = try Engine(.server(keys: [("host", Peers.key)]), on: socket)
        _ = try #require(engine.success())
        #expect(program.wait(for: "Handshake was completed"), "\(program.text)")
        engine.checkDataBothWays(with: program)
    }

    @Test("a peer that limits its records is understood, and bounds ours", arguments: [true, false])
    func recordSizeLimit(_ engineIsServer: Bool) throws {
        if engineIsServer {
            let (program, socket) = try Peers.gnutlsClient(["--recordsize", "1024"])
            let engine = try Engine(.server(), on: socket)
            _ = try #require(engine.success())
            #expect(engine.session.payloadLimit == 1024)
            #expect(engine.session.handOverProblem == nil)
            _ = program
        } else {
            let (program, port) = try Peers.gnutlsServer(["--recordsize", "1024", "--disable-client-cert"])
            defer { _ = program }
            var plan = Engine.Plan()
            plan.limitsPayload = false
            let engine = try Engine(plan, on: Loopback.connect(port))
            _ = try #require(engine.success())
            #expect(engine.session.payloadLimit == 1024)
            #expect(engine.session.handOverProblem?.reason == .recordSizeLimitUnsupported)
        }
    }
}
