import Foundation
import TestSupport
import Testing

@Suite struct CertificatesTests {
    private let scratch = TemporaryDirectory()
    private var lab: String { scratch.path("lab") }

    private func make(_ more: String...) throws -> Command {
        try Tool.run(
            ["certs", "init", lab, "--server", "nfs1.example", "127.0.0.1", "::1", "--client", "client1.example"] + more
        )
    }

    private func mode(_ name: String) throws -> Int? {
        try FileManager.default.attributesOfItem(atPath: lab + name)[.posixPermissions] as? Int
    }

    @Test("The files are there, the keys readable for the owner alone, and the authority's key is warned of")
    func files() throws {
        let run = try make()
        #expect(run.status == 0, "\(run.errors)")
        #expect(run.firstLine.hasPrefix("ok: \(lab) has the authority CN=lab authority "), "\(run.firstLine)")
        #expect(run.output.contains("\nWARNING: for a lab only: "), "\(run.output)")
        #expect(try mode("") == 0o700)
        for name in ["ca", "server", "client"] {
            #expect(try mode("/\(name).key") == 0o600)
            #expect(try mode("/\(name).pem") == 0o644)
        }
        #expect(!run.output.contains("PRIVATE KEY"))
        let document = try Tool.run(["certs", "init", scratch.path("other"), "--client", "a", "--json"]).document().data
        #expect((document["roles"] as? [[String: Any]])?.count == 1, "\(document)")
    }

    @Test("Other programs accept the certificates for their purposes and names, and for no others")
    func verification() throws {
        _ = try make()
        func verifies(_ name: String, _ options: String...) -> Bool {
            let arguments = ["openssl", "verify", "-x509_strict", "-CAfile", lab + "/ca.pem"] + options
            return (try? Command(arguments + [lab + "/\(name).pem"]).status) == 0
        }
        #expect(verifies("server", "-purpose", "sslserver", "-verify_hostname", "nfs1.example"))
        for address in ["127.0.0.1", "::1"] {
            #expect(verifies("server", "-purpose", "sslserver", "-verify_ip", address))
        }
        #expect(verifies("client", "-purpose", "sslclient", "-verify_hostname", "client1.example"))
        #expect(!verifies("server", "-purpose", "sslclient"))
        #expect(!verifies("client", "-purpose", "sslserver"))
        #expect(!verifies("server", "-verify_hostname", "other.example"))
        for (name, purpose) in [("server", "1.3.6.1.5.5.7.3.1"), ("client", "1.3.6.1.5.5.7.3.2")] {
            let certtool = try Command(
                [
                    "certtool", "--verify", "--verify-purpose", purpose, "--load-ca-certificate", lab + "/ca.pem",
                    "--infile",
                    lab + "/\(name).pem",
                ])
            #expect(certtool.status == 0, "\(certtool.text)")
        }
        let text = try Command("openssl", "x509", "-noout", "-text", "-in", lab + "/server.pem").text
        for part in [
            "X509v3 Key Usage: critical\n                Digital Signature\n", "CA:FALSE", "ASN1 OID: prime256v1",
            "TLS Web Server Authentication", "Signature Algorithm: ecdsa-with-SHA256", "Authority Key Identifier",
        ] {
            #expect(text.contains(part), "\(part) in \(text)")
        }
        let authority = try Command("openssl", "x509", "-noout", "-text", "-in", lab + "/ca.pem").text
        for part in ["Certificate Sign, CRL Sign\n", "CA:TRUE, pathlen:0"] {
            #expect(authority.contains(part), "\(authority)")
        }
        // Valid for the next 300 days, and not for the next 400.
        #expect(
            try Command("openssl", "x509", "-checkend", "\(300 * 86_400)", "-noout", "-in", lab + "/server.pem").status
                == 0)
        #expect(
            try Command("openssl", "x509", "-checkend", "\(400 * 86_400)", "-noout", "-in", lab + "/server.pem").status
                == 1)
    }

    @Test("The settings that are printed pass the check")
    func settings() throws {
        let run = try make()
        let lines = run.output.split(separator: "\n").filter { $0.hasPrefix("[") || $0.hasPrefix("x509.") }
        scratch.write(lines.joined(separator: "\n").replacing("/etc/tlshd", with: lab) + "\n", to: "config")
        let check = try Tool.run("check", "--only", "settings", "--only", "credentials", "-c", scratch.path("config"))
        #expect(!check.output.contains("FAILED") && !check.output.contains("WARNING"), "\(check.output)")
        #expect(
            check.output.contains("CN=nfs1.example") && check.output.contains("CN=client1.example"), "\(check.output)")
        let peer = try Tool.run("check", "--peer", "nfs1.example", "--certificate", lab + "/server.pem")
        #expect(peer.status == 0, "\(peer.output)")
    }

    @Test("A server and a client with them make a mutual handshake")
    func handshake() throws {
        _ = try make()
        for suffix in ["pem", "key"] {
            try FileManager.default.copyItem(
                atPath: lab + "/server.\(suffix)", toPath: PKI.shared.path("lab-server.\(suffix)"))
        }
        let server = try TLSServer(
            "lab-server", ["-Verify", "1", "-verify_return_error", "-CAfile", lab + "/ca.pem"])
        let run = try Tool.run(
            "probe", "tls://127.0.0.1:\(server.port)", "--truststore", lab + "/ca.pem", "--certificate",
            lab + "/client.pem", "--key", lab + "/client.key")
        #expect(run.status == 0 && run.output.contains("CN=client1.example"), "\(run.output)")
    }

    @Test("Nothing is overwritten")
    func again() throws {
        _ = try make()
        let key = scratch.read("lab/ca.key")
        let run = try make()
        #expect(run.status == 1 && run.errors.contains("mkdir \(lab): File exists (EEXIST); remedy: "), "\(run.errors)")
        #expect(scratch.read("lab/ca.key") == key && !key.isEmpty)
    }

    @Test(
        "Names that no certificate can have are wrong usage",
        arguments: [["--server", "a b"], ["--server", "*.a"], ["--client", "ä.example"], ["--client", ""], []])
    func names(options: [String]) throws {
        let run = try Tool.run(["certs", "init", lab] + options)
        #expect(run.status == 2, "\(run.output)\(run.errors)")
        #expect(!FileManager.default.fileExists(atPath: lab))
    }
}
