import Foundation
import Handshake
import Policy
import Testing

@testable import Settings

/// The examples of the documentation must be good, and mean what they say.
@Suite("Examples")
struct ExampleTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "docs/examples")

    private static var names: [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).sorted()
    }

    private func bytes(_ name: String) throws -> [UInt8] {
        try [UInt8](Data(contentsOf: Self.folder.appending(path: name)))
    }

    private func read(_ name: String) throws -> DaemonSettings {
        try DaemonSettings.read(try bytes(name), file: name)
    }

    @Test("each is read without a word of complaint", arguments: names)
    func good(_ name: String) throws {
        if name.hasSuffix(".yml") {
            #expect(try !SessionTagsReader.read([(path: name, bytes: try bytes(name))]).tags.isEmpty)
        } else {
            #expect(try read(name).notices.isEmpty)
        }
    }

    @Test("there is one for each common case")
    func complete() {
        let wanted = ["kubernetes", "lets-encrypt", "pinned-appliance", "strict", "two-authorities"]
        #expect(Self.names == (wanted.map { $0 + ".conf" } + ["tags.yml"]).sorted())
    }

    @Test("two authorities: the network decides which")
    func twoAuthorities() throws {
        let settings = try read("two-authorities.conf")
        func choice(_ address: String) -> ProfileChoice {
            let request = HandshakeRequest(transport: .netlink, role: .server, authentication: .x509)
            return settings.choose(for: ProfileSubject(request, peerAddress: address, localPort: 2049))
        }
        #expect(choice("192.0.2.9:700") == .profile(0) && choice("198.51.100.9:700") == .standard)
        #expect(settings.server.rules.names.count == 2)
    }

    @Test("the appliance is known by its digest alone")
    func appliance() throws {
        let settings = try read("pinned-appliance.conf")
        #expect(settings.profiles.count == 2)
        #expect(settings.profiles.map(\.credentials).allSatisfy { $0.verifiesByPin && $0.rules.pins.count == 1 })
    }

    @Test("Let's Encrypt: two pairs")
    func letsEncrypt() throws {
        #expect(try read("lets-encrypt.conf").server.pairs.map(\.name) == ["rsa"])
    }

    @Test("strict: everything is demanded")
    func strict() throws {
        let server = try read("strict.conf").server
        #expect(server.rules.purpose == .enforce && server.rules.applicationProtocol == .enforce)
        #expect(server.limits.suites.count == 1 && server.limits.groups == ["SECP384R1", "X25519"])
    }

    @Test("tags: who earns which")
    func tags() throws {
        let tags = try SessionTagsReader.read([(path: "tags.yml", bytes: try bytes("tags.yml"))])
        var facts = CertificateFacts()
        facts.issuer = "CN=Storage CA,O=Example"
        facts.subject = "CN=backup1,O=Example"
        facts.purposes = [Purpose.rpcTLSClient]
        facts.notBefore = 1_767_225_600
        #expect(tags.names(for: facts) == ["backup-host"])
        facts.notBefore -= 1
        #expect(tags.names(for: facts) == ["backup-host", "to-be-renewed"])
    }
}
