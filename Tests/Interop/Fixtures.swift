import Foundation
import TestSupport

/// Certificates, keys and lists for all tests, made once by certtool in a directory of their own.
struct Fixtures: Sendable {
    static let shared = Fixtures()

    let directory: String

    /// What a certificate is to be.
    struct Leaf {
        var name: String
        var key = "ecdsa"
        var authority = "ca"
        var names = ["server.test"]
        var addresses = ["127.0.0.1", "::1"]
        var activation = "2020-01-01 00:00:00"
        var expiration = "2060-01-01 00:00:00"
        var isAuthority = false
        /// Of the extended key usage, besides those of TLS.
        var purposes: [String] = []
        var curve = "secp256r1"
        /// As certtool's templates have them.
        var extensions: [String] = []
        /// Key usages and TLS features, as certtool's templates have them.
        var usages = ["signing_key"]
        /// The one that an RSA-PSS key is restricted to.
        var hash = "sha256"
    }

    func path(_ name: String) -> String { "\(directory)/\(name)" }

    func bytes(_ name: String) -> [UInt8] {
        guard let data = FileManager.default.contents(atPath: path(name)) else { fatalError("no fixture \(name)") }
        return [UInt8](data)
    }

    /// The first PEM block of a file, decoded.
    func der(_ name: String) -> [UInt8] {
        let lines = String(decoding: bytes(name), as: UTF8.self).split(separator: "\n")
        let body = lines.drop { !$0.hasPrefix("-----BEGIN") }.dropFirst().prefix { !$0.hasPrefix("-----END") }
        return [UInt8](Data(base64Encoded: body.joined()) ?? Data())
    }

    private init() {
        directory = NSTemporaryDirectory() + "tlshd-interop-\(UUID().uuidString)"
        try? FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        atexit(removeFixtures)
        authority("ca")
        authority("other-ca")
        for key in ["rsa", "ecdsa", "ed25519"] { issue(Leaf(name: key, key: key)) }
        issue(Leaf(name: "expired", expiration: "2021-11-02 00:00:00"))
        issue(Leaf(name: "future", activation: "2055-01-01 00:00:00"))
        issue(Leaf(name: "revoked"))
        issue(Leaf(name: "stranger", authority: "other-ca"))
        issue(Leaf(name: "elsewhere", names: ["elsewhere.test"], addresses: ["192.0.2.7"]))
        issue(Leaf(name: "wildcard", names: ["*.example.test"], addresses: []))
        issue(Leaf(name: "p384", curve: "secp384r1"))
        issue(Leaf(name: "p521", curve: "secp521r1"))
        for hash in ["sha256", "sha384", "sha512"] { issue(Leaf(name: "pss-\(hash)", key: "rsa-pss", hash: hash)) }
        issue(Leaf(name: "extended", extensions: ["2.5.29.98 0x0500", "2.5.29.99 0x0500"]))
        issue(Leaf(name: "rpc-server", purposes: ["1.3.6.1.5.5.7.3.34"]))
        issue(Leaf(name: "rpc-client", purposes: ["1.3.6.1.5.5.7.3.33"]))
        issue(Leaf(name: "no-signing", key: "rsa", usages: ["encryption_key"]))
        issue(Leaf(name: "must-staple", usages: ["signing_key", "tls_feature = 5"]))
        selfSigned("appliance", until: "2060-01-01 00:00:00")
        selfSigned("old-appliance", until: "2021-11-02 00:00:00")
        revocationList("crl", until: "2060-01-01 00:00:00")
        revocationList("old-crl", until: "2021-01-01 00:00:00")
        longChain()
        chains()
        for curve in ["secp224r1", "secp256k1", "brainpoolP256r1"] { foreignKey(curve) }
        foreignKey("prime256v1", ["-param_enc", "explicit"])
    }

    /// Puts files one behind the other.
    func join(_ parts: [String], as name: String) {
        write(parts.flatMap { bytes($0) }, as: name)
    }

    func write(_ bytes: [UInt8], as name: String) {
        guard FileManager.default.createFile(atPath: path(name), contents: Data(bytes)) else {
            fatalError("cannot write \(name)")
        }
    }

    func authority(_ name: String) {
        makeKey(name, "ecdsa")
        template(
            name,
            ["cn = \(name)", "ca", "cert_signing_key", "crl_signing_key", "expiration_date = \"2060-01-01 00:00:00\""])
        certtool("--generate-self-signed", "--load-privkey", key(name), "--template", cfg(name), "--outfile", pem(name))
    }

    private func issue(_ leaf: Leaf) {
        makeKey(leaf.name, leaf.key, leaf.curve, leaf.hash)
        var lines = ["cn = \(leaf.name)", "tls_www_server", "tls_www_client"] + leaf.usages
        lines += leaf.purposes.map { "key_purpose_oid = \($0)" }
        lines += leaf.extensions.map { "add_extension = \"\($0)\"" }
        if leaf.isAuthority { lines += ["ca", "cert_signing_key"] }
        lines += leaf.names.map { "dns_name = \($0)" } + leaf.addresses.map { "ip_address = \($0)" }
        lines += ["activation_date = \"\(leaf.activation)\"", "expiration_date = \"\(leaf.expiration)\""]
        template(leaf.name, lines)
        certtool(
            "--generate-certificate", "--load-privkey", key(leaf.name), "--template", cfg(leaf.name),
            "--load-ca-certificate", pem(leaf.authority), "--load-ca-privkey", key(leaf.authority),
            "--outfile", pem(leaf.name))
    }

    /// As devices make them for themselves: no authority, no name that fits.
    private func selfSigned(_ name: String, until: String) {
        makeKey(name, "ecdsa")
        template(
            name,
            ["cn = \(name)", "activation_date = \"2020-01-01 00:00:00\"", "expiration_date = \"\(until)\""])
        certtool("--generate-self-signed", "--load-privkey", key(name), "--template", cfg(name), "--outfile", pem(name))
    }

    private func revocationList(_ name: String, until: String) {
        template(
            name,
            ["crl_this_update_date = \"2020-06-01 00:00:00\"", "crl_next_update_date = \"\(until)\"", "crl_number = 1"])
        certtool(
            "--generate-crl", "--load-ca-privkey", key("ca"), "--load-ca-certificate", pem("ca"),
            "--load-certificate", pem("revoked"), "--template", cfg(name), "--outfile", pem(name))
    }

    /// A leaf and two intermediates with 20 kB of names each, in the wrong order in their file.
    private func longChain() {
        // certtool takes no more than 128 names.
        let label = String(repeating: "x", count: 58)
        let many = (0..<125).map { "host-\($0).\(label).\(label).\(label).test" }
        issue(Leaf(name: "long-1", names: many, isAuthority: true))
        issue(Leaf(name: "long-2", authority: "long-1", names: many, isAuthority: true))
        issue(Leaf(name: "long-leaf", authority: "long-2", names: ["server.test"] + many))
        join(["long-1.pem", "long-leaf.pem", "ca.pem", "long-2.pem"], as: "long.pem")
        join(["long-2.pem", "long-1.pem"], as: "long-issuers.pem")
    }

    func key(_ name: String) -> String { path(name + ".key") }
    func pem(_ name: String) -> String { path(name + ".pem") }
    func cfg(_ name: String) -> String { path(name + ".cfg") }

    func template(_ name: String, _ lines: [String]) {
        write(Array((lines.joined(separator: "\n") + "\n").utf8), as: name + ".cfg")
    }

    /// A key that OpenSSL makes and TLS 1.3 does not have, with a certificate that it signs itself.
    private func foreignKey(_ curve: String, _ more: [String] = []) {
        openssl(["ecparam", "-name", curve, "-genkey", "-noout", "-out", key(curve)] + more)
        openssl(["req", "-x509", "-key", key(curve), "-subj", "/CN=\(curve)", "-days", "999", "-out", pem(curve)])
    }

    /// A leaf and authorities between it and the root, so many certificates in all, in the order of a chain.
    func chain(of count: Int, as name: String) {
        var authority = "ca"
        for number in (1..<count).reversed() {
            issue(Leaf(name: "\(name)-\(number)", authority: authority, isAuthority: true))
            authority = "\(name)-\(number)"
        }
        issue(Leaf(name: name, authority: authority))
        join([name + ".pem"] + (1..<count).map { "\(name)-\($0).pem" }, as: name + ".pem")
    }

    func makeKey(_ name: String, _ type: String, _ curve: String = "secp256r1", _ hash: String = "") {
        let size =
            switch type {
            case "rsa": ["--bits", "2048"]
            case "rsa-pss":
                [
                    "--bits", "2048", "--hash", hash, "--salt-size",
                    hash == "sha512" ? "64" : hash == "sha384" ? "48" : "32",
                ]
            case "ecdsa": ["--curve", curve]
            default: [String]()
            }
        certtool(["--generate-privkey", "--key-type", type, "--no-text", "--outfile", key(name)] + size)
    }

    func certtool(_ arguments: String...) { certtool(arguments) }

    func certtool(_ arguments: [String]) {
        do { try Command.run(["certtool"] + arguments) } catch { fatalError("\(error) (package gnutls-bin)") }
    }

    private func openssl(_ arguments: [String]) {
        do { try Command.run(["openssl"] + arguments) } catch { fatalError("\(error)") }
    }
}

private func removeFixtures() {
    try? FileManager.default.removeItem(atPath: Fixtures.shared.directory)
}
