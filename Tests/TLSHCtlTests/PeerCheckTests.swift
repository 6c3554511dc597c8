import Foundation
import Testing

@Suite struct PeerCheckTests {
    private let pki = PKI.shared

    private func check(_ host: String, _ certificate: String) throws -> Tool.Run {
        try Tool.run("check", "--peer", host, "--certificate", pki.path(certificate + ".pem"))
    }

    @Test(
        "A name or address that the certificate carries matches, however it is written",
        arguments: ["server.rig", "SERVER.RIG", "server.rig.", "127.0.0.1", "::1", "[::1]", "0:0:0:0:0:0:0:1"])
    func matches(host: String) throws {
        let run = try check(host, "server")
        #expect(run.status == 0, "\(run.output)")
        #expect(run.firstLine.hasPrefix("ok: CN=server is for"))
    }

    @Test(
        "What does not match is refused, and each name says why",
        arguments: [("other.rig", "another name"), ("127.0.0.2", "another address"), ("::2", "another address")])
    func differs(host: String, reason: String) throws {
        let run = try check(host, "server")
        #expect(run.status == 1)
        #expect(run.firstLine.contains("CN=server is not for \(host): it carries DNS:server.rig"))
        #expect(run.output.contains(reason))
        #expect(run.output.contains("the common name does not count beside a subjectAltName"))
    }

    @Test("An expired certificate is refused although it is for the host")
    func expired() throws {
        let run = try check("server.rig", "server-old")
        #expect(run.status == 1)
        #expect(run.firstLine.contains("but it expired on 2021-01-01"))
    }

    @Test("A certificate for another purpose is a warning, as it is accepted unless x509.purpose says otherwise")
    func purpose() throws {
        let run = try check("client.rig", "client")
        #expect(run.status == 3, "\(run.output)")
        #expect(run.firstLine.hasPrefix("WARNING: CN=client is for client.rig (DNS:client.rig), but CN=client is for"))
    }

    @Test("Wildcards stand for one label", arguments: [("a.lab.test", 0), ("a.b.lab.test", 1), ("lab.test", 1)])
    func wildcard(host: String, status: Int32) throws {
        let scratch = Scratch()
        try pki.selfSigned("wild", for: "*.lab.test", days: 50, at: scratch.path("wild.pem"))
        let run = try Tool.run("check", "--peer", host, "--certificate", scratch.path("wild.pem"))
        #expect(run.status == status, "\(run.output)")
        #expect(run.output.contains(status == 0 ? "it is \(host)" : "a wildcard stands for one label"))
    }

    @Test("A file that is missing, or no certificate, is said")
    func files() throws {
        let missing = try check("x", "none")
        #expect(missing.status == 1 && missing.errors.contains("No such file"))
        let key = try Tool.run("check", "--peer", "x", "--certificate", pki.path("server.key"))
        #expect(key.status == 1 && key.errors.contains("cannot be used"))
        #expect(try Tool.run("check", "--peer", "", "--certificate", pki.path("server.pem")).status == 2)
    }

    @Test("JSON has the names and the certificate")
    func json() throws {
        let run = try Tool.run("check", "--peer", "::1", "--certificate", pki.path("server.pem"), "--json")
        let document = try run.json()
        #expect(document["matches"] as? Bool == true)
        #expect((document["certificate"] as? [String: Any])?["subject"] as? String == "CN=server")
        let names = document["names"] as? [[String: Any]] ?? []
        #expect(names.filter { $0["matches"] as? Bool == true }.map { $0["name"] as? String } == ["IP:::1"])
    }
}
