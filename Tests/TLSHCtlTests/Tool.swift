import Foundation
import Glibc
import TestSupport

extension Command {
    var firstLine: String { String(output.prefix { $0 != "\n" }) }

    /// The output as a document.
    func document() throws -> Tool.Document { try Tool.Document(output) }
}

/// The tlshctl that was built beside the tests.
enum Tool {
    /// A document, or JSON lines, that tlshctl printed.
    struct Document {
        let status: String
        let summary: String
        /// Empty for `null`.
        let data: [String: Any]

        /// Requires that the text is valid by docs/tlshctl.schema.json; takes the first document.
        init(_ text: String) throws {
            let check = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().appendingPathComponent(".ci/schema").path
            try Command.run([check], input: text)
            let first = text.hasPrefix("{\n") ? text : String(text.prefix { $0 != "\n" })
            let object = try JSONSerialization.jsonObject(with: Data(first.utf8)) as? [String: Any] ?? [:]
            status = object["status"] as? String ?? ""
            summary = object["summary"] as? String ?? ""
            data = object["data"] as? [String: Any] ?? [:]
        }
    }

    static let path = Product.path("tlshctl")

    /// Runs it to its end.
    static func run(
        _ arguments: String..., input: String = "", environment: [String: String] = [:]
    ) throws -> Command {
        try run(arguments, input: input, environment: environment)
    }

    /// The same with a list.
    static func run(
        _ arguments: [String], input: String = "", environment: [String: String] = [:]
    ) throws -> Command {
        try Command(
            [path] + arguments, input: input, environment: ["PATH": "/usr/bin:/bin"].merging(environment) { $1 })
    }
}

/// The certificates of the VM cases, made once for all tests: see Tests/VM/lib/pki.sh for what each is.
struct PKI: Sendable {
    static let shared = PKI()
    let folder: String

    private init() {
        folder = NSTemporaryDirectory() + "tlshctl-pki-\(UUID().uuidString)"
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("VM/lib/pki.sh").path
        do { try Command.run("bash", script, folder) } catch { fatalError("\(error)") }
        atexit(removePKI)
    }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// Makes a certificate with the server's key that it signs itself.
    func selfSigned(_ name: String, for host: String, days: Int, at path: String) throws {
        try Command.run(
            "openssl", "req", "-x509", "-key", self.path("server.key"), "-subj", "/CN=\(name)", "-days", "\(days)",
            "-addext", "subjectAltName=DNS:\(host)", "-out", path)
    }

    /// Makes a certificate for `server.rig` that it signs itself, with an RSA key; `name.pem` and `name.key`.
    func selfSigned(_ name: String, rsa bits: Int, in scratch: TemporaryDirectory) throws {
        try Command.run(
            "openssl", "req", "-x509", "-newkey", "rsa:\(bits)", "-nodes", "-keyout", scratch.path(name + ".key"),
            "-subj",
            "/CN=\(name)", "-days", "50", "-addext", "subjectAltName=DNS:server.rig,IP:127.0.0.1", "-out",
            scratch.path(name + ".pem"))
    }

    /// Makes a chain for `server.rig` of so many certificates that the authority has issued: `chain.pem` and `1.key`.
    func chain(of count: Int, in scratch: TemporaryDirectory) throws {
        var issuer = path("ca")
        var made: [String] = []
        for number in (1...count).reversed() {
            let name = scratch.path("\(number)")
            try Command.run(
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                "50",
                "-keyout", name + ".key", "-out", name + ".pem", "-CA", issuer + ".pem", "-CAkey", issuer + ".key",
                "-subj", "/CN=chain-\(number)", "-addext", "subjectAltName=DNS:server.rig")
            issuer = name
            made.insert(scratch.read("\(number).pem"), at: 0)
        }
        scratch.write(made.joined(), to: "chain.pem")
    }

    /// Makes a certificate of the server's key whose issuer is a root that has expired: `chain.pem` has both.
    func expiredAuthority(in scratch: TemporaryDirectory) throws {
        let (key, root, leaf) = (path("other-ca.key"), scratch.path("root.pem"), scratch.path("leaf.pem"))
        scratch.write("[v3]\nbasicConstraints=critical,CA:TRUE\n", to: "root.ext")
        scratch.write("", to: "root.index")
        scratch.write(
            """
            [ca]
            default_ca = this
            [this]
            database = \(scratch.path("root.index"))
            new_certs_dir = \(scratch.path)
            rand_serial = yes
            default_md = sha256
            policy = any
            [any]
            commonName = supplied
            """, to: "root.config")
        try Command.run(
            "openssl", "req", "-new", "-key", key, "-subj", "/CN=old root", "-out", scratch.path("root.csr"))
        try Command.run(
            "openssl", "ca", "-batch", "-notext", "-selfsign", "-config", scratch.path("root.config"), "-keyfile", key,
            "-extfile",
            scratch.path("root.ext"), "-extensions", "v3", "-in", scratch.path("root.csr"), "-out", root, "-startdate",
            "20200101000000Z", "-enddate", "20210101000000Z")
        try Command.run(
            "openssl", "req", "-x509", "-key", path("server.key"), "-subj", "/CN=under old root", "-days", "50",
            "-addext",
            "subjectAltName=DNS:server.rig", "-CA", root, "-CAkey", key, "-out", leaf)
        scratch.write(scratch.read("leaf.pem") + scratch.read("root.pem"), to: "chain.pem")
    }

    /// Makes a list of the authority's that says only what has changed since another.
    func deltaList(at path: String, in scratch: TemporaryDirectory) throws {
        scratch.write("", to: "index")
        scratch.write("02\n", to: "number")
        scratch.write(
            """
            [ca]
            default_ca = this
            [this]
            database = \(scratch.path("index"))
            crlnumber = \(scratch.path("number"))
            certificate = \(self.path("ca.pem"))
            private_key = \(self.path("ca.key"))
            default_md = sha256
            default_crl_days = 20
            crl_extensions = delta
            [delta]
            2.5.29.27 = critical,ASN1:INTEGER:1
            """, to: "config.ca")
        try Command.run("openssl", "ca", "-config", scratch.path("config.ca"), "-gencrl", "-out", path)
    }

    /// Settings of a server, or another role.
    func settings(
        _ name: String, role: String = "server", key: String? = nil, trust: String = "ca", crl: String? = nil
    ) -> String {
        """
        [authenticate.\(role)]
        x509.truststore=\(path(trust)).pem
        x509.certificate=\(path(name)).pem
        x509.private_key=\(path(key ?? name)).key
        \(crl.map { "x509.crl=\(path($0))" } ?? "")

        """
    }
}

private func removePKI() {
    try? FileManager.default.removeItem(atPath: PKI.shared.folder)
}
