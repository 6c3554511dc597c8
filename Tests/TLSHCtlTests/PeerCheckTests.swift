import Foundation
import TestSupport
import Testing

@Suite struct PeerCheckTests {
    private let pki = PKI.shared

    private func check(_ host: String, _ certificate: String) throws -> Command {
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
        #expect(run.output.contains("the common name is ignored if there is a subjectAltName"))
    }

    @Test("An expired certificate is refused although it is for the host")
    func expired() throws {
        let run = try check("server.rig", "server-old")
        #expect(run.status == 1)
        #expect(run.firstLine.contains("but it expired on 2021-01-01"))
    }

    @Test("A certificate for another purpose is refused, as by a client whose x509.purpose says nothing else")
    func purpose() throws {
        let run = try check("client.rig", "client")
        #expect(run.status == 1, "\(run.output)")
        #expect(run.firstLine.hasPrefix("FAILED: CN=client is for client.rig (DNS:client.rig), but CN=client is for"))
        #expect(run.firstLine.contains("or x509.purpose=off on the client"))
    }

    @Test("A common name counts only without any subjectAltName, in the verdict as in the table")
    func commonName() throws {
        let scratch = TemporaryDirectory()
        for (name, extensions, status) in [
            ("none", [], Int32(0)), ("email", ["-addext", "subjectAltName=email:a@b"], 1),
        ] {
            let file = scratch.path(name + ".pem")
            try Command.run(
                ["openssl", "req", "-x509", "-key", pki.path("server.key"), "-subj", "/CN=server.rig", "-out", file]
                    + extensions)
            let run = try Tool.run("check", "--peer", "server.rig", "--certificate", file)
            #expect(run.status == status, "\(run.output)")
            let row = run.output.split(separator: "\n").first { $0.hasPrefix("  CN server.rig") } ?? ""
            #expect(row.contains(status == 0 ? "matches" : "the common name is ignored if there is a subjectAltName"))
        }
    }

    @Test(
        "A certificate whose key cannot sign TLS 1.3 handshakes, or that demands stapling, is refused as by a client",
        arguments: [
            ("keyUsage=keyEncipherment", "prime256v1", "the key usage of CN=use has no digitalSignature"),
            ("tlsfeature=status_request", "prime256v1", "CN=use demands an OCSP response (must-staple)"),
            (
                "keyUsage=digitalSignature", "secp224r1",
                "its key is on the curve secp224r1, which TLS 1.3 does not have"
            ),
            (
                "keyUsage=digitalSignature", "secp256k1",
                "its key is on the curve secp256k1, which TLS 1.3 does not have"
            ),
            ("keyUsage=digitalSignature", "prime256v1", ""),
        ])
    func use(extension: String, curve: String, text: String) throws {
        let scratch = TemporaryDirectory()
        let (key, file) = (scratch.path("use.key"), scratch.path("use.pem"))
        try Command.run("openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", key)
        try Command.run(
            "openssl", "req", "-x509", "-key", key, "-subj", "/CN=use", "-addext", "subjectAltName=DNS:server.rig",
            "-addext",
            `extension`, "-out", file)
        let run = try Tool.run("check", "--peer", "server.rig", "--certificate", file)
        #expect(run.status == (text.isEmpty ? 0 : 1), "\(run.output)")
        #expect(run.firstLine.contains("CN=use is for server.rig (DNS:server.rig)"), "\(run.firstLine)")
        #expect(text.isEmpty || run.firstLine.contains(", but \(text)"), "\(run.firstLine)")
    }

    @Test("A DSA key is refused, as TLS 1.3 has none; the key on secp521r1 has 521 bits")
    func keyTypes() throws {
        let scratch = TemporaryDirectory()
        func make(_ name: String, _ key: [String]) throws -> String {
            try Command.run(["openssl", "genpkey", "-out", scratch.path(name + ".key")] + key)
            let file = scratch.path(name + ".pem")
            try Command.run(
                "openssl", "req", "-x509", "-key", scratch.path(name + ".key"), "-subj", "/CN=\(name)", "-addext",
                "subjectAltName=DNS:server.rig", "-out", file)
            return file
        }
        try Command.run(
            "openssl", "genpkey", "-genparam", "-algorithm", "DSA", "-pkeyopt", "dsa_paramgen_bits:1024", "-out",
            scratch.path("parameters"))
        let old = try make("old", ["-paramfile", scratch.path("parameters")])
        let refused = try Tool.run("check", "--peer", "server.rig", "--certificate", old)
        #expect(
            refused.status == 1
                && refused.firstLine.hasSuffix(
                    ", but CN=old has a DSA key, which TLS 1.3 does not have; remedy: reissue it with an ECDSA, RSA or EdDSA key"
                ), "\(refused.firstLine)")
        let large = try make("large", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"])
        let run = try Tool.run("check", "--peer", "server.rig", "--certificate", large, "--json")
        let certificate = try run.document().data["certificate"] as? [String: Any]
        #expect(run.status == 0 && certificate?["key"] as? String == "EC/ECDSA, 521 bits", "\(run.output)")
    }

    @Test(
        "A small RSA key is a warning, one below 1024 bits is refused",
        arguments: [(1024, Int32(3)), (512, 1), (2048, 0)])
    func size(bits: Int, status: Int32) throws {
        let scratch = TemporaryDirectory()
        try pki.selfSigned("small", rsa: bits, in: scratch)
        let run = try Tool.run("check", "--peer", "server.rig", "--certificate", scratch.path("small.pem"))
        #expect(run.status == status, "\(run.output)")
        #expect(run.firstLine.contains("but CN=small has an RSA key of \(bits) bits; remedy: ") == (status != 0))
    }

    @Test("An IPv4 address mapped into IPv6 is the IPv4 address")
    func mapped() throws {
        let run = try check("::ffff:127.0.0.1", "server")
        #expect(run.status == 0 && run.firstLine.contains("is for 127.0.0.1 (IP:127.0.0.1)"), "\(run.output)")
    }

    @Test("Wildcards stand for one label", arguments: [("a.lab.test", 0), ("a.b.lab.test", 1), ("lab.test", 1)])
    func wildcard(host: String, status: Int32) throws {
        let scratch = TemporaryDirectory()
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
        let document = try run.document().data
        #expect(document["matches"] as? Bool == true)
        #expect((document["certificate"] as? [String: Any])?["subject"] as? String == "CN=server")
        let names = document["names"] as? [[String: Any]] ?? []
        #expect(names.filter { $0["matches"] as? Bool == true }.map { $0["name"] as? String } == ["IP:::1"])
    }
}
