import Handshake
import TestSupport
import Testing
import Wire

@testable import TLS

@Suite("revocation lists") struct RevocationTests {
    private let files = Fixtures.shared

    /// What is wrong with a list beside a trust store.
    private func problem(_ list: String, trust: String = "tree-root.pem", floors: [RevocationFloor] = []) -> String? {
        do {
            let files = [(CredentialKind.trustStore, trust), (.revocationList, list)]
            _ = try Engine.credentials(.client, files, floors: floors)
            return nil
        } catch {
            let text = "\(error)", start = "revocation list \(files.path(list)) cannot be used: "
            guard text.hasPrefix(start), let end = text.firstRange(of: "; it must hold complete lists") else {
                return text
            }
            return String(text[..<end.lowerBound].dropFirst(start.count))
        }
    }

    /// A handshake with a server that presents `tree` and both intermediates, under these lists.
    private func shake(
        _ lists: [String], certificate: String = "tree", trust: String = "tree-root.pem", _ rule: MissingList = .refuse
    ) throws -> Engine {
        let (program, port) = try Peers.opensslServer(
            ["-cert_chain", files.path("tree-below.pem")], certificate: certificate)
        let name = "lists-\(lists.joined())-\(certificate)"
        files.join(lists.map { $0 + ".pem" }, as: name)
        var plan = Engine.Plan()
        plan.trust = trust
        plan.revocation = name
        plan.rules.missingList = rule
        let engine = try Engine(plan, on: Loopback.connect(port))
        withExtendedLifetime(program) { _ = engine.run() }
        return engine
    }

    @Test("one that does not speak of all certificates is refused with the reason", arguments: Fixtures.scopes)
    func scopes(_ name: String, _ reason: String) throws {
        let text = try #require(problem("scope-\(name).pem"))
        #expect(text.hasPrefix("list 1 (line 1) of CN=tree-2 cannot be used: \(reason)"), "\(text)")
    }

    @Test("which of several is broken is said")
    func damaged() throws {
        let text = String(decoding: files.bytes("tree-1-crl.pem"), as: UTF8.self)
        files.write(Array((text + "\n" + text.dropLast(40)).utf8), as: "cut-crl.pem")
        let lines = text.split(separator: "\n").count + 2
        #expect(problem("cut-crl.pem") == "list 2 (line \(lines)) cannot be read: its END line is missing")
        files.write(Array("no list\n".utf8), as: "no-crl.pem")
        #expect(problem("no-crl.pem") == "it holds no revocation list")
    }

    @Test("lists in DER are read")
    func encoded() throws {
        #expect(problem("tree-2-crl.der") == nil)
    }

    @Test("an authority signs lists unless its key usage says that it may not")
    func keyUsage() {
        #expect(
            problem("mute-crl.pem", trust: "mute.pem")
                == "CN=mute of the trust store may not sign lists, as its key usage lacks cRLSign")
        #expect(problem("free-crl.pem", trust: "free.pem") == nil)
    }

    @Test("no list takes the place of a newer one of its issuer")
    func floors() throws {
        let both = [(CredentialKind.trustStore, "tree-root.pem"), (.revocationList, "tree-2-crl.pem")]
        let floors = try Engine.credentials(.client, both).facts.floors
        #expect(floors.count == 1 && floors.first?.number == [18])
        let text = try #require(problem("tree-2-older.pem", floors: floors))
        #expect(
            text.hasPrefix("the list of CN=tree-2, number 0x03 of 20")
                && text.contains("is older than the one that was in force"))
        #expect(problem("tree-2-crl.pem", floors: floors) == nil)
        #expect(problem("tree-2-revoking.pem", floors: floors) == nil)
        #expect(problem("tree-1-crl.pem", floors: floors) == nil, "of another issuer")
        files.join(["tree-2-older.pem", "tree-2-revoking.pem"], as: "old-and-new-crl.pem")
        #expect(problem("old-and-new-crl.pem", floors: floors) == nil, "the newer one counts")
    }

    @Test("a list of version 1 has neither number nor extensions")
    func plain() throws {
        #expect(try shake(["tree-2-plain", "tree-1-crl", "tree-root-crl"]).success() != nil)
        let files = [(CredentialKind.trustStore, "tree-root.pem"), (.revocationList, "tree-2-plain.pem")]
        #expect(try Engine.credentials(.client, files).facts.floors.map(\.number) == [[]])
    }

    @Test("a peer passes when each certificate of its chain has a list, and is known from then on")
    func covered() throws {
        let engine = try shake(["tree-2-crl", "tree-1-crl", "tree-root-crl"])
        #expect(engine.success()?.peerAuthenticated == true)
        #expect(engine.session.result(elapsed: .zero).remarks == [])
        #expect(engine.session.knownPeer?.coverage.count == 3)
    }

    @Test(
        "a certificate that no list speaks of is refused, and which it is is said",
        arguments: [
            (["free-crl"], "CN=tree: no list of CN=tree-2"), (["tree-2-crl"], "CN=tree-2: no list of CN=tree-1"),
            (["tree-2-crl", "tree-1-crl"], "CN=tree-1: no list of CN=tree-root"),
            (["impostor-crl", "tree-1-crl", "tree-root-crl"], "CN=tree: no list of CN=tree-2 has its signature"),
            (
                ["placed-crl", "tree-1-crl", "tree-root-crl"],
                "CN=tree: no list of CN=tree-2 is for its distribution point"
            ),
        ])
    func missing(_ lists: [String], _ detail: String) throws {
        for rule in MissingList.allCases where rule == .refuse || detail.hasPrefix("CN=tree:") {
            let failure = try #require(try shake(lists, rule).failure())
            #expect(failure == HandshakeFailure(.certificateRevocationOutdated, detail))
        }
    }

    @Test("with x509.crl.missing=log an intermediate without a list passes, each time with a remark")
    func logged() throws {
        let (program, port) = try Peers.opensslServer(
            ["-cert_chain", files.path("tree-below.pem"), "-naccept", "2"], certificate: "tree")
        var rules = PeerRules()
        rules.missingList = .log
        let credentials = try Engine.credentials(
            .client, [(.trustStore, "tree-root.pem"), (.revocationList, "tree-2-crl.pem")], rules)
        for round in 1...2 {
            let engine = try Engine(Engine.Plan(), on: Loopback.connect(port), sharing: credentials)
            withExtendedLifetime(program) { _ = engine.run() }
            #expect(engine.success() != nil)
            #expect(
                engine.session.result(elapsed: .zero).remarks
                    == ["CN=tree-2: no list of CN=tree-1", "CN=tree-1: no list of CN=tree-root"], "round \(round)")
        }
    }

    @Test("a list for a place speaks of certificates that name it")
    func placed() throws {
        let lists = ["placed-crl", "tree-1-crl", "tree-root-crl"]
        #expect(try shake(lists, certificate: "tree-placed").success() != nil)
    }

    @Test("no other list of the same name hides one that revokes", arguments: [true, false])
    func hidden(isFirst: Bool) throws {
        let lists = isFirst ? ["tree-2-revoking", "impostor-crl"] : ["impostor-crl", "tree-2-revoking"]
        #expect(try shake(lists + ["tree-1-crl", "tree-root-crl"]).failure()?.reason == .certificateRevoked)
    }

    @Test(
        "a certificate on a list is refused, be the list genuine or not, and wherever the chain is cut",
        arguments: [
            ("tree-2-revoking", "tree-root.pem"), ("tree-2-revoking", "tree-1.pem"), ("tree-2-revoking", "tree-2.pem"),
            ("impostor-revoking", "tree-root.pem"),
        ])
    func revoked(_ list: String, _ trust: String) throws {
        let engine = try shake([list, "tree-1-crl", "tree-root-crl"], trust: trust)
        #expect(engine.failure()?.reason == .certificateRevoked)
    }
}
