import Foundation
import TestSupport

/// Authorities below authorities, and revocation lists of every kind.
extension Fixtures {
    /// A root, two intermediates and a leaf (`tree-root`, `tree-1`, `tree-2`, `tree`), twins of one name without key
    /// identifiers, and authorities that are out of date.
    func chains() {
        root("tree-root", "/CN=tree-root", "plain")
        sign("tree-1", "/CN=tree-1", by: "tree-root", "authority")
        sign("tree-2", "/CN=tree-2", by: "tree-1", "authority")
        sign("tree", "/CN=tree", by: "tree-2", "leaf")
        sign("tree-placed", "/CN=tree-placed", by: "tree-2", "placed")
        join(["tree.pem", "tree-2.pem", "tree-1.pem"], as: "tree-chain.pem")
        join(["tree-2.pem", "tree-1.pem", "tree-root.pem"], as: "tree-above.pem")
        join(["tree-2.pem", "tree-1.pem"], as: "tree-below.pem")
        for twin in ["twin-a", "twin-b"] {
            root(twin, "/CN=twin", "anonymous")
            sign(twin + "-leaf", "/CN=\(twin)-leaf", by: twin, "anonymous-leaf")
        }
        join(["twin-a.pem", "twin-b.pem"], as: "twins-ab.pem")
        join(["twin-b.pem", "twin-a.pem"], as: "twins-ba.pem")
        root("mute", "/CN=mute", "mute")
        sign("mute-leaf", "/CN=mute-leaf", by: "mute", "leaf")
        root("free", "/CN=free", "free")
        sign("free-leaf", "/CN=free-leaf", by: "free", "leaf")
        makeKey("old-root", "ecdsa")
        template(
            "old-root",
            [
                "cn = old-root", "ca", "cert_signing_key", "activation_date = \"2010-01-01 00:00:00\"",
                "expiration_date = \"2021-11-02 00:00:00\"",
            ])
        certtool([
            "--generate-self-signed", "--load-privkey", key("old-root"), "--template", cfg("old-root"), "--outfile",
            pem("old-root"),
        ])
        sign("old-root-leaf", "/CN=old-root-leaf", by: "old-root", "leaf")
        for (index, name) in ["tree-root", "tree-1", "tree-2", "mute", "free"].enumerated() {
            list(name + "-crl", of: name, number: index + 16)
        }
        list("tree-2-revoking", of: "tree-2", number: 30, revoking: "tree")
        list("tree-2-plain", of: "tree-2", number: nil)
        list("tree-2-older", of: "tree-2", number: 3)
        // In the name of tree-2, by a key of somebody else's.
        root("impostor", "/CN=tree-2", "plain")
        list("impostor-crl", of: "impostor", number: 1)
        list("impostor-revoking", of: "impostor", number: 1, revoking: "tree")
        for scope in Self.scopes.keys { list("scope-\(scope)", of: "tree-2", number: 99, extensions: scope) }
        list("placed-crl", of: "tree-2", number: 99, extensions: "by-place")
        let der = path("tree-2-crl.der")
        openssl(["crl", "-in", pem("tree-2-crl"), "-outform", "DER", "-out", der])
    }

    /// Extensions that a list is refused for, or that limit it, with the reason.
    static let scopes = [
        "delta": "it is a delta list", "authorities": "it covers only certificates of authorities",
        "users": "it covers only certificates of users", "attributes": "it covers only attribute certificates",
        "reasons": "it covers only some reasons", "indirect": "it is an indirect list",
        "unknown": "it has the critical extension 1.2.3.4",
    ]

    private static let configuration = """
        [req]
        distinguished_name = dn
        [dn]
        [plain]
        basicConstraints = critical,CA:TRUE
        keyUsage = critical,keyCertSign,cRLSign
        subjectKeyIdentifier = hash
        [authority]
        basicConstraints = critical,CA:TRUE
        keyUsage = critical,keyCertSign,cRLSign
        subjectKeyIdentifier = hash
        authorityKeyIdentifier = keyid
        [leaf]
        subjectAltName = DNS:server.test
        [placed]
        subjectAltName = DNS:server.test
        crlDistributionPoints = URI:http://here.test/crl
        [anonymous]
        basicConstraints = critical,CA:TRUE
        subjectKeyIdentifier = none
        authorityKeyIdentifier = none
        [anonymous-leaf]
        subjectAltName = DNS:server.test
        subjectKeyIdentifier = none
        authorityKeyIdentifier = none
        [mute]
        basicConstraints = critical,CA:TRUE
        keyUsage = critical,keyCertSign
        [free]
        basicConstraints = critical,CA:TRUE
        [complete]
        authorityKeyIdentifier = keyid
        [delta]
        2.5.29.27 = critical,DER:020101
        [authorities]
        issuingDistributionPoint = critical,@authorities-point
        [authorities-point]
        onlyCA = TRUE
        [users]
        issuingDistributionPoint = critical,@users-point
        [users-point]
        onlyuser = TRUE
        [attributes]
        issuingDistributionPoint = critical,@attributes-point
        [attributes-point]
        onlyAA = TRUE
        [reasons]
        issuingDistributionPoint = critical,@reasons-point
        [reasons-point]
        fullname = URI:http://here.test/crl
        onlysomereasons = keyCompromise
        [indirect]
        issuingDistributionPoint = critical,@indirect-point
        [indirect-point]
        indirectCRL = TRUE
        [unknown]
        1.2.3.4 = critical,DER:0500
        [by-place]
        issuingDistributionPoint = critical,@placed-point
        [placed-point]
        fullname = URI:http://here.test/crl
        """

    func root(_ name: String, _ subject: String, _ extensions: String) {
        prepare(name)
        openssl(
            ["req", "-new", "-x509", "-config", cfg("openssl"), "-extensions", extensions, "-key", key(name)]
                + ["-subj", subject, "-out", pem(name), "-days", "9000"])
    }

    private func sign(_ name: String, _ subject: String, by authority: String, _ extensions: String) {
        prepare(name)
        let request = path(name + ".csr")
        openssl(["req", "-new", "-config", cfg("openssl"), "-key", key(name), "-subj", subject, "-out", request])
        openssl(
            ["x509", "-req", "-in", request, "-CA", pem(authority), "-CAkey", key(authority), "-days", "9000"]
                + ["-set_serial", "\(serial(of: name))", "-extfile", cfg("openssl"), "-extensions", extensions]
                + ["-out", pem(name)])
    }

    private func serial(of name: String) -> UInt32 { name.utf8.reduce(7) { $0 &* 31 &+ UInt32($1) } }

    /// A list of the authority's, with the extensions of that section besides.
    private func list(
        _ name: String, of authority: String, number: Int?, revoking: String? = nil, extensions: String = "complete"
    ) {
        let date = "21010101000000Z"
        let entry = revoking.map { "R\t\(date)\t200601000000Z\t\(hexadecimal(serial(of: $0)))\tunknown\t/CN=x\n" }
        write(Array((entry ?? "").utf8), as: name + ".index")
        // Without number and extensions it is a list of version 1.
        let numbers = number.map { number in
            write(Array((hexadecimal(UInt32(number)) + "\n").utf8), as: name + ".number")
            return "crlnumber = \(path(name + ".number"))\ncrl_extensions = \(extensions)\n"
        }
        write(
            Array(
                """
                \(Self.configuration)
                [ca]
                default_ca = this
                [this]
                database = \(path(name + ".index"))
                default_md = sha256
                \(numbers ?? "")

                """.utf8), as: name + ".cfg")
        openssl(
            ["ca", "-gencrl", "-config", cfg(name), "-keyfile", key(authority), "-cert", pem(authority), "-crldays"]
                + ["9000", "-out", pem(name)])
    }

    /// With an even number of digits.
    private func hexadecimal(_ number: UInt32) -> String {
        let digits = String(number, radix: 16, uppercase: true)
        return digits.count % 2 == 0 ? digits : "0" + digits
    }

    private func prepare(_ name: String) {
        if !FileManager.default.fileExists(atPath: cfg("openssl")) {
            write(Array((Self.configuration + "\n").utf8), as: "openssl.cfg")
        }
        makeKey(name, "ecdsa")
    }

    private func openssl(_ arguments: [String]) {
        do { try Command.run(["openssl"] + arguments) } catch { fatalError("\(error) (package openssl)") }
    }
}
