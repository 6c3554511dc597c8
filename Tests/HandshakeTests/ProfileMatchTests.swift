import Testing

@testable import Handshake
@testable import Policy

@Suite("Which requests a profile fits")
struct ProfileMatchTests {
    static let namespaces: [NamespaceName?] = [nil, .named("blue"), .path("/srv/ns"), .unnamed(inode: 4_026_532_000)]
    static let names: [String?] = [
        nil, "", "a.example", "A.Example", "b.a.example", "192.0.2.7", "::ffff:192.0.2.7", "example",
    ]
    static let addresses = ["192.0.2.7:871", "[::ffff:192.0.2.7]:871", "[2001:db8::7]:871", "unknown"]

    /// Every request that can be made of these.
    static let subjects: [ProfileSubject] = namespaces.flatMap { namespace in
        Role.allCases.flatMap { role in
            Transport.allCases.flatMap { transport in
                names.flatMap { name in
                    addresses.flatMap { address in
                        [UInt16(2049), 20049].map { port in
                            var request = HandshakeRequest(
                                transport: transport, role: role, authentication: .x509, peerName: name)
                            request.namespace = namespace
                            return ProfileSubject(request, peerAddress: address, localPort: port)
                        }
                    }
                }
            }
        }
    }

    static func match(_ change: (inout ProfileMatch) -> Void) -> ProfileMatch {
        var match = ProfileMatch()
        change(&match)
        return match
    }

    struct Rule: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let match: ProfileMatch
        let fits: @Sendable (ProfileSubject) -> Bool
    }

    static let rules: [Rule] = [
        Rule(testDescription: "none", match: ProfileMatch()) { _ in true },
        Rule(testDescription: "initial", match: match { $0.namespace = .initial }) { $0.namespace == nil },
        Rule(testDescription: "others", match: match { $0.namespace = .others }) { $0.namespace != nil },
        Rule(testDescription: "blue", match: match { $0.namespace = .one(.named("blue")) }) {
            $0.namespace == .named("blue")
        },
        Rule(testDescription: "client", match: match { $0.role = .client }) { $0.role == .client },
        Rule(testDescription: "server", match: match { $0.role = .server }) { $0.role == .server },
        Rule(testDescription: "listener", match: match { $0.transport = .listener }) { $0.transport == .listener },
        Rule(testDescription: "port", match: match { $0.localPort = 2049 }) { $0.localPort == 2049 },
        Rule(testDescription: "name", match: match { $0.peerName = "a.Example" }) {
            $0.peerName == "a.example" || $0.peerName == "A.Example"
        },
        Rule(testDescription: "wildcard", match: match { $0.peerName = "*.example" }) {
            $0.peerName == "a.example" || $0.peerName == "A.Example"
        },
        Rule(testDescription: "address as name", match: match { $0.peerName = "192.0.2.7" }) {
            $0.peerName == "192.0.2.7" || $0.peerName == "::ffff:192.0.2.7"
        },
        Rule(testDescription: "mapped address as name", match: match { $0.peerName = "[::FFFF:192.0.2.7]" }) {
            $0.peerName == "192.0.2.7" || $0.peerName == "::ffff:192.0.2.7"
        },
        Rule(testDescription: "mapped prefix", match: match { $0.peerAddress = NetworkPrefix("::ffff:192.0.2.0/125") })
        {
            $0.peerAddress == NetworkAddress("192.0.2.7")
        },
        Rule(testDescription: "IPv4", match: match { $0.peerAddress = NetworkPrefix("192.0.2.0/29") }) {
            $0.peerAddress == NetworkAddress("192.0.2.7")
        },
        Rule(testDescription: "IPv6", match: match { $0.peerAddress = NetworkPrefix("2001:db8::/32") }) {
            $0.peerAddress == NetworkAddress("2001:db8::7")
        },
        Rule(testDescription: "any IPv4", match: match { $0.peerAddress = NetworkPrefix("0.0.0.0/0") }) {
            $0.peerAddress == NetworkAddress("192.0.2.7")
        },
    ]

    @Test("one rule fits what it says and nothing else, over every combination", arguments: rules)
    func one(_ rule: Rule) {
        #expect(Self.subjects.filter { rule.match.fits($0) != rule.fits($0) }.isEmpty)
        #expect(rule.match.isEmpty || Self.subjects.contains { !rule.fits($0) })
        #expect(Self.subjects.contains { rule.fits($0) })
    }

    @Test("two rules fit what both fit")
    func two() {
        for first in Self.rules {
            for second in Self.rules {
                guard let both = Self.joined(first.match, second.match) else { continue }
                let wrong = Self.subjects.filter { both.fits($0) != (first.fits($0) && second.fits($0)) }
                #expect(wrong.isEmpty, "\(first.testDescription) and \(second.testDescription)")
            }
        }
    }

    /// Both matches' rules in one; `nil` where they set the same rule.
    private static func joined(_ first: ProfileMatch, _ second: ProfileMatch) -> ProfileMatch? {
        var both = first
        func put<Value>(_ path: WritableKeyPath<ProfileMatch, Value?>) -> Bool {
            guard let value = second[keyPath: path] else { return true }
            guard both[keyPath: path] == nil else { return false }
            both[keyPath: path] = value
            return true
        }
        let fitted =
            put(\.namespace) && put(\.role) && put(\.peerName) && put(\.peerAddress) && put(\.localPort)
            && put(\.transport)
        return fitted ? both : nil
    }
}

@Suite("Names of namespaces")
struct NamespaceNameTests {
    @Test(
        "a name, a path and a link are told apart",
        arguments: [
            ("blue", .named("blue")), ("/run/netns/blue", .named("blue")), ("/srv/ns", .path("/srv/ns")),
            ("/run/netns/a/b", .path("/run/netns/a/b")), ("net:[4026532000]", .unnamed(inode: 4_026_532_000)),
            ("/run/netns/", .path("/run/netns/")), ("net:[x]", .named("net:[x]")),
        ] as [(String, NamespaceName)])
    func reads(_ text: String, _ name: NamespaceName) {
        #expect(NamespaceName(text) == name)
    }

    @Test("what can be no name is none", arguments: ["", "a/b", "..", ".", "a\0b"])
    func refuses(_ text: String) {
        #expect(NamespaceName(text) == nil)
    }
}

@Suite("Addresses and prefixes")
struct NetworkAddressTests {
    @Test(
        "texts of one address are one address",
        arguments: [
            ("2001:db8::1", "2001:DB8:0:0:0:0:0:1"), ("::1", "0:0:0:0:0:0:0:1"), ("fe80::1%eth0", "fe80::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"), ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"), ("::", "0::0"),
        ])
    func same(_ one: String, _ other: String) throws {
        let address: NetworkAddress? = NetworkAddress(one)
        #expect(address != nil && address == NetworkAddress(other))
    }

    @Test(
        "what is no address is none",
        arguments: [
            "", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.", ":", ":::", "1::2::3", "12345::", "g::",
            "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8", "1.2.3.4::", "a.example", "::1.2.3", "+1::",
        ])
    func none(_ text: String) {
        #expect(NetworkAddress(text) == nil)
    }

    @Test("a socket's address is read without its port")
    func sockets() {
        #expect(NetworkAddress(ofSocketAddress: "192.0.2.1:2049") == NetworkAddress("192.0.2.1"))
        #expect(NetworkAddress(ofSocketAddress: "[fe80::1%eth0]:2049") == NetworkAddress("fe80::1"))
        #expect(NetworkAddress(ofSocketAddress: "unknown") == nil)
    }

    @Test("a prefix contains an address exactly when their first bits are the same, at every length")
    func lengths() throws {
        let address = try #require(NetworkAddress("203.0.113.165"))
        for bits in 0...32 {
            var value: UInt32 = 0xCB00_71A5
            if bits < 32 { value &= ~(UInt32.max >> UInt32(bits)) }
            let text = [24, 16, 8, 0].map { String(value >> UInt32($0) & 255) }.joined(separator: ".")
            let prefix = try #require(NetworkPrefix("\(text)/\(bits)"))
            #expect(prefix.contains(address))
            for bit in 0..<32 {
                var other = address.bytes
                other[bit / 8] ^= 0x80 >> UInt8(bit % 8)
                let changed = try #require(NetworkAddress(other.map(String.init).joined(separator: ".")))
                #expect(prefix.contains(changed) == (bit >= bits))
            }
        }
    }

    @Test("a prefix of one family contains nothing of the other; mapped IPv4 is IPv4")
    func families() throws {
        #expect(!(try #require(NetworkPrefix("0.0.0.0/0"))).contains(try #require(NetworkAddress("2001:db8::1"))))
        #expect(!(try #require(NetworkPrefix("::/0"))).contains(try #require(NetworkAddress("192.0.2.1"))))
        #expect(
            (try #require(NetworkPrefix("::ffff:192.0.2.0/120"))).contains(try #require(NetworkAddress("192.0.2.9"))))
    }

    @Test(
        "what is no prefix is none, nor is one with bits behind its length",
        arguments: [
            "192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0/", "/24", "192.0.2.0/24/1", "2001:db8::1/32",
            "2001:db8::/129", "fe80::%eth0/64", "192.0.2.0/+4", "::ffff:192.0.2.0/24", "a",
        ])
    func refuses(_ text: String) {
        #expect(NetworkPrefix(text) == nil)
    }
}
