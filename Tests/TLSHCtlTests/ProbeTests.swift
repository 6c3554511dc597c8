import Foundation
import Glibc
import Handshake
import Synchronization
import TestSupport
import Testing

@testable import tlshctl

@Suite struct ProbeTargetTests {
    @Test(
        "URLs are understood",
        arguments: [
            ("nfs://a.example", ProbeTarget.Scheme.nfs, "a.example", 2049),
            ("nvme://192.0.2.1", .nvme, "192.0.2.1", 4420),
            ("NFS://a:20049/", .nfs, "a", 20049), ("tls://[2001:db8::1]:443", .tls, "2001:db8::1", 443),
            ("nfs://[fe80::1%eth0]", .nfs, "fe80::1%eth0", 2049), ("nfs://::1", .nfs, "::1", 2049),
            ("nfs://a.example/export/home", .nfs, "a.example", 2049), ("nfs://[::1]:20049/e", .nfs, "::1", 20049),
            ("nfs1", .nfs, "nfs1", 2049), ("nfs1:20049", .nfs, "nfs1", 20049), ("nfs1:/export", .nfs, "nfs1", 2049),
            ("192.0.2.1:/", .nfs, "192.0.2.1", 2049), ("[fe80::1%lan0]", .nfs, "fe80::1%lan0", 2049),
            ("[::1]:20049", .nfs, "::1", 20049), ("[2001:db8::1]:/export", .nfs, "2001:db8::1", 2049),
            ("fe80::1%lan0", .nfs, "fe80::1%lan0", 2049), ("nfs1:/a:/b", .nfs, "nfs1", 2049),
        ])
    func good(text: String, scheme: ProbeTarget.Scheme, host: String, port: UInt16) throws {
        let target = try #require(ProbeTarget(argument: text))
        #expect(target.scheme == scheme && target.host == host && target.port == port)
    }

    @Test(
        "Others are not",
        arguments: [
            "http://a", "tls://a", "nfs://", "nfs://:1", "nfs://a:", "nfs://a:0", "nfs://a:65536", "nfs://a:08",
            "nvme://a/b", "tls://a:1/b", "nfs://[::1", "nfs://[::1]x", "nfs://[::1]:", "nfs://a b", "", ":/export",
            "/export", "a/b", "a:", "a:b", "[::1]:", "a:20049:/export", "nfs://a:/export",
        ])
    func bad(text: String) {
        #expect(ProbeTarget(argument: text) == nil)
    }

    @Test("The error says what is missing")
    func usage() throws {
        let run = try Tool.run("probe", "tls://localhost")
        #expect(
            run.status == 2
                && run.errors.contains("tls:// has no usual port, so that it needs one, as in tls://localhost:443"),
            "\(run.errors)")
        let other = try Tool.run("probe", "http://a")
        #expect(other.status == 2 && other.errors.contains("or a URL with nfs, nvme or tls"), "\(other.errors)")
    }
}

@Suite struct ConnectionTests {
    @Test("An address that swallows everything leaves time for the next; the last has all that is left")
    func turns() {
        #expect(Connection.turn(100, until: 1000, among: 3) == 400)
        #expect(Connection.turn(400, until: 1000, among: 2) == 700)
        #expect(Connection.turn(700, until: 1000, among: 1) == 1000)
        #expect(Connection.turn(1001, until: 1000, among: 1) == 1000)
        #expect(Connection.turn(0, until: 1000, among: 0) == 1000)
    }
}

@Suite struct ProbeTests {
    private let pki = PKI.shared
    private static let identity = "NVMe0R01 nqn.h nqn.s"
    private static let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

    private func probe(_ url: String, _ more: String...) throws -> Command {
        try Tool.run(["probe", url, "--truststore", pki.path("ca.pem")] + more)
    }

    private var mutual: [String] { ["--certificate", pki.path("client.pem"), "--key", pki.path("client.key")] }

    @Test("A sound server shows suite, group, chain and verdicts")
    func sound() throws {
        let server = try TLSServer("server")
        let run = try probe("tls://127.0.0.1:\(server.port)")
        #expect(run.status == 0, "\(run.output)")
        #expect(run.firstLine.hasPrefix("ok: TLS with tls://127.0.0.1:\(server.port)"))
        for text in [
            "TLS_AES_", "peer CN=server", "ok  chain", "127.0.0.1 is IP:127.0.0.1", "certificate 0: CN=server",
        ] {
            #expect(run.output.contains(text), "\(text) in \(run.output)")
        }
    }

    @Test("A small RSA key in the server's chain is a warning, or refused by the library's own policy")
    func size() throws {
        let scratch = TemporaryDirectory()
        try pki.selfSigned("small", rsa: 1024, in: scratch)
        try FileManager.default.copyItem(atPath: scratch.path("small.pem"), toPath: pki.path("small.pem"))
        try FileManager.default.copyItem(atPath: scratch.path("small.key"), toPath: pki.path("small.key"))
        let server = try TLSServer("small", ["-cipher", "DEFAULT@SECLEVEL=0"])
        let run = try Tool.run("probe", "tls://127.0.0.1:\(server.port)", "--truststore", scratch.path("small.pem"))
        #expect(run.status == 3 || run.output.contains("certificateInsecureAlgorithm"), "\(run.output)")
        #expect(run.output.contains("CN=small has an RSA key of 1024 bits, less than 2048"), "\(run.output)")
        let sound = try TLSServer("server")
        let own = try probe(
            "tls://127.0.0.1:\(sound.port)", "--certificate", scratch.path("small.pem"), "--key",
            scratch.path("small.key"))
        #expect(own.output.contains("note: our own certificate CN=small has an RSA key of 1024 bits"), "\(own.output)")
    }

    @Test("ALPN sunrpc is shown where the server takes it")
    func alpn() throws {
        let server = try TLSServer("server", ["-alpn", "sunrpc"])
        #expect(try probe("tls://127.0.0.1:\(server.port)").firstLine.contains("ALPN sunrpc"))
    }

    @Test("A server that demands a certificate gets ours, and its refusal of another's is told")
    func mutualTLS() throws {
        let server = try TLSServer("server", ["-Verify", "1", "-verify_return_error", "-CAfile", pki.path("ca.pem")])
        let good = try Tool.run(
            ["probe", "tls://127.0.0.1:\(server.port)", "--truststore", pki.path("ca.pem")] + mutual)
        #expect(good.status == 0, "\(good.output)")
        #expect(good.firstLine.contains("works: x509"))
        let bad = try probe(
            "tls://127.0.0.1:\(server.port)", "--certificate", pki.path("client-alien.pem"), "--key",
            pki.path("client-alien.key"))
        #expect(bad.status == 1)
        #expect(bad.firstLine.contains("the server refused our certificate: unknown_ca"), "\(bad.firstLine)")
    }

    @Test(
        "What is wrong with a server is the first line",
        arguments: [
            (
                "server-old", "the peer's certificate has expired (CN=server-old expired on 2021-01-01)",
                "certificateExpired"
            ),
            ("server-new", "the peer's certificate is not yet valid", "certificateNotYetValid"),
            ("server-other", "the peer's certificate is for another name (wanted 127.0.0.1", "certificateNameMismatch"),
            ("server-alien", "the peer's certificate is from an unknown authority", "certificateUnknownAuthority"),
            ("server-gone", "the peer's certificate is revoked", "certificateRevoked"),
        ])
    func broken(name: String, text: String, reason: String) throws {
        let server = try TLSServer(name)
        let url = "tls://127.0.0.1:\(server.port)"
        let run = try probe(url, "--crl", pki.path("ca.crl"))
        #expect(run.status == 1)
        #expect(run.firstLine.hasPrefix("FAILED: ") && run.firstLine.contains(text), "\(run.firstLine)")
        #expect(run.firstLine.contains("; remedy: "))
        #expect(run.output.contains("certificate 0: CN=\(name)"), "\(run.output)")
        let document = try probe(url, "--crl", pki.path("ca.crl"), "--json").document().data
        #expect(document["reason"] as? String == reason)
    }

    @Test("Another name can be asked for")
    func name() throws {
        let server = try TLSServer("server-other")
        let run = try probe("tls://127.0.0.1:\(server.port)", "--name", "elsewhere.rig")
        #expect(run.status == 0, "\(run.output)")
    }

    @Test("IPv6 addresses are connected to and verified")
    func address6() throws {
        let server = try TLSServer("server", address: "[::1]")
        let run = try probe("tls://[::1]:\(server.port)")
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("::1 is IP:::1"))
    }

    @Test("A server without TLS 1.3 is told apart")
    func old() throws {
        let server = try TLSServer("server", ["-no_tls1_3"])
        let run = try probe("tls://127.0.0.1:\(server.port)")
        #expect(run.status == 1)
        #expect(
            run.firstLine.contains("does not speak TLS 1.3") || run.firstLine.contains("protocol_version"),
            "\(run.firstLine)")
    }

    @Test("A profile of the settings is used: the one that fits, or the one that is named")
    func profile() throws {
        let server = try TLSServer("server")
        let scratch = TemporaryDirectory()
        scratch.write(
            """
            [authenticate.client]
            x509.truststore=\(pki.path("other-ca.pem"))
            [profile lab]
            match.role=client
            match.peer_address=127.0.0.0/8
            x509.truststore=\(pki.path("ca.pem"))

            """, to: "config")
        let url = "tls://127.0.0.1:\(server.port)"
        let fitting = try Tool.run("probe", url, "-c", scratch.path("config"), "--json").document().data
        #expect(fitting["profile"] as? String == "lab" && fitting["reason"] is NSNull)
        let named = try Tool.run("probe", url, "-c", scratch.path("config"), "--profile", "default")
        #expect(named.status == 1 && named.firstLine.contains("unknown authority"))
        let absent = try Tool.run("probe", url, "-c", scratch.path("config"), "--profile", "none")
        #expect(absent.status == 1 && absent.firstLine.contains("no [profile none]"))
    }
}

@Suite struct ProbeRuleTests {
    private let pki = PKI.shared
    private let scratch = TemporaryDirectory()

    private func probe(_ server: TLSServer, _ settings: String, _ more: String...) throws -> Command {
        scratch.write(settings + "\n", to: "config")
        return try Tool.run(["probe", "tls://127.0.0.1:\(server.port)", "-c", scratch.path("config")] + more)
    }

    @Test("A peer that is known by its digest needs neither authority nor name; another is refused as a mount would be")
    func pins() throws {
        let file = pki.path("filer.pem")
        try pki.selfSigned("filer", for: "filer.example", days: 50, at: file)
        try FileManager.default.copyItem(atPath: pki.path("server.key"), toPath: pki.path("filer.key"))
        let digest = try Command("openssl", "x509", "-in", file, "-noout", "-fingerprint", "-sha256").text
        let pin = "sha256:\(digest.split(separator: "=").last.map(String.init) ?? "")".trimmingCharacters(in: .newlines)
        let server = try TLSServer("filer")
        let good = try probe(server, "[authenticate.client]\nx509.pin=\(pin)")
        #expect(good.status == 0, "\(good.output)")
        #expect(good.output.contains("rules") && !good.output.contains("chain  "), "\(good.output)")
        let other = "sha256:" + String(repeating: "ab", count: 32)
        let bad = try probe(server, "[authenticate.client]\nx509.pin=\(other)", "--json")
        #expect(bad.status == 1)
        #expect(try bad.document().data["reason"] as? String == "certificateNotPinned", "\(bad.output)")
    }

    @Test("What the settings allow of peers, suites and groups holds for a probe")
    func rules() throws {
        let trust = "[authenticate.client]\nx509.truststore=\(pki.path("ca.pem"))\n"
        let server = try TLSServer("server")
        let refused = try probe(server, trust + "x509.allow.san=DNS:other.example")
        #expect(refused.status == 1 && refused.firstLine.contains("x509.allow.san"), "\(refused.firstLine)")
        #expect(refused.output.contains("FAILED  rules"), "\(refused.output)")
        let limits = "tls.suites=TLS_CHACHA20_POLY1305_SHA256\ntls.groups=SECP384R1"
        let limited = try probe(server, trust + limits, "--json").document().data
        #expect(
            limited["suite"] as? String == "TLS_CHACHA20_POLY1305_SHA256" && limited["group"] as? String == "SECP384R1")
        let remarked = try probe(server, trust + "x509.purpose=log\ntls.alpn=log")
        #expect(remarked.status == 0, "\(remarked.output)")
        #expect(remarked.output.contains("note: the peer did not agree on ALPN sunrpc"), "\(remarked.output)")
    }

    @Test("A probe without certificate is advised where our certificate is at fault, and not where the trust store is")
    func advice() throws {
        let server = try TLSServer("server")
        let pair = "x509.certificate=\(pki.path("client.pem"))\nx509.private_key=/none-such.key\n"
        for (trust, isHelp) in [(pki.path("ca.pem"), true), ("/none-such.pem", false)] {
            let run = try probe(server, "[authenticate.client]\nx509.truststore=\(trust)\n\(pair)")
            #expect(run.status == 1 && run.firstLine.contains("cannot be used"), "\(run.firstLine)")
            #expect(run.firstLine.contains("; remedy: see tlshctl check"), "\(run.firstLine)")
            #expect(run.firstLine.contains("--mode tls") == isHelp, "\(run.firstLine)")
        }
    }

    @Test("A key on a token is not presented, and that is said; who insists is told why not")
    func token() throws {
        let server = try TLSServer("server")
        let settings = """
            [authenticate.client]
            x509.truststore=\(pki.path("ca.pem"))
            x509.certificate=\(pki.path("client.pem"))
            x509.private_key=pkcs11:token=t
            """
        let automatic = try probe(server, settings)
        #expect(automatic.status == 0, "\(automatic.output)")
        #expect(automatic.output.contains("note: the key is on a token (pkcs11:…)"), "\(automatic.output)")
        let insisting = try probe(server, settings, "--mode", "mtls")
        #expect(insisting.status == 1 && insisting.firstLine.contains("has no certificate to present"))
        let without = try probe(
            server, "[authenticate.client]\nx509.truststore=\(pki.path("ca.pem"))", "--mode", "mtls")
        #expect(
            without.status == 1 && without.firstLine.contains("x509.certificate is not set"), "\(without.firstLine)")
    }
}

@Suite struct NFSProbeTests {
    private let pki = PKI.shared

    private func probe(_ port: UInt16, _ more: String...) throws -> Command {
        try Tool.run(
            ["probe", "nfs://127.0.0.1:\(port)", "--truststore", pki.path("ca.pem"), "--timeout", "60"] + more)
    }

    @Test("An NFS server that answers STARTTLS is spoken TLS to")
    func sound() throws {
        let tls = try TLSServer("server", ["-alpn", "sunrpc"])
        let server = try FakeServer.rpc(FakeServer.startTLS, then: tls.port)
        let run = try probe(server.port)
        #expect(run.status == 0, "\(run.output)")
        #expect(run.firstLine.contains("ALPN sunrpc"))
        #expect(run.output.contains("RPC answered STARTTLS"))
    }

    @Test("The first line says that nothing was presented, and what a mount with xprtsec=mtls would meet")
    func presentsNothing() throws {
        let tls = try TLSServer("server")
        let server = try FakeServer.rpc(FakeServer.startTLS, then: tls.port)
        let run = try probe(server.port)
        #expect(run.status == 0, "\(run.output)")
        #expect(run.firstLine.contains("works without a certificate: TLS_"), "\(run.firstLine)")
        let lack = "; a mount with xprtsec=mtls would fail: no client certificate is configured"
        #expect(run.firstLine.hasSuffix(lack), "\(run.firstLine)")
        #expect(run.output.contains("presented      no certificate"), "\(run.output)")
        let chosen = try probe(
            server.port, "--mode", "tls", "--certificate", pki.path("client.pem"), "--key", pki.path("client.key"))
        #expect(
            chosen.firstLine.hasSuffix("; a mount with xprtsec=mtls was not tried: --mode tls was given"),
            "\(chosen.firstLine)")
    }

    @Test("The subject of the presented certificate is told, and whether the server asked for one")
    func presentsCertificate() throws {
        let mutual = ["--certificate", pki.path("client.pem"), "--key", pki.path("client.key"), "--json"]
        let asking = try TLSServer("server", ["-Verify", "1", "-CAfile", pki.path("ca.pem")])
        let server = try FakeServer.rpc(FakeServer.startTLS, then: asking.port)
        let asked = try Tool.run(
            ["probe", "nfs://127.0.0.1:\(server.port)", "--truststore", pki.path("ca.pem")] + mutual)
        #expect(try asked.document().data["presented"] as? String == "CN=client", "\(asked.output)")
        let silent = try TLSServer("server")
        let other = try FakeServer.rpc(FakeServer.startTLS, then: silent.port)
        let unasked = try probe(other.port, "--certificate", pki.path("client.pem"), "--key", pki.path("client.key"))
        #expect(unasked.status == 0, "\(unasked.output)")
        #expect(unasked.firstLine.contains("works without a certificate: "), "\(unasked.firstLine)")
        #expect(unasked.firstLine.hasSuffix("; the server did not ask for CN=client"), "\(unasked.firstLine)")
    }

    @Test("The time is that of the handshake, without the wait for a refusal that follows it")
    func time() throws {
        // Without tickets the wait is a whole second.
        let server = try TLSServer("server", ["-Verify", "1", "-num_tickets", "0", "-CAfile", pki.path("ca.pem")])
        let start = ContinuousClock.now
        let run = try Tool.run(
            "probe", "tls://127.0.0.1:\(server.port)", "--truststore", pki.path("ca.pem"), "--certificate",
            pki.path("client.pem"), "--key", pki.path("client.key"), "--json")
        let elapsed = ContinuousClock.now - start
        let told = try #require(try run.document().data["milliseconds"] as? Int)
        #expect(elapsed > .seconds(1) && .milliseconds(told) < elapsed - .seconds(1), "\(told) ms of \(elapsed)")
    }

    @Test("An expired certificate behind STARTTLS is the first line")
    func expired() throws {
        let tls = try TLSServer("server-old")
        let server = try FakeServer.rpc(FakeServer.startTLS, then: tls.port)
        let run = try probe(server.port)
        #expect(run.status == 1 && run.firstLine.contains("has expired (CN=server-old"), "\(run.firstLine)")
    }

    @Test("A server that refuses AUTH_TLS speaks plain text, and that is said")
    func refused() throws {
        let server = try FakeServer.rpc(FakeServer.refused)
        let run = try probe(server.port)
        #expect(run.status == 1)
        #expect(
            run.firstLine.contains("the peer speaks plain text") && run.firstLine.contains("AUTH_BADCRED"),
            "\(run.firstLine)")
    }

    @Test("A server that offers TLS and hangs up has no daemon")
    func hangsUp() throws {
        let server = try FakeServer.rpc(FakeServer.startTLS)
        let run = try probe(server.port)
        #expect(run.status == 1)
        #expect(
            run.firstLine.contains("offers TLS and does not answer")
                && run.firstLine.contains("check if tlshd runs"), "\(run.firstLine)")
    }

    @Test(
        "Strange answers are named",
        arguments: [
            ("HTTP/1.1 400 Bad Request\r\n\r\n", "it sent HTTP"), ("SSH-2.0-OpenSSH_9.2\r\n", "it sent SSH"),
            ("\u{16}\u{3}\u{3}\u{0}\u{7}", "it speaks TLS from the first byte"),
            (String(repeating: "z", count: 40), "it sent bytes of no known protocol"),
        ])
    func strange(answer: String, text: String) throws {
        let server = try FakeServer { connection in
            _ = FakeServer.receive(connection)
            FakeServer.send(Array(answer.utf8), to: connection)
            _ = FakeServer.receive(connection)
        }
        let run = try probe(server.port)
        #expect(run.status == 1 && run.firstLine.contains(text), "\(run.firstLine)")
    }

    @Test(
        "A reply that is no reply, or never ends, is refused",
        arguments: [
            [0x80, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0], [0x80, 0, 0x40, 0], [0x80, 0, 0, 0],
        ] as [[UInt8]])
    func malformed(answer: [UInt8]) throws {
        let server = try FakeServer { connection in
            _ = FakeServer.receive(connection)
            FakeServer.send(answer, to: connection)
            _ = FakeServer.receive(connection)
        }
        let run = try probe(server.port)
        #expect(run.status == 1 && run.firstLine.contains("its answer is not an RPC reply"), "\(run.firstLine)")
    }

    @Test("Silence ends at the time-out, and progress is told on standard error")
    func silent() throws {
        let server = try FakeServer { connection in while !FakeServer.receive(connection).isEmpty {} }
        let run = try Tool.run("probe", "nfs://127.0.0.1:\(server.port)", "--timeout", "6")
        #expect(
            run.status == 1
                && run.firstLine.contains(
                    "the server accepted the connection, and did not answer an RPC call in time; remedy: check that nfsd runs"
                ), "\(run.firstLine)")
        #expect(!run.firstLine.contains("TLS daemon"))
        #expect(run.errors.contains("waiting for 127.0.0.1:\(server.port)"))
    }

    @Test("Who probes as root is nobody, without capabilities, before the first byte of the peer's is read")
    func rights() throws {
        let found = Mutex("")
        let server = try FakeServer { connection in
            _ = FakeServer.receive(connection)
            let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
            for process in processes where Int32(process) != nil {
                let command = (try? String(contentsOfFile: "/proc/\(process)/cmdline", encoding: .utf8)) ?? ""
                guard command.contains("nfs://localhost:") else { continue }
                found.withLock { $0 = (try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)) ?? "" }
            }
        }
        let run = try Tool.run("probe", "nfs://localhost:\(server.port)", "--timeout", "60")
        #expect(run.status == 1, "\(run.output)")
        let status = found.withLock { $0 }
        let isRoot = geteuid() == 0
        #expect(!status.isEmpty)
        #expect(status.contains("Uid:\t65534\t65534\t65534\t65534") == isRoot, "\(status)")
        if isRoot { #expect(status.contains("CapPrm:\t0000000000000000") && status.contains("NoNewPrivs:\t1")) }
    }

    @Test("Nobody there is another exit status than a handshake that fails")
    func unreachable() throws {
        let unknown = try Tool.run("probe", "nfs://no-such-host.invalid")
        #expect(unknown.status == 4 && unknown.firstLine.hasPrefix("UNKNOWN: "), "\(unknown.firstLine)")
        #expect(try Tool.run("probe", "tls://127.0.0.1").status == 2)
    }

    @Test("A link-local address needs an interface, and one that this host has")
    func zones() throws {
        let none = try Tool.run("probe", "[fe80::1]", "--timeout", "2")
        #expect(none.firstLine.hasSuffix("; remedy: name the interface of a link-local address, as in [fe80::1%eth0]"))
        let other = try Tool.run("probe", "[fe80::1%none-such]:/export", "--timeout", "2")
        #expect(
            other.status == 4 && other.firstLine.contains("this host has no interface none-such"), "\(other.output)")
    }

    @Test("A file that was given and cannot be read is the cause; a name that is empty is wrong usage")
    func options() throws {
        let server = try TLSServer("server")
        let url = "tls://127.0.0.1:\(server.port)"
        let run = try Tool.run("probe", url, "--truststore", "/none-such.pem")
        #expect(
            run.status == 1
                && run.firstLine.contains(": open /none-such.pem: No such file or directory (ENOENT); remedy: give"),
            "\(run.firstLine)")
        #expect(try Tool.run("probe", url, "--name", "").status == 2)
    }

    @Test("A connection that is refused is an answer, and so a failure")
    func refusedConnection() throws {
        let taken = try Loopback.reservePort()
        let run = try Tool.run("probe", "127.0.0.1:\(taken.port)", "--timeout", "60")
        close(taken.socket)
        #expect(run.status == 1 && run.firstLine.hasPrefix("FAILED: "), "\(run.firstLine)")
        #expect(run.firstLine.contains("ECONNREFUSED"), "\(run.firstLine)")
    }
}

@Suite struct ProbeRemedyTests {
    private let pki = PKI.shared

    @Test("No remedy advises to run the probe that gives it", arguments: FailureReason.allCases)
    func failures(reason: FailureReason) {
        var report = ProbeReport(target: "nfs://a")
        report.fail(HandshakeFailure(reason))
        let remedy = report.remedy ?? ""
        #expect(!remedy.isEmpty && !remedy.contains("tlshctl probe"), "\(remedy)")
    }

    @Test("Each alert of RFC 8446 has a remedy, which names our certificate and its issuer where these matter")
    func alerts() {
        let presented = PresentedCertificate(subject: "CN=client", authority: "CN=lab CA", notAfter: 0)
        for number in UInt8.min...UInt8.max {
            let alert = Alert(rawValue: number)
            for own in [presented, nil] {
                let text = AlertRemedy.text(alert, own)
                #expect(
                    !text.isEmpty && !text.contains("tlshctl probe") && !text.contains("nil"), "\(alert.name): \(text)")
            }
        }
        let text = AlertRemedy.text(.unknownCA, presented)
        #expect(text.hasPrefix("the server does not trust CN=lab CA: add that authority there"), "\(text)")
    }

    @Test("A server that demands a certificate is told apart, with the settings that are missing")
    func demand() throws {
        let server = try TLSServer("server", ["-Verify", "1", "-verify_return_error", "-CAfile", pki.path("ca.pem")])
        let run = try Tool.run("probe", "tls://127.0.0.1:\(server.port)", "--truststore", pki.path("ca.pem"))
        #expect(run.status == 1, "\(run.output)")
        #expect(run.firstLine.contains("(the server demands a certificate)"), "\(run.firstLine)")
        #expect(
            run.firstLine.contains("remedy: set x509.certificate and x509.private_key in [authenticate.client]"),
            "\(run.firstLine)")
        let omitted = try Tool.run(
            "probe", "tls://127.0.0.1:\(server.port)", "--truststore", pki.path("ca.pem"), "--mode", "tls",
            "--certificate", pki.path("client.pem"), "--key", pki.path("client.key"))
        #expect(
            omitted.firstLine.contains("remedy: present the configured certificate, as a mount with xprtsec=mtls does"),
            "\(omitted.firstLine)")
    }

    @Test("A refusal that comes after the handshake is waited for, also where no certificate was presented")
    func lateDemand() throws {
        let tls = try TLSServer("server", ["-Verify", "1", "-verify_return_error", "-CAfile", pki.path("ca.pem")])
        let server = try FakeServer.relay(to: tls.port, delayingAnswersBy: .milliseconds(100))
        let run = try Tool.run("probe", "tls://127.0.0.1:\(server.port)", "--truststore", pki.path("ca.pem"))
        #expect(run.status == 1 && run.firstLine.contains("(the server demands a certificate)"), "\(run.firstLine)")
    }

    @Test("The authority that the server does not trust is named")
    func authority() throws {
        let server = try TLSServer("server", ["-Verify", "1", "-verify_return_error", "-CAfile", pki.path("ca.pem")])
        let run = try Tool.run(
            "probe", "tls://127.0.0.1:\(server.port)", "--truststore", pki.path("ca.pem"), "--certificate",
            pki.path("client-alien.pem"), "--key", pki.path("client-alien.key"))
        #expect(
            run.firstLine.contains("remedy: the server does not trust CN=rig other-ca: add that authority there"),
            "\(run.firstLine)")
    }

    @Test("A server that begins with TLS on the port of NFS has a remedy of its own")
    func wrongScheme() throws {
        let server = try FakeServer { connection in
            _ = FakeServer.receive(connection)
            FakeServer.send([21, 3, 3, 0, 2, 2, 10], to: connection)
            _ = FakeServer.receive(connection)
        }
        let run = try Tool.run("probe", "127.0.0.1:\(server.port)", "--truststore", pki.path("ca.pem"))
        #expect(
            run.status == 1 && run.firstLine.contains("(it speaks TLS from the first byte, which NFS does not)"),
            "\(run.firstLine)")
        #expect(
            run.firstLine.hasSuffix(
                "; remedy: check the port; tls://127.0.0.1:\(server.port) is the URL of such a server"),
            "\(run.firstLine)")
    }
}

/// A client and a server, each in a network namespace, with a device between them that drops packets of more than 1280
/// bytes on the way to the client, and tells no host.
private final class PathWithHole {
    static let isPossible = geteuid() == 0 && (try? Command("unshare", "--net", "ip", "link").status) == 0

    let client = "tlshctl-client-\(getpid())"
    let server = "tlshctl-server-\(getpid())"
    static let serverAddress = "192.0.2.1"

    init() throws {
        for command in [
            "netns add \(client)", "netns add \(server)",
            "link add inner netns \(server) type veth peer name outer netns \(client)",
            // TCP does not notice that a bridge drops what it sends.
            "-n \(server) link add bridge type bridge", "-n \(server) link set inner master bridge up",
            "-n \(server) link set bridge up gso_max_segs 1",
            "-n \(server) address add \(Self.serverAddress)/24 dev bridge",
            "-n \(client) address add 192.0.2.2/24 dev outer", "-n \(client) link set outer up mtu 1280",
            "-n \(client) route add \(Self.serverAddress)/32 dev outer advmss 1460",
        ] { try Command.run(["ip"] + command.split(separator: " ").map(String.init)) }
    }

    deinit {
        for name in [client, server] { _ = try? Command("ip", "netns", "delete", name) }
    }
}

@Suite struct PathProbeTests {
    @Test(
        "A path that drops large packets is told from a server that does not answer",
        .enabled(if: PathWithHole.isPossible))
    func hole() throws {
        let pki = PKI.shared
        let name = "server-large"
        try Command.run(
            "openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-keyout", pki.path(name + ".key"), "-out",
            pki.path(name + ".pem"), "-subj", "/CN=\(name)", "-days", "50", "-addext",
            "subjectAltName=IP:\(PathWithHole.serverAddress)")
        let path = try PathWithHole()
        let server = try TLSServer(name, address: PathWithHole.serverAddress, in: path.server)
        let run = try Command(
            "ip", "netns", "exec", path.client, Tool.path, "probe",
            "tls://\(PathWithHole.serverAddress):\(server.port)", "--truststore", pki.path(name + ".pem"),
            "--timeout", "5")
        #expect(run.status == 1, "\(run.text)")
        #expect(
            run.text.contains(
                "): large packets seem to be lost on the way (MTU) (1 packet arrived after a missing one)"),
            "\(run.text)")
    }
}

@Suite struct NVMeProbeTests {
    private static let identity = "NVMe0R01 nqn.h nqn.s"
    private static let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
    private static let names = ["--hostnqn", "nqn.h", "--subsysnqn", "nqn.s"]
    private let scratch = TemporaryDirectory()

    private func server(_ key: String = Self.key) throws -> TLSServer {
        try TLSServer(nil, ["-psk_identity", Self.identity, "-psk", key, "-tls1_3"])
    }

    private func probe(_ port: UInt16, _ more: [String] = Self.names) throws -> Command {
        try Tool.run(
            ["probe", "nvme://127.0.0.1:\(port)", "--psk-file", scratch.path("psk"), "--timeout", "60"] + more)
    }

    @Test("The key of a file makes the handshake, chosen by the names or by its identity")
    func sound() throws {
        scratch.write("other:\(String(Self.key.reversed()))\n\(Self.identity):\(Self.key)\n", to: "psk")
        let server = try server()
        for options in [Self.names, ["--identity", Self.identity]] {
            let run = try probe(server.port, options)
            #expect(run.status == 0, "\(run.output)")
            #expect(run.firstLine.contains("works: PSK") && run.firstLine.contains("identity \"\(Self.identity)\""))
            #expect(!run.output.contains(Self.key))
        }
    }

    @Test("Names that are no NQNs are told, also of a target that is not reached")
    func names() throws {
        scratch.write("# none\n", to: "psk")
        let taken = try Loopback.reservePort()
        defer { close(taken.socket) }
        let run = try probe(taken.port, ["--hostnqn", "host", "--subsysnqn", "nqn.2014-08.example:s"])
        #expect(run.status == 1 && run.firstLine.contains("ECONNREFUSED"), "\(run.firstLine)")
        #expect(
            run.output.contains("note: the name of the host, host, is not an NVMe qualified name"), "\(run.output)")
        #expect(!run.output.contains("name of the subsystem"), "\(run.output)")
    }

    @Test("A wrong key is told")
    func wrongKey() throws {
        scratch.write("\(Self.identity):\(String(Self.key.reversed()))\n", to: "psk")
        let server = try server()
        let run = try probe(server.port)
        #expect(run.status == 1, "\(run.output)")
        #expect(run.firstLine.hasPrefix("FAILED: ") && run.output.contains("alert received"), "\(run.output)")
    }

    @Test("Without a key it is still found out whether the peer speaks TLS")
    func lacking() throws {
        scratch.write("# none\n", to: "psk")
        let server = try server()
        let run = try probe(server.port)
        #expect(run.status == 1)
        #expect(run.firstLine.contains("holds no PSK of host nqn.h for nqn.s; the peer speaks TLS"), "\(run.firstLine)")
    }

    @Test("A target that stays silent is not asked once more after the time of the probe")
    func silent() throws {
        scratch.write("\(Self.identity):\(Self.key)\n", to: "psk")
        let (listener, port) = try Loopback.listen()
        defer { close(listener) }
        let run = try probe(port, Self.names + ["--timeout", "1"])
        #expect(run.status == 1 && run.firstLine.contains("in time"), "\(run.firstLine)")
        close(try Loopback.accept(listener))
        var entry = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        #expect(unsafe poll(&entry, 1, 0) == 0)
    }

    @Test("A target without TLS speaks plain text: it hangs up on a hello and answers an ICReq")
    func plain() throws {
        scratch.write("\(Self.identity):\(Self.key)\n", to: "psk")
        let target = try FakeServer { connection in
            guard FakeServer.receive(connection).first == 0 else { return }
            FakeServer.send([1, 0, 128, 0, 128, 0, 0, 0] + [UInt8](repeating: 0, count: 120), to: connection)
        }
        let run = try probe(target.port)
        #expect(run.status == 1)
        #expect(
            run.firstLine.contains("the peer speaks plain text") && run.firstLine.contains("ICReq"), "\(run.firstLine)")
    }
}
