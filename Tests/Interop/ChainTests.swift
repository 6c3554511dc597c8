import Foundation
import Handshake
import TestSupport
import Testing
import Wire

@testable import TLS
@testable import X509

@Suite("ways to the trust store") struct ChainTests {
    private let files = Fixtures.shared

    private func shake(_ certificate: String, chain: String? = nil, trust: String) throws -> Engine {
        let (program, port) = try Peers.opensslServer(
            chain.map { ["-cert_chain", files.path($0)] } ?? [], certificate: certificate)
        var plan = Engine.Plan()
        plan.trust = trust
        let engine = try Engine(plan, on: Loopback.connect(port))
        withExtendedLifetime(program) { _ = engine.run() }
        return engine
    }

    private func certificates(_ names: [String]) throws -> [Certificate] {
        try names.map { try Certificate(der: files.der($0 + ".pem")) }
    }

    @Test(
        "a chain ends at the first certificate that the store trusts, whatever the peer sends above it",
        arguments: ["tree-2.pem", "tree-1.pem", "tree-root.pem"], ["tree-below.pem", "tree-above.pem"])
    func cut(trust: String, chain: String) throws {
        let engine = try shake("tree", chain: chain, trust: trust)
        #expect(engine.success()?.peerAuthenticated == true)
        #expect(engine.session.knownPeer != nil, "it is known from now on")
    }

    @Test("a client's chain is cut in the same way")
    func client() throws {
        let (program, socket) = try Peers.opensslClient(
            ["-cert_chain", files.path("tree-above.pem")], certificate: "tree")
        var plan = Engine.Plan.server("rsa")
        plan.trust = "tree-2.pem"
        let engine = try Engine(plan, on: socket)
        withExtendedLifetime(program) { _ = engine.run() }
        #expect(engine.success()?.peerAuthenticated == true)
    }

    @Test(
        "of two authorities with one name the one that has signed counts, whatever their order",
        arguments: ["twin-a-leaf", "twin-b-leaf"], ["twins-ab.pem", "twins-ba.pem"])
    func twins(certificate: String, trust: String) throws {
        #expect(try shake(certificate, trust: trust).success()?.peerAuthenticated == true)
    }

    @Test("a certificate that only has an authority's name is refused")
    func nameAlone() throws {
        #expect(try shake("twin-a-leaf", trust: "twin-b.pem").failure()?.reason == .certificateSignatureInvalid)
        files.join(["twin-b.pem", "impostor.pem"], as: "others.pem")
        #expect(try shake("twin-a-leaf", trust: "others.pem").failure()?.reason == .certificateSignatureInvalid)
        let engine = try shake("tree", chain: "tree-above.pem", trust: "impostor.pem")
        #expect(engine.failure()?.reason == .certificateUnknownAuthority)
    }

    @Test("an authority of ours that has expired is ours to renew", arguments: [nil, "old-root.pem"])
    func expiredAnchor(chain: String?) throws {
        let failure = try #require(try shake("old-root-leaf", chain: chain, trust: "old-root.pem").failure())
        #expect(failure.reason == .trustAnchorExpired)
        #expect(failure.detail == "CN=old-root-leaf was issued by CN=old-root, which expired on 2021-11-02")
        #expect(failure.reason.row.alert == .unknownCA && failure.reason.row.remedy.contains("on this host"))
    }

    @Test("ways are looked for from the peer's certificate up, and only so many of one name")
    func candidates() throws {
        let chain = try certificates(["tree", "tree-1", "tree-2", "tree-root"])
        files.join(["tree-root.pem", "tree-2.pem"], as: "tree-two.pem")
        let two = try Engine.credentials(.client, [(.trustStore, "tree-two.pem")])
        let ways = ChainCandidate.all(in: chain, two.anchors)
        #expect(ways.map(\.anchor.subject) == ["CN=tree-2", "CN=tree-root"])
        #expect(ways.map { $0.path.map(\.subject) } == [["CN=tree"], ["CN=tree", "CN=tree-2", "CN=tree-1"]])
        #expect(ways.allSatisfy { $0.isSigned })
        // Authorities of one name, each with a key of its own.
        let many = (0..<12).map { "many-\($0)" }
        for name in many { files.root(name, "/CN=twin", "anonymous") }
        files.join(many.map { $0 + ".pem" }, as: "many.pem")
        let crowd = try Engine.credentials(.client, [(.trustStore, "many.pem")])
        let leaf = try certificates(["twin-a-leaf"])
        #expect(ChainCandidate.all(in: leaf, crowd.anchors).count == ChainCandidate.most)
        var verified = 0
        let found = crowd.follow(leaf, now: 1_800_000_000) { _ in
            verified += 1
            return 1
        }
        #expect(found.status == 1 && verified == 1, "no key has signed, so that nothing is verified again")
    }

    @Test("which certificate of a trust store is damaged or cut off is said, with its line")
    func damagedStore() throws {
        let block = String(decoding: files.bytes("ca.pem"), as: UTF8.self)
        let text = "# authorities\n" + String(repeating: block, count: 301)
        let lines = block.split(separator: "\n", omittingEmptySubsequences: false).count - 1
        func problem(_ text: String) throws -> String {
            files.write(Array(text.utf8), as: "damaged-store.pem")
            do {
                _ = try Engine.credentials(.client, [(.trustStore, "damaged-store.pem")])
                return ""
            } catch let error as TextError {
                return error.description
            }
        }
        #expect(try problem(text) == "")
        let start = text.startIndex
        // Within the body of the seventeenth.
        let middle = text.index(start, offsetBy: "# authorities\n".count + 16 * block.count + block.count / 2)
        let place = "certificate 17 (line \(2 + 16 * lines)) cannot be read: "
        let damaged = try problem(
            text.replacingCharacters(in: middle..<text.index(middle, offsetBy: 8), with: "?????***"))
        #expect(
            damaged.hasPrefix("trust store \(files.path("damaged-store.pem")) cannot be used: \(place)"), "\(damaged)")
        let cut = try problem(String(text[..<middle]))
        #expect(cut.contains("\(place)its END line is missing"), "\(cut)")
        #expect(!(damaged + cut).contains("take the setting out"))
    }
}
