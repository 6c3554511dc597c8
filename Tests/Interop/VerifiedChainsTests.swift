import Glibc
import Handshake
import TestSupport
import Testing
import Wire

@testable import TLS
@testable import X509

@Suite("chains that were verified before") struct VerifiedChainsTests {
    @Test("a chain that was verified is kept, and the next handshake with it succeeds and still checks the name")
    func kept() throws {
        let credentials = try Engine.credentials(.client, [(.trustStore, "ca.pem")])
        for round in 1...2 {
            let engine = try shake(with: "ecdsa", credentials)
            #expect(engine.success()?.peerAuthenticated == true)
            #expect(engine.session.peerCertificate?.subject == "CN=ecdsa")
            #expect(credentials.verifiedChains.count == 1, "round \(round)")
            #expect(credentials.verifiedChains.find(Self.presented("ecdsa"), now: Self.now) != nil)
        }
        var plan = Engine.Plan()
        plan.peerName = "elsewhere.test"
        let engine = try shake(hands: plan, with: "ecdsa", credentials)
        #expect(engine.failure()?.reason == .certificateNameMismatch)
    }

    @Test("a chain that failed is not kept", arguments: ["stranger", "expired", "future", "elsewhere"])
    func failed(certificate: String) throws {
        let credentials = try Engine.credentials(.client, [(.trustStore, "ca.pem")])
        let engine = try shake(with: certificate, credentials)
        #expect(engine.failure() != nil)
        #expect(credentials.verifiedChains.count == 0)
    }

    @Test("a revocation list that has gone out of date is noticed although the chain is known")
    func outdatedList() throws {
        let credentials = try Engine.credentials(.client, [(.trustStore, "ca.pem"), (.revocationList, "old-crl.pem")])
        try note("ecdsa", as: Self.presented("ecdsa"), in: credentials.verifiedChains, credentials)
        for _ in 1...2 {
            let engine = try shake(with: "ecdsa", credentials)
            #expect(engine.failure()?.reason == .certificateRevocationOutdated)
        }
    }

    @Test("dates are looked at each time, the authority's too, and the key is the whole chain")
    func dates() throws {
        let credentials = try Engine.credentials(.client, [(.trustStore, "ca.pem")])
        let chains = VerifiedChains()
        try note("ecdsa", in: chains, credentials)
        #expect(chains.find([1], now: Self.now) != nil)
        #expect(chains.find([1, 0], now: Self.now) == nil)
        #expect(chains.find([], now: Self.now) == nil)
        // The leaf is valid from 2020 on, its authority from today; both end with 2059.
        #expect(chains.find([1], now: 1_577_836_799) == nil)
        #expect(chains.find([1], now: Self.now - 86_400) == nil)
        #expect(chains.find([1], now: 2_840_140_801) == nil)
        #expect(chains.find([1], now: 2_840_140_799) != nil)
    }

    @Test("what is out of date is not noted, nor what is too long; the oldest makes room")
    func bounds() throws {
        let credentials = try Engine.credentials(.client, [(.trustStore, "ca.pem")])
        let chains = VerifiedChains(limit: 2)
        try note("expired", in: chains, credentials)
        #expect(chains.count == 0)
        try note("ecdsa", as: [UInt8](repeating: 0, count: VerifiedChains.longestChain + 1), in: chains, credentials)
        #expect(chains.count == 0)
        for number: UInt8 in 1...3 { try note("ecdsa", as: [number], in: chains, credentials) }
        #expect(chains.count == 2)
        #expect(chains.find([1], now: Self.now) == nil)
        #expect(chains.find([2], now: Self.now) != nil)
        #expect(chains.find([3], now: Self.now) != nil)
    }

    @Test("X25519 goes before NIST's curves and not before hybrids")
    func groups() {
        #expect(
            Priorities.preferringX25519(["SECP256R1", "SECP384R1", "X25519"]) == ["X25519", "SECP256R1", "SECP384R1"])
        #expect(
            Priorities.preferringX25519(["X25519-MLKEM768", "SECP256R1", "X25519"]) == [
                "X25519-MLKEM768", "X25519", "SECP256R1",
            ])
        #expect(
            Priorities.preferringX25519(["SECP256R1-MLKEM768", "X25519", "SECP256R1"]) == [
                "SECP256R1-MLKEM768", "X25519", "SECP256R1",
            ])
        #expect(Priorities.preferringX25519(["SECP256R1"]) == ["SECP256R1"])
    }

    /// A handshake of ours with a server that has this certificate, until it has ended.
    private func shake(
        hands plan: Engine.Plan = Engine.Plan(), with certificate: String, _ credentials: Credentials
    ) throws -> Engine {
        let (program, port) = try Peers.opensslServer(certificate: certificate)
        let engine = try Engine(plan, on: Loopback.connect(port), sharing: credentials)
        withExtendedLifetime(program) { _ = engine.run() }
        return engine
    }

    /// The key of a chain that is this certificate alone.
    private static func presented(_ name: String) -> [UInt8] {
        let bytes = Fixtures.shared.der(name + ".pem")
        return [0, 0, UInt8(bytes.count >> 8), UInt8(bytes.count & 255)] + bytes
    }

    /// The fixtures' authority is valid from the start of the tests on.
    private static let now = Int64(time(nil)) + 1

    private func note(
        _ name: String, as key: [UInt8] = [1], in chains: VerifiedChains, _ credentials: Credentials
    ) throws {
        let leaf = try Certificate(der: Fixtures.shared.der(name + ".pem"))
        let found = credentials.follow([leaf], now: Self.now) { _ in 0 }
        let coverage = try credentials.coverage(of: found).covered
        let verdict = VerifiedChains.ChainVerdict(
            summary: leaf.summary, coverage: coverage, remarks: [], window: found.window)
        chains.note(key, [leaf], verdict, now: Self.now)
    }
}
