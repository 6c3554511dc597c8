import Control
import Foundation
import Settings
import TestSupport
import Testing
import X509

@testable import Unconfined
@testable import tlshctl

@Suite struct ListenerFindingTests {
    private let daemon = ProcessTable.Holder(process: 12, name: "tlshd")

    @Test("A tlshd that does not take what waits for it is a failure, which says why")
    func obstacles() {
        #expect(ListenerCheck.finding(on: daemon, isStopped: false, unread: 0).severity == .ok)
        let stopped = ListenerCheck.finding(on: daemon, isStopped: true, unread: 0)
        #expect(stopped.severity == .failed)
        #expect(stopped.line.hasPrefix("tlshd (process 12) is stopped: requests will wait"))
        #expect(stopped.line.hasSuffix("; remedy: kill -CONT 12"))
        let full = ListenerCheck.finding(on: daemon, isStopped: true, unread: 768)
        #expect(full.text.contains("refuses more than \(Kernel.pendingHandshakes) of them (EAGAIN)"))
        let stuck = ListenerCheck.finding(on: daemon, isStopped: false, unread: 768)
        #expect(stuck.severity == .failed && stuck.text.contains("does not accept requests"))
    }
}

@Suite struct CheckTests {
    private let scratch = TemporaryDirectory()
    private let pki = PKI.shared

    private func check(_ settings: String) throws -> Command {
        scratch.write(settings, to: "config")
        return try Tool.run(
            "check", "-c", scratch.path("config"), "--only", "settings", "--only", "credentials", "--only", "keys")
    }

    @Test("Sound settings are ok, in the first line and the exit status")
    func sound() throws {
        let run = try check(pki.settings("server", crl: "ca.crl"))
        #expect(run.status == 0, "\(run.output)")
        #expect(run.firstLine.hasPrefix("ok: no problems found"))
        #expect(run.output.contains("certificate and key CN=server of"))
        #expect(run.output.contains("completes to our own trust store"))
    }

    @Test("A file of certbot's kind, a symbolic link, is followed")
    func link() throws {
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path("live.pem"), withDestinationPath: pki.path("server.pem"))
        let settings = pki.settings("server").replacing(pki.path("server.pem"), with: scratch.path("live.pem"))
        let run = try check(settings)
        #expect(run.status == 0, "\(run.output)")
    }

    struct Broken: Sendable {
        let name: String
        let settings: @Sendable (PKI) -> String
        let status: Int32
        let line: String
        var hasRemedy = true
    }

    private static let cases = [
        Broken(
            name: "expired", settings: { $0.settings("server-old") }, status: 1,
            line: "CN=server-old of [^ ]* expired on 2021-01-01; remedy: renew it"),
        Broken(
            name: "not yet valid", settings: { $0.settings("server-new") }, status: 1,
            line: "valid only from 2098-01-01 on"),
        Broken(
            name: "key of another", settings: { $0.settings("server", key: "client") }, status: 1,
            line: "server.pem belongs to the private key"),
        Broken(
            name: "missing list", settings: { $0.settings("server", crl: "none.crl") }, status: 1,
            line:
                "none.crl: No such file .*no peer is accepted without.*; remedy: put it there, or correct .*/config:5"
        ),
        Broken(
            name: "missing trust store", settings: { $0.settings("server", trust: "none") }, status: 1,
            line: "none.pem: No such file.*the system's trust store is not used in its place"),
        Broken(
            name: "revoked", settings: { $0.settings("server-gone", crl: "ca.crl") }, status: 1,
            line: "our own certificate is revoked", hasRemedy: false),
        Broken(
            name: "no certificate in the file",
            settings: { $0.settings("server").replacing("server.pem", with: "ca.crl") },
            status: 1, line: "ca.crl cannot be used"),
        Broken(
            name: "for another purpose", settings: { $0.settings("client") }, status: 3,
            line: "CN=client is for clientAuth, not for a server"),
        Broken(
            name: "syntax", settings: { $0.settings("server") + "[debug\n" }, status: 1,
            line: "config:6:7: the \\] of the section is missing"),
        Broken(
            name: "unknown key of a role", settings: { $0.settings("server") + "x509.certificat=x\n" }, status: 1,
            line: "config:6:1: key 'x509.certificat' is unknown in .*; write x509.certificate, or remove the line"),
        Broken(
            name: "unknown section like a known one", settings: { "[Authenticate.Server]\n" + $0.settings("server") },
            status: 1, line: "config:1:1: section 'Authenticate.Server' is unknown.*; write \\[authenticate.server\\]"),
        Broken(
            name: "unknown key", settings: { $0.settings("server") + "[debug]\nlevel=x\n" }, status: 3,
            line: "config:7: key 'level' is unknown", hasRemedy: false),
        Broken(
            name: "a server that trusts everybody",
            settings: {
                $0.settings("server").split(separator: "\n").filter { !$0.contains("truststore") }
                    .joined(separator: "\n")
            },
            status: 3, line: "server: x509.truststore is not set, .*any of the [0-9]+ authorities of .*remedy: name the"
        ),
        Broken(
            name: "missing certificate", settings: { $0.settings("server").replacing("server.pem", with: "none.pem") },
            status: 1,
            line:
                "none.pem: No such file [^;]*; the server is not served without it; remedy: put it there, or correct .*/config:3"
        ),
        Broken(
            name: "missing certificate and trust store",
            settings: { $0.settings("server", trust: "none").replacing("server.pem", with: "nope.pem") }, status: 1,
            line: "none.pem: No such file .*the system's trust store is not used in its place"),
        Broken(
            name: "folder in the place of a key", settings: { $0.settings("server").replacing("server.key", with: "") },
            status: 1,
            line: "open [^ ]*: it is a folder; the server is not served without it; remedy: correct .*/config:4$"),
        Broken(
            name: "certificate in the place of a list", settings: { $0.settings("server", crl: "ca.pem") }, status: 1,
            line: "revocation list [^ ]*/ca.pem cannot be used: it holds no revocation list; it must hold"),
        Broken(
            name: "certificate in the place of a key",
            settings: { $0.settings("server").replacing("server.key", with: "server.pem") },
            status: 1,
            line: "private key [^ ]*/server.pem cannot be used: it holds no private key in PEM; it must be a PEM key"),
        Broken(
            name: "relative path",
            settings: {
                "[authenticate.server]\nx509.certificate=server.pem\n" + $0.settings("client", role: "client")
            },
            status: 1,
            line: "config:2:18: the value of .* is a relative path, .*; write the whole path, which begins with /"),
    ]

    @Test("A missing certificate is not taken for a trust store, though that is missing, too")
    func bothMissing() throws {
        let run = try check(pki.settings("server", trust: "none").replacing("server.pem", with: "nope.pem"))
        #expect(
            run.output.contains("nope.pem: No such file or directory (ENOENT); the server is not served without it"))
        #expect(!run.output.contains("nope.pem: No such file or directory (ENOENT); the system's"), "\(run.output)")
    }

    @Test("A keyring that is not there is a note, as it is used as soon as there is one")
    func missingKeyring() throws {
        let run = try check(pki.settings("server") + "[authenticate]\nkeyrings=none-such\n")
        #expect(
            run.output.contains("note    the settings name a keyring none-such, and there is none"), "\(run.output)")
        #expect(!run.output.contains("FAILED"), "\(run.output)")
    }

    @Test(
        "A key with a passphrase is refused, and the reason says that none is supported",
        arguments: ["-traditional", ""])
    func passphrase(form: String) throws {
        let key = scratch.path("locked.key")
        let flags = form.isEmpty ? [] : [form]
        try Command.run(
            ["openssl", "pkey", "-in", pki.path("server.key"), "-aes128", "-passout", "pass:x", "-out", key] + flags)
        let run = try check(pki.settings("server").replacing(pki.path("server.key"), with: key))
        #expect(run.status == 1, "\(run.output)")
        #expect(
            run.firstLine.contains("\(key) cannot be used: it is encrypted, and a passphrase is not supported; "),
            "\(run.firstLine)")
    }

    @Test("What is broken is the first line", arguments: cases.indices)
    func broken(index: Int) throws {
        let broken = Self.cases[index]
        let run = try check(broken.settings(pki))
        #expect(run.status == broken.status, "\(broken.name): \(run.output)")
        #expect(try run.firstLine.contains(Regex(broken.line)), "\(broken.name): \(run.firstLine)")
        #expect(run.firstLine.hasPrefix(broken.status == 1 ? "FAILED: " : "WARNING: "))
        try expectRemedy(of: broken, in: run.firstLine)
    }

    /// In a document the remedy is apart from the text; the line has both.
    private func expectRemedy(of broken: Broken, in line: String) throws {
        let run = try Tool.run(
            "check", "-c", scratch.path("config"), "--only", "settings", "--only", "credentials", "--json")
        let document = try run.document()
        let findings = document.data["findings"] as? [[String: Any]] ?? []
        let worst = findings.first { $0["status"] as? String == document.status }
        let text = try #require(worst?["text"] as? String)
        #expect(line.contains(text), "\(broken.name): \(text)")
        guard broken.hasRemedy else { return #expect(worst?["remedy"] is NSNull) }
        let remedy = try #require(worst?["remedy"] as? String, "\(broken.name): \(text)")
        #expect(line.contains(remedy) && !text.contains(remedy), "\(broken.name): \(text)")
    }

    @Test(
        "An own RSA key below 2048 bits is a warning, one below 1024 cannot be used; an authority's is a warning",
        arguments: [(2048, Int32(0)), (1024, 3), (512, 1)])
    func sizes(bits: Int, status: Int32) throws {
        let scratch = TemporaryDirectory()
        try pki.selfSigned("small", rsa: bits, in: scratch)
        let own = "x509.certificate=\(scratch.path("small.pem"))\nx509.private_key=\(scratch.path("small.key"))\n"
        let run = try check("[authenticate.server]\nx509.truststore=\(pki.path("ca.pem"))\n" + own)
        #expect(run.status == status, "\(run.output)")
        #expect(run.firstLine.contains("CN=small has an RSA key of \(bits) bits") == (status != 0), "\(run.firstLine)")
        let trusting = try check("[authenticate.client]\nx509.truststore=\(scratch.path("small.pem"))\n")
        #expect(trusting.status == (bits < 2048 ? 3 : 0), "\(trusting.output)")
        #expect(trusting.firstLine.contains("in the trust store CN=small has an RSA key") == (bits < 2048))
    }

    @Test("A chain of our own that is longer than GnuTLS follows is a warning", arguments: [16, 17])
    func longChain(count: Int) throws {
        try pki.chain(of: count, in: scratch)
        let own = "x509.certificate=\(scratch.path("chain.pem"))\nx509.private_key=\(scratch.path("1.key"))\n"
        let run = try check("[authenticate.server]\nx509.truststore=\(pki.path("ca.pem"))\n" + own)
        let text =
            "chain.pem brings a chain of \(count), and peers with GnuTLS refuse more than 16; remedy: use an issuer"
        #expect(run.status == (count > 16 ? 3 : 0), "\(run.output)")
        #expect(run.output.contains(text) == (count > 16), "\(run.output)")
    }

    struct Own: Sendable {
        let name: String
        let extensions: [String]
        var subject = "/CN=own"
        let status: Int32
        let text: String
    }

    private static let owned = [
        Own(
            name: "no digitalSignature", extensions: ["subjectAltName=DNS:a.b", "keyUsage=keyEncipherment"], status: 1,
            text: "the key usage of CN=own has no digitalSignature, without which its key may not sign"),
        Own(
            name: "digitalSignature", extensions: ["subjectAltName=DNS:a.b", "keyUsage=digitalSignature"], status: 0,
            text: "certificate and key CN=own"),
        Own(
            name: "must-staple", extensions: ["subjectAltName=DNS:a.b", "tlsfeature=status_request"], status: 3,
            text: "CN=own demands an OCSP response (must-staple), which tlshd never sends"),
        Own(
            name: "common name only", extensions: [], status: 3,
            text: "CN=own has no subjectAltName: clients with GnuTLS compare its common name, others refuse it"),
        Own(
            name: "no name at all", extensions: [], subject: "/O=own", status: 1,
            text: "O=own has no DNS name and no address in its subjectAltName"),
        Own(
            name: "another kind of name", extensions: ["subjectAltName=email:a@b.example"], status: 1,
            text: "CN=own has no DNS name and no address in its subjectAltName"),
    ]

    @Test("Our own certificate is judged as TLS 1.3 peers will", arguments: owned)
    func own(_ own: Own) throws {
        let (certificate, key) = (scratch.path("own.pem"), scratch.path("own.key"))
        let extensions = own.extensions.flatMap { ["-addext", $0] }
        try Command.run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                "50", "-keyout", key,
                "-out", certificate, "-subj", own.subject,
            ] + extensions)
        let own509 = "x509.certificate=\(certificate)\nx509.private_key=\(key)\n"
        let run = try check("[authenticate.server]\nx509.truststore=\(certificate)\n" + own509)
        #expect(run.status == own.status, "\(own.name): \(run.output)")
        #expect((own.status == 0 ? run.output : run.firstLine).contains(own.text), "\(own.name): \(run.output)")
    }

    @Test("An expired root at the end of our chain is a note, as it is not sent")
    func expiredRoot() throws {
        try pki.expiredAuthority(in: scratch)
        let own = "x509.certificate=\(scratch.path("chain.pem"))\nx509.private_key=\(pki.path("server.key"))\n"
        let run = try check("[authenticate.server]\nx509.truststore=\(pki.path("other-ca.pem"))\n" + own)
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("note    server: the root, which is not sent, CN=old root of"), "\(run.output)")
    }

    @Test("Settings of another tlshd are told in the first line; without -c its own are checked")
    func runningSettings() throws {
        scratch.write("[debug]\nnonsense=1\n", to: "running")
        var report = ServiceReport(version: "9.9", seconds: 61)
        report.settings = [scratch.path("running")]
        let own = try FakeDaemon(report.json)
        let followed = try Tool.run("check", "--only", "settings", "--socket", own.path)
        #expect(followed.status == 3 && followed.firstLine.contains("running:2: key 'nonsense'"), "\(followed.output)")
        scratch.write("[debug]\n", to: "config")
        let asked = try FakeDaemon(report.json)
        let other = try Tool.run("check", "--only", "settings", "-c", scratch.path("config"), "--socket", asked.path)
        #expect(other.status == 0, "\(other.output)")
        #expect(
            other.firstLine.hasPrefix("ok: no problems found; ")
                && other.firstLine.hasSuffix("; tlshd runs with other settings, of \(scratch.path("running"))"),
            "\(other.firstLine)")
        report.settings = [scratch.path("config")]
        let same = try FakeDaemon(report.json)
        let plain = try Tool.run("check", "--only", "settings", "-c", scratch.path("config"), "--socket", same.path)
        #expect(plain.firstLine.hasSuffix("made"), "\(plain.firstLine)")
        report.settings = [ConfigurationSearch.standardPath, ConfigurationSearch.folder + "/none.conf"]
        let stale = try FakeDaemon(report.json)
        let warned = try Tool.run("check", "--only", "settings", "--socket", stale.path)
        #expect(
            warned.firstLine.hasPrefix("WARNING: tlshd runs with the settings of /etc/tlshd/config, "),
            "\(warned.output)")
    }

    @Test(
        "tlshd -t is the check of settings and files, and succeeds unless something fails",
        arguments: ["tlshd", "tlshctl"])
    func test(program: String) throws {
        func run(_ settings: String) throws -> Command {
            scratch.write(settings, to: "config")
            let arguments = program == "tlshd" ? ["-t"] : ["check", "--test"]
            return try Command([Product.path(program)] + arguments + ["-c", scratch.path("config")])
        }
        let broken = try run("[debug\n")
        #expect(broken.status == 1 && broken.text.hasPrefix("FAILED: \(scratch.path("config")):1:"), "\(broken.text)")
        let missing = try run(pki.settings("server", key: "none"))
        #expect(missing.status == 1 && missing.text.contains("none.key: No such file"), "\(missing.text)")
        let warned = try run(pki.settings("server") + "[debug]\nnonsense=1\n")
        #expect(warned.status == 0 && warned.text.hasPrefix("WARNING: "), "\(warned.text)")
    }

    @Test("Two PSKs for one pair, and one that this GnuTLS cannot use, are told")
    func identities() throws {
        let hosts = ["NVMe0R01 nqn.h nqn.s", "NVMe1R01 nqn.h nqn.s", "NVMe0R01 nqn.h nqn.t", "NVMe0R02 nqn.i nqn.s"]
        let keys = hosts.map { "\($0):" + String(repeating: "ab", count: $0.contains("R02") ? 48 : 32) }
        scratch.write(keys.joined(separator: "\n"), to: "psk")
        let run = try check("[authenticate]\npsk.file=\(scratch.path("psk"))\n")
        let double = "psk has 2 PSKs for host nqn.h and subsystem nqn.s: NVMe0R01, NVMe1R01; the kernel decides"
        #expect(run.status == 3 && run.output.contains(double), "\(run.output)")
        #expect(run.output.contains("PSK NVMe0R02 nqn.i nqn.s cannot be used: it needs SHA-384") == !GnuTLS.bindsSHA384)
    }

    @Test("A delta list, which says only what has changed, is no revocation list")
    func delta() throws {
        try pki.deltaList(at: scratch.path("delta.crl"), in: scratch)
        let run = try check(pki.settings("server").appending("x509.crl=\(scratch.path("delta.crl"))\n"))
        #expect(run.status == 1, "\(run.output)")
        #expect(run.firstLine.hasPrefix("FAILED: ") && run.firstLine.contains("it is a delta list"), "\(run.firstLine)")
    }

    @Test("A settings file of another user's is a failure that names him", .enabled(if: geteuid() == 0))
    func strangersSettings() throws {
        let path = scratch.path("config")
        scratch.write("[debug]\n", to: "config")
        try FileManager.default.setAttributes([.ownerAccountID: 65534], ofItemAtPath: path)
        let run = try Tool.run("check", "-c", path, "--only", "settings")
        #expect(run.status == 1, "\(run.output)")
        #expect(
            run.firstLine.hasPrefix("FAILED: ") && run.firstLine.contains("it belongs to uid 65534")
                && run.firstLine.contains("chown root \(path)"), "\(run.firstLine)")
    }

    @Test("A key that the signer would refuse is refused here, for the same reason")
    func foreignCurve() throws {
        let key = scratch.path("p224.key")
        try Command.run("openssl", "ecparam", "-name", "secp224r1", "-genkey", "-noout", "-out", key)
        let run = try check(pki.settings("server").replacing(pki.path("server.key"), with: key))
        #expect(run.status == 1, "\(run.output)")
        #expect(run.firstLine.hasPrefix("FAILED: "))
        #expect(
            run.firstLine.contains("p224.key cannot be used: it is on the curve secp224r1, which TLS 1.3 does not have")
        )
        #expect(!run.firstLine.contains("passphrase"), "\(run.firstLine)")
    }

    @Test(
        "A key that is damaged, or too short to sign with, is refused as the signer refuses it",
        arguments: ["modulus", "publicExponent", "privateExponent", "prime1"])
    func damagedKey(part: String) throws {
        let (key, certificate) = (scratch.path("rsa.key"), scratch.path("rsa.pem"))
        try pki.selfSigned("rsa", rsa: 2048, in: scratch)
        try Command.run("python3", "-c", Self.damage, key, part)
        let own = "x509.certificate=\(certificate)\nx509.private_key=\(key)\n"
        let run = try check("[authenticate.server]\nx509.truststore=\(pki.path("ca.pem"))\n" + own)
        #expect(
            run.status == 1 && run.firstLine.contains("private key \(key) cannot be used: it makes no valid signature"),
            "\(run.output)")
    }

    /// Changes a byte in the middle of a part of an RSAPrivateKey (RFC 8017 A.1.2), which openssl writes in a
    /// PrivateKeyInfo.
    private static let damage = """
        import base64, subprocess, sys
        path, part = sys.argv[1:]
        parts = ["version", "modulus", "publicExponent", "privateExponent", "prime1", "prime2", "exponent1", "exponent2",
                 "coefficient"]
        der = bytearray(subprocess.run(["openssl", "rsa", "-in", path, "-outform", "DER", "-traditional"],
                                       check=True, capture_output=True).stdout)
        def element(at):
            length = der[at + 1]
            if length < 0x80: return at + 2, length
            count = length & 0x7F
            return at + 2 + count, int.from_bytes(der[at + 2:at + 2 + count], "big")
        at, _ = element(0)
        for name in parts:
            start, length = element(at)
            if name == part: der[start + length // 2] ^= 0x55
            at = start + length
        text = base64.encodebytes(der).decode()
        open(path, "w").write("-----BEGIN RSA PRIVATE KEY-----\\n" + text + "-----END RSA PRIVATE KEY-----\\n")
        """

    @Test("A peer that is known by a digest needs no trust store")
    func pinned() throws {
        let pin = "x509.pin=sha256:" + String(repeating: "ab", count: 32)
        let run = try check("[profile filer]\nmatch.role=client\nmatch.peer_name=filer\n\(pin)\n")
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("profile filer, client: trusts 1 pinned peer"), "\(run.output)")
        let own = pki.settings("client", role: "client").split(separator: "\n").filter { !$0.contains("truststore") }
        let presenting = try check(own.joined(separator: "\n") + "\n\(pin)\n")
        #expect(presenting.status == 0 && presenting.output.contains("certificate and key CN=client"))
    }

    @Test("Each pair of certificate and key is looked at, not only the one without a name")
    func pairs() throws {
        func pair(_ name: String, key: String) -> String {
            "x509.rsa.certificate=\(pki.path(name)).pem\nx509.rsa.private_key=\(pki.path(key)).key\n"
        }
        let old = try check(pki.settings("server") + pair("server-old", key: "server-old"))
        #expect(old.status == 1, "\(old.output)")
        #expect(old.firstLine.contains("server: our own certificate CN=server-old of"), "\(old.firstLine)")
        let mixed = try check(pki.settings("server") + pair("server-other", key: "client"))
        #expect(mixed.status == 1 && mixed.firstLine.contains("server-other.pem belongs to the private key"))
        let good = try check(pki.settings("server") + pair("server-other", key: "server-other"))
        #expect(good.status == 0 && good.output.contains("certificate and key CN=server-other"), "\(good.output)")
    }

    @Test("A pair on a token is a certificate of our own, which is not looked into")
    func token() throws {
        let run = try check(
            "[authenticate.server]\nx509.truststore=\(pki.path("ca.pem"))\nx509.certificate=pkcs11:token=t;type=cert\n"
                + "x509.private_key=pkcs11:token=t;type=private\n")
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("server: the key is on a token"))
        #expect(!run.output.contains("server: no certificate is configured"))
        let settings =
            "[authenticate.client]\nx509.truststore=\(pki.path("ca.pem"))\nx509.certificate=\(pki.path("client.pem"))\n"
            + "x509.private_key=pkcs11:token=t?pin-source=file:\(scratch.path("pin"))\n"
        let lacking = try check(settings)
        #expect(lacking.status == 1 && lacking.firstLine.contains("client: the PIN file cannot be read"))
        scratch.write("1234", to: "pin", mode: 0o644)
        let open = try check(settings)
        #expect(open.status == 3 && open.firstLine.contains("holds a PIN") && !open.output.contains("1234"))
    }

    @Test("Suites and groups that are not possible here are a failure; the others are told")
    func limits() throws {
        scratch.write("[overrides]\ntls-disabled-cipher = aes-128-gcm\n", to: "gnutls", mode: 0o644)
        let settings = pki.settings("server") + "tls.groups=SECP384R1\ntls.suites="
        func run(_ suite: String) throws -> Command {
            scratch.write(settings + suite + "\n", to: "config")
            return try Tool.run(
                "check", "-c", scratch.path("config"), "--only", "credentials",
                environment: ["GNUTLS_SYSTEM_PRIORITY_FILE": scratch.path("gnutls")])
        }
        let good = try run("TLS_AES_256_GCM_SHA384")
        #expect(good.status == 0, "\(good.output)")
        #expect(good.output.contains("server: its settings leave suites TLS_AES_256_GCM_SHA384; groups SECP384R1"))
        let bad = try run("TLS_AES_128_GCM_SHA256")
        #expect(bad.status == 1, "\(bad.output)")
        #expect(bad.firstLine.hasPrefix("FAILED: server: tls.suites: TLS_AES_128_GCM_SHA256 is not possible: "))
    }

    @Test("Finite-field groups are told with what they cost: named in settings, alone in the policy, and left out")
    func finiteFields() throws {
        func run(_ only: String, _ settings: String, policy: String = "") throws -> Command {
            scratch.write(settings, to: "config")
            scratch.write(policy, to: "gnutls", mode: 0o644)
            return try Tool.run(
                "check", "-c", scratch.path("config"), "--only", only,
                environment: ["GNUTLS_SYSTEM_PRIORITY_FILE": scratch.path("gnutls")])
        }
        let named = try run("credentials", pki.settings("server") + "tls.groups=X25519;FFDHE8192\n")
        #expect(named.status == 3, "\(named.output)")
        #expect(named.firstLine.hasPrefix("WARNING: server: tls.groups names FFDHE8192: any unauthenticated peer "))
        let usual = try run("policy", "")
        #expect(
            usual.output.contains("groups that are used only where tls.groups names them, as they cost too much: FFDHE")
        )
        let alone = try run(
            "policy", "", policy: "[overrides]\ndefault-priority-string = NORMAL:-GROUP-ALL:+GROUP-FFDHE3072\n")
        #expect(alone.output.contains("the crypto policy leaves no groups but FFDHE3072: any unauthenticated peer "))
    }

    @Test(
        "What the control socket and the file of figures need is looked for, and named by its line",
        arguments: [
            ("[control]\ngroup=no-such-group", "config:2: [control] group: /etc/group has no group no-such-group"),
            ("[control]\n\nsocket=/none/there/control", "config:3: [control] socket: there is no folder /none,"),
            ("[metrics]\ntextfile=/none/tlshd.prom", "config:2: [metrics] textfile: there is no folder /none,"),
        ])
    func places(settings: String, text: String) throws {
        let run = try check(settings + "\n")
        #expect(
            run.status == 3 && run.firstLine.hasPrefix("WARNING: ") && run.firstLine.contains(text), "\(run.output)")
        #expect(run.firstLine.contains("; remedy: "))
    }

    @Test("Session tags are looked at, as a mistake in them keeps tlshd from starting")
    func tags() throws {
        scratch.write("", to: "config")
        var options = ConfigurationOptions()
        options.configuration = scratch.path("config")
        func findings() -> [Finding] { SettingsCheck(options, tags: scratch.path("tags.d")).findings }
        #expect(!findings().contains { $0.text.contains("tags") }, "no folder")
        try FileManager.default.createDirectory(atPath: scratch.path("tags.d"), withIntermediateDirectories: false)
        scratch.write("tags: {one: {filter: []}}\n", to: "tags.d/a.yml")
        #expect(findings().contains { $0.severity == .ok && $0.text.hasSuffix("/tags.d/a.yml: one") })
        scratch.write("tags: {two: {filter: [none]}}\n", to: "tags.d/b.yml")
        let failed = try #require(findings().first { $0.severity == .failed })
        #expect(failed.line.contains("/tags.d/b.yml:1:23: no file defines a filter of this name"), "\(failed.line)")
    }

    @Test("A folder, a FIFO or a device in the place of a file of PSKs is called what it is")
    func strangeFiles() throws {
        try Command.run("mkfifo", scratch.path("fifo"))
        for (path, kind) in [(scratch.path, "a folder"), (scratch.path("fifo"), "a FIFO"), ("/dev/null", "a device")] {
            scratch.write("[authenticate]\npsk.file=\(path)\n", to: "config")
            let run = try Tool.run("check", "-c", scratch.path("config"), "--only", "keys")
            #expect(run.status == 1, "\(run.output)")
            #expect(
                run.firstLine.hasSuffix(
                    "psk.file cannot be read: open \(path): it is \(kind); remedy: name another file, or remove the line"
                ),
                "\(run.firstLine)")
        }
        scratch.write("a:00112233445566778899aabbccddeeff\n", to: "psk")
        scratch.write("[authenticate]\npsk.file=\(scratch.path("psk"))\n", to: "config")
        let one = try Tool.run("check", "-c", scratch.path("config"), "--only", "keys")
        #expect(one.output.contains("holds 1 PSK for keyring"), "\(one.output)")
    }

    @Test("Without tlshd and unit, the check says what service it assumes")
    func assumption() throws {
        #expect(ServiceView(unit: nil).assumption?.contains("sees the same /tmp as this shell") == true)
        #expect(ServiceView(unit: []).assumption == nil)
        scratch.write("", to: "config")
        let run = try Tool.run("check", "-c", scratch.path("config"), "--only", "settings")
        let assumption = ServiceView.current.assumption
        #expect(assumption == nil || run.output.contains("note    \(assumption ?? "")"), "\(run.output)")
    }

    @Test("tlshd -t says that it needs tlshctl, where that does not stand beside it")
    func alone() throws {
        try FileManager.default.copyItem(atPath: Product.path("tlshd"), toPath: scratch.path("tlshd"))
        let run = try Command(scratch.path("tlshd"), "-t")
        #expect(run.status == 1)
        #expect(
            run.text.contains("-t needs tlshctl beside tlshd: ")
                && run.text.contains("remedy: install it there, or run tlshctl check --test"), "\(run.text)")
    }

    @Test("A file of PSKs that is not there is named with its line and what to do")
    func missingPSKFile() throws {
        let run = try check("[authenticate]\npsk.file=\(scratch.path("none"))\n")
        #expect(
            run.status == 1 && run.firstLine.contains("config:2: psk.file cannot be read: open"), "\(run.firstLine)")
        #expect(run.firstLine.hasSuffix("; remedy: put the file there, or remove the line"))
    }

    @Test("A private key that others can read is a warning, and one that a group can read is not")
    func modes() throws {
        for (mode, status) in [(0o600, 0), (0o400, 0), (0o640, 0), (0o644, 3), (0o660, 3)] {
            let key = try String(contentsOfFile: pki.path("server.key"), encoding: .utf8)
            scratch.write(key, to: "key", mode: mode)
            let run = try check(pki.settings("server").replacing(pki.path("server.key"), with: scratch.path("key")))
            #expect(run.status == Int32(status), "\(String(mode, radix: 8)): \(run.output)")
            if status == 3 { #expect(run.firstLine.contains("chmod 600")) }
        }
    }

    @Test(
        "A file that root reads only with capabilities that the unit does not grant is told, with what closes it",
        .enabled(if: geteuid() == 0))
    func closed() throws {
        let key = try String(contentsOfFile: pki.path("server.key"), encoding: .utf8)
        let folder = scratch.path("folder")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        let path = "\(folder)/key"
        let settings = pki.settings("server").replacing(pki.path("server.key"), with: path)
        func run(_ mode: Int, owner: Int, folder folderMode: Int = 0o755, owner folderOwner: Int = 0) throws -> Command
        {
            scratch.write(key, to: "folder/key", mode: mode)
            for (path, owner, mode) in [(path, owner, mode), (folder, folderOwner, folderMode)] {
                try FileManager.default.setAttributes(
                    [.ownerAccountID: owner, .groupOwnerAccountID: owner, .posixPermissions: mode], ofItemAtPath: path)
            }
            return try check(settings)
        }
        let told = "\(path) cannot be read by the service, though root in a shell can: "
        for (mode, owner, remedy) in [
            (0o000, 0, "chmod u+r \(path)"), (0o600, 65534, "chown root \(path), or foreign-files.conf"),
        ] {
            let run = try run(mode, owner: owner)
            let place =
                "\(path) belongs to uid \(owner) and has mode \(String(format: "%04o", mode)); remedy: \(remedy)"
            #expect(run.status == 3 && run.firstLine == "WARNING: \(told)\(place)", "\(run.output)")
        }
        for (mode, owner, remedy) in [
            (0o600, 0, "chmod u+x \(folder)"), (0o700, 65534, "move it to /etc/tlshd, or foreign-files.conf"),
        ] {
            let run = try run(0o600, owner: 0, folder: mode, owner: owner)
            let place =
                "\(folder) belongs to uid \(owner) and has mode \(String(format: "%04o", mode)); remedy: \(remedy)"
            #expect(run.status == 3 && run.firstLine == "WARNING: \(told)\(place)", "\(run.output)")
        }
        let open = try run(0o604, owner: 65534)
        #expect(open.status == 3 && open.firstLine.contains("is a private key"), "\(open.output)")
        #expect(try run(0o600, owner: 0).status == 0)
    }

    @Test(
        "A service that runs is looked at: what it may read, and which files its mounts show",
        .enabled(if: geteuid() == 0))
    func runningService() throws {
        scratch.write("x", to: "seen", mode: 0o600)
        try FileManager.default.createDirectory(atPath: scratch.path("own"), withIntermediateDirectories: false)
        scratch.write("x", to: "own/hidden", mode: 0o600)
        scratch.write("x", to: "closed", mode: 0)
        func findings(_ drop: String, _ body: (ServiceView) -> Void) throws {
            let own = scratch.path("own")
            let program = try PeerProgram(
                "/usr/bin/unshare",
                [
                    "--mount", "sh", "-c",
                    "mount -t tmpfs none \(own) && exec setpriv --bounding-set=\(drop) --inh-caps=\(drop) cat",
                ])
            // Its answer shows that it is there, with the rights that it keeps.
            program.write("ready\n")
            try #require(program.wait(for: "ready\n"), "\(program.text)")
            body(ServiceView(process: program.identifier))
        }
        try findings("-dac_override,-dac_read_search") { view in
            #expect(view.finding(on: scratch.path("seen"), .credentials) == nil)
            let hidden = view.finding(on: scratch.path("own/hidden"), .credentials)
            #expect(hidden?.severity == .failed && hidden?.text.contains("does not see the file") == true)
            let closed = view.finding(on: scratch.path("closed"), .keys)
            #expect(closed?.severity == .failed && closed?.text.contains("cannot be read by tlshd (process ") == true)
        }
        try findings("-kill") { view in #expect(view.finding(on: scratch.path("closed"), .keys) == nil) }
    }

    @Test("A unit with a /tmp of its own hides files there, and one with CAP_DAC_READ_SEARCH reads every file")
    func unit() throws {
        let temporary = "/tmp/tlshctl-\(UUID().uuidString)"
        #expect(FileManager.default.createFile(atPath: temporary, contents: nil, attributes: [.posixPermissions: 0]))
        defer { try? FileManager.default.removeItem(atPath: temporary) }
        func finding(_ lines: [Substring]?) -> Finding? { ServiceView(unit: lines).finding(on: temporary, .keys) }
        let bounds = ["CapabilityBoundingSet=CAP_NET_ADMIN CAP_KILL", "CapabilityBoundingSet=CAP_DAC_READ_SEARCH"].map {
            Substring($0)
        }
        let own = finding(bounds + ["PrivateTmp=no", "PrivateTmp=yes"])
        #expect(own?.severity == .failed && own?.text.contains("a file that the service does not see") == true)
        #expect(finding(bounds + ["PrivateTmp=no"]) == nil)
        #expect(finding([]) == nil)
        guard geteuid() == 0 else { return }
        #expect(finding([bounds[0]])?.severity == .failed)
        #expect(finding(nil)?.severity == .warning)
    }

    @Test("A settings file that others can write is a warning, and so is its folder; another user's is a failure")
    func access() throws {
        func set(_ mode: Int, _ name: String) throws {
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: scratch.path(name))
        }
        let folder = scratch.path("etc")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        scratch.write("[debug]\n", to: "etc/config")
        func run() throws -> Command {
            try Tool.run("check", "-c", "\(folder)/config", "--only", "settings")
        }
        #expect(try run().status == 0)
        for (name, good) in [("etc/config", 0o600), ("etc", 0o755)] {
            try set(0o777, name)
            let run = try run()
            #expect(
                run.status == 3 && run.firstLine.contains("remedy: chmod go-w \(scratch.path(name))"), "\(run.output)")
            try set(good, name)
        }
        #expect(try run().status == 0)
    }

    @Test("A file that systemd gives to the service is looked for where it is, and is unknown while there is none")
    func serviceCredentials() throws {
        let settings = pki.settings("server").replacing(pki.path("server.key"), with: "%d/server.key")
        scratch.write(settings, to: "config")
        let arguments = ["check", "-c", scratch.path("config"), "--only", "credentials"]
        let given = try Tool.run(arguments, environment: ["CREDENTIALS_DIRECTORY": pki.folder])
        #expect(given.status == 0 && given.output.contains("certificate and key CN=server"), "\(given.output)")
        let absent = try Tool.run(arguments)
        #expect(absent.status == 4, "\(absent.output)")
        #expect(absent.firstLine.contains("%d/server.key is a file that systemd gives to the service"))
    }

    @Test("A certificate that will soon expire is a warning; how soon can be said")
    func soon() throws {
        scratch.write(pki.settings("server"), to: "config")
        let run = try Tool.run("check", "-c", scratch.path("config"), "--only", "credentials", "--days", "3650")
        #expect(run.status == 0)
        try pki.selfSigned("soon", for: "soon", days: 5, at: scratch.path("soon.pem"))
        let settings = pki.settings("server").replacing(pki.path("server.pem"), with: scratch.path("soon.pem"))
        // Of five days it has lived none.
        #expect(try check(settings).status == 0)
        scratch.write(settings, to: "config")
        let warned = try Tool.run("check", "-c", scratch.path("config"), "--only", "credentials", "--days", "14")
        #expect(warned.status == 3, "\(warned.output)")
        #expect(try warned.firstLine.contains(Regex("CN=soon of .* in [45] days")), "\(warned.firstLine)")
        let now = Date()
        let (start, end) = (now.addingTimeInterval(-3 * 86_400), now.addingTimeInterval(86_400 + 60))
        scratch.write(
            "cn = soon\ndns_name = soon\nsigning_key\nactivation_date = \"\(start.formatted(.iso8601))\"\n"
                + "expiration_date = \"\(end.formatted(.iso8601))\"\n", to: "template")
        try Command.run(
            "certtool", "--generate-self-signed", "--load-privkey", pki.path("server.key"), "--template",
            scratch.path("template"), "--outfile", scratch.path("soon.pem"))
        let third = try check(settings)
        #expect(third.status == 3, "\(third.output)")
        #expect(third.firstLine.contains(", in 1 day; remedy: renew it"), "\(third.firstLine)")
    }

    @Test("A mount with xprtsec=mtls is a warning, where no client certificate is configured")
    func mounts() {
        scratch.write(
            """
            # nfs1:/old /old nfs4 xprtsec=mtls 0 0
            nfs1:/a /a nfs4 rw,xprtsec=mtls,_netdev 0 0
            nfs1:/b\t/b\tnfs\txprtsec=tls 0 0
            nfs1:/c /c nfs4 xprtsec=mtls,cert_serial=12,privkey_serial=13 0 0
            /dev/sda1 / ext4 defaults 0 1
            """, to: "fstab")
        func warnings(_ settings: DaemonSettings) -> [String] {
            CredentialsCheck(settings, tables: [scratch.path("fstab"), "/none-such"]).findings
                .filter { $0.text.contains("xprtsec=mtls, and") }.map(\.line)
        }
        let found = warnings(DaemonSettings())
        #expect(found.count == 1)
        #expect(
            found.first
                == "\(scratch.path("fstab")): nfs1:/a on /a has xprtsec=mtls, and no client certificate is configured, so that "
                + "a mount or a reconnect fails; remedy: set x509.certificate and x509.private_key in "
                + "[authenticate.client], or mount with xprtsec=tls")
        var settings = DaemonSettings()
        settings.client.certificate = Located(.file(pki.path("client.pem")), origin: .builtIn)
        settings.client.privateKey = Located(.file(pki.path("client.key")), origin: .builtIn)
        #expect(warnings(settings).isEmpty)
    }

    @Test("Profiles are looked at like the default")
    func profiles() throws {
        let section = pki.settings("client-old", role: "client").replacing("authenticate.client", with: "profile lab")
        let run = try check(pki.settings("server") + section + "match.role=client\n")
        #expect(run.status == 1)
        #expect(run.firstLine.contains("profile lab, client: our own certificate CN=client-old"), "\(run.firstLine)")
    }

    @Test("A file of PSKs is read: its errors have a place, and no text of it is shown")
    func pskFile() throws {
        scratch.write("NVMe0R01 nqn.h nqn.s:abcd\n", to: "psk")
        let run = try check("[authenticate]\npsk.file=\(scratch.path("psk"))\n")
        #expect(run.status == 1)
        #expect(run.firstLine.contains("psk:1:") && !run.output.contains("abcd"), "\(run.firstLine)")
    }

    @Test("JSON has the same verdict, and every finding")
    func json() throws {
        scratch.write(pki.settings("server-old"), to: "config")
        let run = try Tool.run("check", "-c", scratch.path("config"), "--only", "credentials", "--json")
        let document = try run.document()
        #expect(run.status == 1 && document.status == "failed" && document.summary.hasSuffix("renew it"))
        let findings = document.data["findings"] as? [[String: Any]] ?? []
        #expect(findings.contains { $0["status"] as? String == "failed" && $0["remedy"] as? String == "renew it" })
        #expect(findings.contains { $0["status"] as? String == "ok" && $0["remedy"] is NSNull })
    }

    @Test("A monitoring system gets a line and its own statuses")
    func plugin() throws {
        scratch.write(pki.settings("server-old"), to: "config")
        let only = ["check", "--nagios", "--only", "credentials", "-c", scratch.path("config")]
        let failed = try Tool.run(only)
        #expect(failed.status == 2 && failed.output.split(separator: "\n").count == 1, "\(failed.output)")
        #expect(failed.output.hasPrefix("TLSHD CRITICAL - ") && failed.output.contains("; remedy: renew it"))
        scratch.write(pki.settings("server"), to: "config")
        let good = try Tool.run(only)
        #expect(good.status == 0 && good.output.hasPrefix("TLSHD OK - no problems found; "), "\(good.output)")
        #expect(good.output.contains(" | ok="))
    }

    @Test("The whole of it runs anywhere, and says what this kernel lacks")
    func whole() throws {
        let run = try Tool.run("check", "--color", "always")
        #expect([0, 1, 3, 4].contains(run.status))
        for area in ["kernel", "settings", "credentials", "policy", "keys", "listeners"] {
            #expect(run.output.contains("\u{1B}[1m\(area)\u{1B}[0m"), "\(area)")
        }
        #expect(!(try Tool.run("check", "--color", "auto").output.contains("\u{1B}")))
    }

    @Test("Colours are for terminals, unless NO_COLOR is set", arguments: [([:], true), (["NO_COLOR": "1"], false)])
    func terminal(environment: [String: String], isStyled: Bool) throws {
        let variables = ["PATH": "/usr/bin:/bin", "TERM": "xterm"].merging(environment) { $1 }
        let text = try Command(
            ["--ignore-environment"] + variables.map { "\($0)=\($1)" } + [
                "python3", "-c", "import pty, sys; pty.spawn(sys.argv[1:])", Tool.path, "check", "--only", "settings",
                "-c",
                "/dev/null/x",
            ]
        ).text
        #expect(text.contains("FAILED"), "\(text)")
        #expect(text.contains("\u{1B}[") == isStyled, "\(text)")
    }

    @Test("A policy file that forbids ciphers is named, and what it forbids is not used")
    func policy() throws {
        scratch.write(
            "[overrides]\ntls-disabled-cipher = aes-128-gcm\ntls-disabled-cipher = aes-128-ccm\n", to: "gnutls",
            mode: 0o644)
        let run = try Tool.run(
            "check", "--only", "policy", environment: ["GNUTLS_SYSTEM_PRIORITY_FILE": scratch.path("gnutls")])
        #expect(run.output.contains("policy by \(scratch.path("gnutls"))"), "\(run.output)")
        let suites = run.output.split(separator: "\n").first { $0.contains(" suites") } ?? ""
        #expect(
            suites.contains("TLS_AES_256_GCM_SHA384") && !suites.contains("TLS_AES_128_GCM_SHA256"), "\(run.output)")
    }

    @Test("Wrong usage has its own exit status")
    func usage() throws {
        #expect(try Tool.run("check", "--peer", "x").status == 2)
        #expect(try Tool.run("check", "--only", "weather").status == 2)
        #expect(try Tool.run("no-such-command").status == 2)
    }
}
