import Handshake
import TestSupport
import Testing

@testable import TLS
@testable import X509

/// Suites and groups that the settings narrow.
@Suite("limits of what is negotiated") struct NegotiationLimitsTests {
    private func environment(_ ciphers: Set<KernelCipher> = Set(KernelCipher.allCases)) throws -> TLSEnvironment {
        try #require(Engine.isStarted)
        return try TLSEnvironment(KernelTLSCapabilities(ciphers: ciphers, limitsTransmitPayload: false))
    }

    private func limits(_ suites: [String] = [], _ groups: [String] = []) -> NegotiationLimits {
        var limits = NegotiationLimits()
        limits.suites = suites
        limits.groups = groups
        return limits
    }

    @Test("a client offers what they leave, and nothing else", arguments: [true, false])
    func client(_ isCommon: Bool) throws {
        let suite = isCommon ? "TLS_AES_256_GCM_SHA384" : "TLS_AES_128_GCM_SHA256"
        let (program, port) = try Peers.opensslServer(["-tls1_3", "-ciphersuites", suite])
        defer { _ = program }
        var plan = Engine.Plan()
        plan.limits = limits(["TLS_AES_256_GCM_SHA384"], ["SECP384R1"])
        let engine = try Engine(plan, on: Loopback.connect(port))
        guard isCommon else {
            #expect(engine.failure()?.reason == .alertReceived)
            return
        }
        let negotiated = try #require(engine.success())
        #expect(negotiated.cipherSuite == "TLS_AES_256_GCM_SHA384")
        #expect(negotiated.group.contains("SECP384R1"))
        engine.checkDataBothWays()
    }

    @Test("a server takes what they leave, and refuses the rest", arguments: ["P-256", "P-384"])
    func server(_ group: String) throws {
        let (program, socket) = try Peers.opensslClient(["-groups", group])
        var plan = Engine.Plan.server()
        plan.limits = limits([], ["SECP384R1"])
        let engine = try Engine(plan, on: socket)
        if group == "P-384" {
            #expect(try #require(engine.success()).group.contains("SECP384R1"))
            engine.checkDataBothWays(with: program)
        } else {
            #expect(engine.failure()?.reason == .noCommonGroup)
        }
    }

    @Test("they hold for PSKs, too")
    func preSharedKey() throws {
        let (program, socket) = try Peers.opensslClient(["-psk_identity", Peers.identity, "-psk", Peers.keyText])
        var plan = Engine.Plan.server(keys: [(Peers.identity, Peers.key)])
        plan.limits = limits(["TLS_AES_128_CCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"])
        let engine = try Engine(plan, on: socket)
        #expect(try #require(engine.success()).cipherSuite == "TLS_CHACHA20_POLY1305_SHA256")
        _ = program
    }

    @Test("what kernel, library or policy forbid is refused, and who decided it is said")
    func forbidden() throws {
        let environment = try environment([.aes128GCM, .aes256GCM])
        let cases = [
            (
                limits(["TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"]),
                "the kernel's TLS here does not have it"
            ),
            (limits([], ["X25519", "X25519-NOSUCH"]), "GnuTLS \(GnuTLS.version) does not know it"),
            // No policy of ours has it: GnuTLS' default leaves it out.
            (limits([], ["SECP192R1"]), "the crypto policy forbids it"),
        ]
        for (limits, text) in cases {
            let failure = #expect(throws: HandshakeFailure.self) { try environment.priorities(within: limits) }
            #expect(failure?.reason == .limitsUnusable)
            #expect(failure?.detail.contains(text) == true, "\(failure?.detail ?? "")")
        }
    }

    @Test("equal limits share what was made of them")
    func shared() throws {
        let environment = try environment()
        let first = try environment.priorities(within: limits(["TLS_AES_256_GCM_SHA384"]))
        #expect(first === (try environment.priorities(within: limits(["TLS_AES_256_GCM_SHA384"]))))
        #expect(first.cipherSuites == ["TLS_AES_256_GCM_SHA384"])
        #expect(try environment.priorities(within: NegotiationLimits()) === environment.priorities)
    }
}
