import Handshake
import Keyrings
import Policy
import Settings
import Testing

@testable import Broker

@Suite("Profiles and their numbers")
struct ProfileTableTests {
    private func settings(_ text: String) throws -> DaemonSettings {
        try DaemonSettings.read(Array(text.utf8), file: "f")
    }

    private func subject(_ namespace: NamespaceName?, _ role: Role = .server) -> ProfileSubject {
        var request = HandshakeRequest(transport: .netlink, role: role, authentication: .preSharedKey)
        request.namespace = namespace
        return ProfileSubject(request, peerAddress: "192.0.2.1:1", localPort: 1)
    }

    private let blue = "[profile blue]\nmatch.namespace=blue\nx509.truststore=/b\n"
    private let red = "[profile red]\nmatch.namespace=red\nmatch.role=client\n"

    @Test("a profile keeps its number while its name and rules stay, wherever it stands")
    func stable() throws {
        var table = ProfileTable()
        #expect(table.update(try settings(blue + red)).isEmpty)
        let number = try #require(table.choose(for: subject(.named("blue")))).number
        #expect(table.update(try settings(red + blue + "x509.crl=/c\n")).isEmpty)
        #expect(table.choose(for: subject(.named("blue")))?.number == number)
        #expect(number != .standard)
    }

    @Test("with other rules it is another, so that nothing of the former stays in force")
    func changed() throws {
        var table = ProfileTable()
        _ = table.update(try settings(blue))
        let number = try #require(table.choose(for: subject(.named("blue")))).number
        let gone = table.update(try settings(blue.replacing("match.namespace=blue", with: "match.namespace=red")))
        #expect(gone == [number])
        let other = try #require(table.choose(for: subject(.named("red")))).number
        #expect(other != number)
        #expect(table.choose(for: subject(.named("blue"))) == nil)
    }

    @Test("credentials exist for the roles that the rules can fit")
    func roles() throws {
        var table = ProfileTable()
        _ = table.update(try settings(blue + red))
        let roles = table.entries.map { Set($0.credentials.keys) }
        #expect(roles == [[.client, .server], [.client, .server], [.client]])
        #expect(table.entries.map(\.name) == [nil, "blue", "red"])
        #expect(Set(table.entries.map(\.number)).count == 3)
    }

    @Test("the initial namespace's default searches all keyrings, until a profile has some for itself")
    func initialKeyrings() throws {
        var table = ProfileTable()
        #expect(table.choose(for: subject(nil))?.keyrings == .everything)
        _ = table.update(try settings(blue + "keyrings=.nvme\n"))
        #expect(table.choose(for: subject(nil))?.keyrings == .everything)
        _ = table.update(try settings(blue + "keyrings=mine\n[authenticate]\nkeyrings=all\n"))
        let scope = try #require(table.choose(for: subject(nil))?.keyrings)
        guard case .only(let names) = scope else {
            Issue.record("blue's keyring serves the initial namespace")
            return
        }
        #expect(names.contains("all") && names.contains(".nvme") && !names.contains("mine"))
    }

    @Test("another namespace gets the kernel's keyrings only where a profile or the default says so")
    func otherKeyrings() throws {
        var table = ProfileTable()
        _ = table.update(try settings(blue))
        #expect(table.choose(for: subject(.named("blue")))?.keyrings == .only([]))
        #expect(table.choose(for: subject(.named("green"))) == nil)
        _ = table.update(try settings(blue + "keyrings=.nvme;b\n[namespaces]\ndefault_profile=yes\n"))
        #expect(table.choose(for: subject(.named("blue")))?.keyrings == .only([".nvme", "b"]))
        guard case .only(let names)? = table.choose(for: subject(.named("green")))?.keyrings else {
            Issue.record("a namespace without a profile gets every keyring")
            return
        }
        #expect(names.contains(".nvme") && !names.contains("b"))
    }

    @Test("numbers are not used again soon")
    func fresh() throws {
        var table = ProfileTable()
        var seen: Set<ProfileNumber> = []
        for index in 0..<100 {
            _ = table.update(try settings("[profile p\(index)]\nmatch.namespace=blue\n"))
            let number = try #require(table.choose(for: subject(.named("blue")))).number
            #expect(seen.insert(number).inserted)
        }
    }
}
