import Glibc
import Handshake
import TestSupport
import Testing

@testable import TLS
@testable import X509

@Suite("PSKs that are refused") struct PreSharedKeyFailureTests {
    private func clientPlan(_ identity: String, _ key: [UInt8]) -> Engine.Plan {
        var plan = Engine.Plan()
        plan.authentication = .preSharedKey
        plan.peerName = nil
        plan.keys = [(identity, key)]
        return plan
    }

    @Test(
        "a server sends unknown_psk_identity for an identity that it does not know, even if it is another's prefix",
        arguments: [
            Peers.identity + "2", String(Peers.identity.dropLast()), "N",
        ])
    func unknownIdentity(_ identity: String) throws {
        let (program, socket) = try Peers.opensslClient(["-psk_identity", identity, "-psk", Peers.keyText])
        let engine = try Engine(.server(keys: [(Peers.identity, Peers.key)]), on: socket)
        let failure = try #require(engine.failure())
        #expect(failure.reason == .pskIdentityUnknown)
        #expect(engine.session.pskIdentity == identity)
        #expect(program.wait(for: "alert number 115"), "\(program.text)")
    }

    @Test("a server sends unknown_psk_identity to a client without PSK")
    func noIdentity() throws {
        let (program, socket) = try Peers.opensslClient()
        let failure = try #require(try Engine(.server(keys: [(Peers.identity, Peers.key)]), on: socket).failure())
        #expect(failure.reason == .pskIdentityUnknown)
        #expect(failure.detail == "it offered none")
        #expect(program.wait(for: "alert number 115"), "\(program.text)")
    }

    @Test("a server sends decrypt_error for a wrong key")
    func wrongKey() throws {
        let (program, socket) = try Peers.opensslClient([
            "-psk_identity", Peers.identity, "-psk", "00" + Peers.keyText.dropFirst(2).dropLast(2) + "ff",
        ])
        let engine = try Engine(.server(keys: [(Peers.identity, Peers.key)]), on: socket)
        let failure = try #require(engine.failure())
        #expect(failure.reason == .pskBinderMismatch, "\(failure)")
        #expect(program.wait(for: "alert number 51"), "\(program.text)")
    }

    @Test(
        "our client hears from our server that its identity is unknown, and that its key is wrong",
        arguments: [
            ("other identity", Peers.key, FailureReason.alertUnknownPSKIdentity),
            (Peers.identity, Array(Peers.key.reversed()), .pskBinderMismatch),
        ])
    func bothOurs(_ identity: String, _ key: [UInt8], _ reason: FailureReason) throws {
        let (near, far) = try Loopback.pair()
        let server = try Engine(.server(keys: [(Peers.identity, Peers.key)]), on: far)
        let client = try Engine(clientPlan(identity, key), on: near)
        let failure = try #require(client.failure { _ = server.session.step() })
        #expect(failure.reason == reason, "\(failure)")
        #expect(client.session.alertReceived == (reason == .pskBinderMismatch ? .decryptError : .unknownPSKIdentity))
    }

    @Test("an OpenSSL server that does not know the identity refuses our client")
    func clientUnknown() throws {
        let (program, port) = try Peers.opensslServer(
            ["-tls1_3", "-psk_identity", "other", "-psk", Peers.keyText], certificate: nil)
        defer { _ = program }
        let engine = try Engine(clientPlan(Peers.identity, Peers.key), on: Loopback.connect(port))
        let failure = try #require(engine.failure())
        #expect(failure.reason == .alertReceived || failure.reason == .alertUnknownPSKIdentity, "\(failure)")
    }

    @Test("a client with a SHA-384 identity says at once which library it takes, where this one cannot")
    func sha384() throws {
        let identity = "NVMe1R02 nqn.host nqn.subsystem"
        let (near, far) = try Loopback.pair()
        defer { close(far) }
        let plan = clientPlan(identity, [UInt8](repeating: 7, count: 48))
        if GnuTLS.bindsSHA384 {
            let server = try Engine(.server(keys: [(identity, [UInt8](repeating: 7, count: 48))]), on: dup(far))
            let negotiated = try #require(try Engine(plan, on: near).success { _ = server.session.step() })
            #expect(negotiated.cipherSuite == "TLS_AES_256_GCM_SHA384")
        } else {
            let failure = #expect(throws: HandshakeFailure.self) { _ = try Engine(plan, on: near) }
            #expect(failure?.reason == .pskHashUnsupported)
            #expect(failure?.detail == "needs GnuTLS 3.8.11, this is \(GnuTLS.version)")
            #expect(Loopback.waiting(far) == 0)
        }
    }

    @Test("of several PSKs the first that the library can use is offered")
    func firstUsable() throws {
        let (program, port) = try Peers.opensslServer(
            [
                "-tls1_3", "-psk_identity", Peers.identity, "-psk", Peers.keyText, "-ciphersuites",
                "TLS_AES_128_GCM_SHA256",
            ], certificate: nil)
        defer { _ = program }
        var plan = clientPlan(Peers.identity, Peers.key)
        if !GnuTLS.bindsSHA384 {
            plan.keys.insert(("NVMe1R02 nqn.host nqn.sub", [UInt8](repeating: 1, count: 48)), at: 0)
        }
        plan.keys.append(("another", [1, 2, 3]))
        let engine = try Engine(plan, on: Loopback.connect(port))
        _ = try #require(engine.success())
        #expect(engine.session.pskIdentity == Peers.identity)
        #expect(engine.session.pskIndex == plan.keys.count - 2)
    }
}
