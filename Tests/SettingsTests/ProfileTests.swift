import Handshake
import Policy
import Testing

@testable import Settings

@Suite("Profiles and namespaces in the settings")
struct ProfileTests {
    @Test("a profile has every rule, the keys of a role, and keyrings")
    func full() throws {
        let settings = try DaemonSettings.read(Array(Samples.profileSettings.utf8), file: "f")
        let profile = try #require(settings.profiles.first)
        #expect(profile.name == "blue server")
        #expect(profile.match.namespace == .one(.named("blue")))
        #expect(profile.match.role == .server)
        #expect(profile.match.peerName == "*.blue.example")
        #expect(profile.match.peerAddress == NetworkPrefix("192.0.2.0/24"))
        #expect(profile.match.localPort == 2049)
        #expect(profile.match.transport == .netlink)
        #expect(profile.credentials.trustStore?.value == "/b/ca.pem")
        #expect(profile.credentials.trustStore?.origin == .line(file: "f", line: 15))
        #expect(profile.keyrings?.map(\.value) == [.name("blue"), .serial(77)])
        #expect(settings.namespaces.named && settings.namespaces.processes && settings.namespaces.defaultProfile)
        #expect(!settings.namespaces.initial)
        #expect(settings.namespaces.names == [.named("blue"), .path("/srv/ns/red"), .named("green")])
        #expect(
            settings.notices.map(\.text) == [
                "[profile rest] has no match rules and fits every request"
            ])
    }

    struct Unreachable: Sendable {
        let rules: [String]
        var namespaces = ""
        let reason: String?
    }

    static let unreachable: [Unreachable] = [
        .init(rules: ["match.role=client", "match.role=server"], reason: nil),
        .init(rules: ["match.role=client", "match.role=client\nmatch.peer_name=a"], reason: "[profile p0]"),
        .init(rules: ["match.peer_name=a\nmatch.role=client", "match.role=client"], reason: nil),
        .init(rules: ["match.peer_name=*.a.b", "match.peer_name=x.a.b"], reason: "[profile p0]"),
        .init(rules: ["match.peer_name=*.a.b", "match.peer_name=*.A.b"], reason: nil),
        .init(rules: ["match.peer_name=*.a.b", "match.peer_name=*.a.b\nmatch.local_port=1"], reason: "[profile p0]"),
        .init(rules: ["match.peer_name=x.a.b", "match.peer_name=*.a.b"], reason: nil),
        .init(rules: ["match.peer_address=192.0.2.0/24", "match.peer_address=192.0.2.7"], reason: "[profile p0]"),
        .init(rules: ["match.peer_address=192.0.2.7", "match.peer_address=192.0.2.0/24"], reason: nil),
        .init(rules: ["match.transport=netlink", "match.transport=netlink"], reason: "[profile p0]"),
        .init(rules: ["match.namespace=*", "match.namespace=blue"], namespaces: "named=yes", reason: "[profile p0]"),
        .init(rules: ["match.role=client", "match.namespace=blue"], namespaces: "named=yes", reason: nil),
        .init(rules: ["match.role=client", "match.namespace=blue"], reason: "[namespaces] serves none"),
        .init(
            rules: ["match.role=client", "match.namespace=blue"], namespaces: "names=red",
            reason: "[namespaces] serves none"),
        .init(
            rules: ["match.role=client", "match.namespace=/srv/ns"], namespaces: "named=yes",
            reason: "[namespaces] serves none"),
        .init(rules: ["match.role=client", "match.namespace=/srv/ns"], namespaces: "processes=yes", reason: nil),
        .init(rules: ["match.role=client", "match.namespace=*"], reason: "[namespaces] serves none"),
        .init(
            rules: ["match.role=client", "match.namespace=initial"], namespaces: "initial=no\nnamed=yes",
            reason: "[namespaces] serves none"),
    ]

    @Test("a profile that no request can reach is noticed, with the reason", arguments: unreachable)
    func unreachableProfiles(_ row: Unreachable) throws {
        let profiles = row.rules.enumerated().map { "[profile p\($0.offset)]\n\($0.element)\n" }.joined()
        let notices = try settings(profiles + "[namespaces]\n\(row.namespaces)\n").notices.map(\.text)
        #expect(notices.count == (row.reason == nil ? 0 : 1), "\(notices)")
        if let reason = row.reason {
            #expect(notices.first?.hasPrefix("[profile p1] is never used: ") == true)
            #expect(notices.first?.contains(reason) == true, "\(notices)")
        }
    }

    @Test("without the sections only the initial namespace is served, and others never get the default")
    func defaults() throws {
        let settings = try settings("")
        #expect(settings.namespaces == NamespaceSettings())
        #expect(settings.namespaces.initial && !settings.namespaces.watchesOthers)
        #expect(settings.choose(for: Self.subject(nil)) == .standard)
        #expect(settings.choose(for: Self.subject(.named("a"))) == .none)
        #expect(settings.profiles.isEmpty)
    }

    static func subject(_ namespace: NamespaceName?, _ role: Role = .client, peer: String = "a.example")
        -> ProfileSubject
    {
        var request = HandshakeRequest(transport: .netlink, role: role, authentication: .x509, peerName: peer)
        request.namespace = namespace
        return ProfileSubject(request, peerAddress: "192.0.2.1:1", localPort: 1)
    }

    @Test("the first that fits wins, in the order of the file; the rest get the default only where it is theirs")
    func first() throws {
        let text = """
            [profile b]
            match.namespace=blue
            match.role=client
            [profile a]
            match.namespace=blue
            [profile r]
            match.namespace=red
            match.peer_name=a.example
            """
        let strict = try settings(text)
        let open = try settings(text + "\n[namespaces]\ndefault_profile=yes\n")
        for settings in [strict, open] {
            #expect(settings.choose(for: Self.subject(.named("blue"))) == .profile(0))
            #expect(settings.choose(for: Self.subject(.named("blue"), .server)) == .profile(1))
            #expect(settings.choose(for: Self.subject(.named("red"))) == .profile(2))
            #expect(settings.choose(for: Self.subject(nil)) == .standard)
        }
        #expect(strict.choose(for: Self.subject(.named("red"), peer: "b.example")) == .none)
        #expect(open.choose(for: Self.subject(.named("red"), peer: "b.example")) == .standard)
    }

    static let badRules: [(String, String, Int)] = [
        ("match.namespace", "a/b", 17), ("match.role", "Client", 12), ("match.role", "both", 12),
        ("match.peer_name", "*", 17), ("match.peer_name", "a.*.example", 17), ("match.peer_name", "*.*.example", 17),
        ("match.peer_name", "*.", 17), ("match.peer_name", "a b", 17),
        ("match.peer_name", "a.example,b.example", 17), ("match.peer_name", "a.example;b.example", 17),
        ("match.peer_address", "192.0.2.1/24", 20),
        ("match.peer_address", "a.example", 20), ("match.local_port", "0", 18), ("match.local_port", "65536", 18),
        ("match.local_port", "080", 18), ("match.local_port", "nfs", 18), ("match.transport", "tcp", 17),
    ]

    @Test("a rule that is not understood refuses the file, with its place", arguments: badRules)
    func badRule(_ key: String, _ value: String, _ column: Int) throws {
        let error = try #require(throws: SettingsError.self) { try settings("[profile p]\n\(key)=\(value)\n") }
        #expect(error.line == 2 && error.column == column)
        guard case .profile(.rule(let name, _)) = error.problem else {
            Issue.record("\(error)")
            return
        }
        #expect(name == "[profile p] \(key)")
        #expect(!error.description.contains("=\(value)"))
    }

    @Test("a namespace is not told by its inode, which the kernel gives to the next one at once")
    func inode() throws {
        let error = try #require(throws: SettingsError.self) {
            try settings("[profile p]\nmatch.namespace=net:[4026532000]\n")
        }
        #expect(error.line == 2 && error.column == 17)
        guard case .profile(.rule(key: "[profile p] match.namespace", _)) = error.problem else {
            Issue.record("\(error)")
            return
        }
        #expect(error.remedy.contains("give the namespace a name (ip netns attach NAME PID)"))
    }

    @Test("an empty value of a rule refuses the file", arguments: ["match.namespace", "match.peer_name", "match.role"])
    func emptyRule(_ key: String) {
        #expect(throws: SettingsError.self) { try settings("[profile p]\n\(key)=\n") }
    }

    @Test(
        "a rule that is misspelt refuses the file, as its profile would fit too much",
        arguments: ["matches.role", "Match.role", "match", "match role", "match.rules"])
    func misspelt(_ key: String) throws {
        let error = try #require(throws: SettingsError.self) {
            try settings("[profile p]\nmatch.role=client\n\(key)=a\n")
        }
        #expect(error.line == 3 && error.column == 1)
        #expect(error.what == "key '\(key)' is unknown in [profile p], whose keys decide who is trusted")
        #expect(error.remedy.contains("match.role"))
    }

    @Test(
        "a key that is misspelt refuses the file, as its profile would trust others than was meant",
        arguments: ["x509.trustore", "x509.crls", "keyring", "x509.a b.certificate", "loglevel", "x509.truststore[de]"])
    func unknownKey(_ key: String) throws {
        let error = try #require(throws: SettingsError.self) {
            try settings("[profile p]\nmatch.role=client\n\(key)=a\n")
        }
        #expect(error.line == 3 && error.column == 1)
        guard case .unknown(.key(key, section: "profile p", _)) = error.problem else {
            Issue.record("\(error)")
            return
        }
    }

    @Test(
        "a section that is nearly a profile refuses the file",
        arguments: ["profile", "profile ", "Profile a", "profile.a", "profile  a", "profiles", "profile a'b"])
    func nearly(_ section: String) {
        let expected = SettingsError(file: "f", line: 2, column: 1, problem: .profile(.name))
        #expect(throws: expected) { try settings("\n[\(section)]\n") }
    }

    @Test("two profiles of one name refuse the file")
    func repeated() {
        let expected = SettingsError(file: "f", line: 4, column: 1, problem: .profile(.repeated(file: nil, line: 1)))
        #expect(throws: expected) { try settings("[profile a]\nmatch.role=client\n[debug]\n[profile a]\n") }
    }

    @Test("a profile's files fail closed as those of the default do", arguments: ["x509.truststore", "x509.crl"])
    func failsClosed(_ key: String) {
        #expect(throws: SettingsError.self) { try settings("[profile a]\nmatch.role=client\n\(key)=\n") }
    }

    @Test("keyrings that are there but empty are none, and others than those that are not there")
    func keyrings() throws {
        #expect(try settings("[profile a]\nmatch.role=client\nkeyrings=\n").profiles.first?.keyrings == [])
        #expect(try settings("[profile a]\nmatch.role=client\n").profiles.first?.keyrings == nil)
        #expect(throws: SettingsError.self) { try settings("[profile a]\nkeyrings=a\\x\n") }
    }

    @Test(
        "what is neither yes nor no refuses the file",
        arguments: ["named", "processes", "initial", "default_profile"], ["maybe", "", "Yes please"])
    func booleans(_ key: String, _ value: String) {
        #expect(throws: SettingsError.self) { try settings("[namespaces]\n\(key)=\(value)\n") }
    }

    @Test("a list of names refuses what can be none", arguments: ["a/b", "a;..", "net:[4026531840]"])
    func names(_ value: String) {
        let expected = SettingsError(file: "f", line: 2, column: 7, problem: .namespaceName)
        #expect(throws: expected) { try settings("[namespaces]\nnames=\(value)\n") }
    }

    @Test("who serves no namespace at all is told so")
    func nothing() throws {
        #expect(try settings("[namespaces]\ninitial=no\n").notices.count == 1)
        #expect(try settings("[namespaces]\ninitial=no\nnamed=yes\n").notices.isEmpty)
    }
}
