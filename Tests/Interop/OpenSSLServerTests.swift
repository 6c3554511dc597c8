import Handshake
import Testing
import TLS
import Wire

/// Our client against `openssl s_server`.
@Suite("client against openssl s_server") struct OpenSSLServerTests {
    /// A server that sends every line back reversed.
    static func server(_ arguments: [String], certificate: String? = "ecdsa") -> (PeerProgram, UInt16) {
        let files = Fixtures.shared
        var all = ["s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-tls1_3", "-rev"]
        if let certificate {
            all += ["-cert", files.path(certificate + ".pem"), "-key", files.path(certificate + ".key")]
        } else {
            all.append("-nocert")
        }
        let program = PeerProgram("/usr/bin/openssl", all + arguments)
        #expect(program.wait(for: "ACCEPT 127.0.0.1:"))
        _ = program.wait(for: "\n")
        let port = program.text.split(separator: "ACCEPT 127.0.0.1:").last?.prefix { $0.isNumber }
        return (program, port.flatMap { UInt16($0) } ?? 0)
    }

    @Test("suites, groups and certificates are agreed and carry data both ways", arguments: KernelCipher.allCases, ["P-256", "X25519", "P-384", "ffdhe2048"])
    func matrix(_ cipher: KernelCipher, _ group: String) throws {
        let (program, port) = Self.server(["-ciphersuites", cipher.suite, "-groups", group])
        defer { _ = program }
        let engine = try Engine(Engine.Plan(), on: Loopback.connect(port))
        let negotiated = try #require(engine.success())
        #expect(negotiated.cipherSuite == cipher.suite)
        #expect(negotiated.peerAuthenticated)
        let records = engine.records()
        records.send("drawer\n")
        #expect(records.text(until: "\n") == "reward\n")
    }
}
