import Handshake
import TLSWire
import Testing
import Wire

@testable import TLS

@Suite("The priority string of a request")
struct RequestPrioritiesTests {
    private func priorities(_ text: String?, _ authentication: Authentication = .x509) throws -> Priorities {
        try #require(Engine.isStarted)
        let environment = try TLSEnvironment(
            KernelTLSCapabilities(ciphers: [.aes128GCM, .aes256GCM, .chacha20Poly1305], limitsTransmitPayload: false))
        let job = HandshakeJob(
            id: 1, transport: .listener, role: .client, authentication: authentication, deadline: .max, priorities: text
        )
        return try environment.priorities(for: job)
    }

    @Test("narrows the ciphers, and none leaves ours")
    func narrows() throws {
        #expect(try priorities(nil).cipherSuites.count == 3)
        #expect(try priorities("NORMAL:-CIPHER-ALL:+AES-128-GCM").cipherSuites == ["TLS_AES_128_GCM_SHA256"])
    }

    @Test("cannot bring in what kernel or policy do not have")
    func neverWidens() throws {
        let found = try priorities("NORMAL:-CIPHER-ALL:+AES-128-CCM:+AES-128-CBC:+AES-256-GCM:+VERS-TLS1.2")
        #expect(found.cipherSuites == ["TLS_AES_256_GCM_SHA384"])
    }

    @Test(
        "is named when it cannot be honoured",
        arguments: [
            ("NORMAL:+NO-SUCH-THING", "NO-SUCH-THING"), ("NORMAL:-VERS-ALL:+VERS-TLS1.2", "leaves no TLS 1.3"),
            ("NORMAL:-CIPHER-ALL:+AES-128-CCM", "leaves no cipher"), ("NORMAL:-GROUP-ALL", "leaves no"),
            ("NORMAL:-SIGN-ALL", "leaves no"),
        ])
    func unusable(text: String, detail: String) {
        let failure = #expect(throws: HandshakeFailure.self) { try priorities(text) }
        #expect(failure?.reason == .prioritiesUnusable)
        #expect(failure?.detail.contains("\"\(text)\"") == true)
        #expect(failure?.detail.contains(detail) == true)
    }

    @Test("a PSK's hash needs a suite that is left")
    func preSharedKeys() throws {
        let left = try priorities("NORMAL:-CIPHER-ALL:+AES-128-GCM", .preSharedKey)
        #expect(unsafe left.preSharedKey(.sha256) != nil)
        #expect(unsafe left.preSharedKey(.sha384) == nil)
    }
}
