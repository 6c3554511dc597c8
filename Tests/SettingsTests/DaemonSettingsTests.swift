import Handshake
import Policy
import Testing
import Wire

@testable import Settings

/// Reads settings from text as the file `f`.
func settings(_ text: String) throws(SettingsError) -> DaemonSettings {
    try DaemonSettings.read(Array(text.utf8), file: "f")
}

func at<Value>(_ value: Value, line: Int) -> Located<Value> {
    Located(value, origin: .line(file: "f", line: line))
}

@Suite("Settings")
struct DaemonSettingsTests {
    @Test("memory limits allow what the settings allow strangers to store, and the program")
    func memoryLimits() throws {
        let mebibyte: UInt64 = 1 << 20
        let standard = DaemonSettings().memoryLimits
        #expect(standard.worker == 1152 * mebibyte)
        #expect(standard.worker > 4096 * 130_000 + 512 * mebibyte)
        #expect(standard.signer(.files) == 256 * mebibyte)
        #expect(standard.signer(.tokens) == 1280 * mebibyte)
        let text = """
            [limits]
            handshakes=8192
            handshake_bytes=262144
            [profile a]
            match.role=server
            """
        let raised = try DaemonSettings.read(Array(text.utf8), file: "a").memoryLimits
        #expect(raised.worker > 8192 * 262_144 * 4 / 3 + (512 + 32) * mebibyte)
        #expect(raised.signer(.files) == (128 + 2 + 256) * mebibyte)
    }

    @Test("addresses that are never refused are read, and what is none is named and ignored")
    func penaltyExempt() throws {
        let read = try settings("[limits]\npenalty_exempt=192.0.2.0/24; 2001:db8::/32;192.0.2.1/24;nobody\n")
        #expect(read.limits.penaltyExempt.map(\.description) == ["192.0.2.0/24", "2001:db8::/32"])
        #expect(read.notices.count == 2)
        #expect(try settings("").limits.penaltyExempt.isEmpty)
    }

    @Test("without any line the defaults hold", arguments: ["", "\n", "# nothing\n", "[debug]\n[authenticate]\n"])
    func defaults(_ text: String) throws {
        let settings = try settings(text)
        var plain = settings
        plain.effective = []
        #expect(plain == DaemonSettings())
        #expect(settings.effective.allSatisfy { $0.origin == .builtIn && $0.replaced.isEmpty })
        #expect(settings.debug.logLevel == Located(0, origin: .builtIn))
        #expect(settings.debug.delayDone.value == .zero)
        #expect(settings.keyrings.isEmpty)
        #expect(settings.client == RoleSettings())
        #expect(settings.psk == nil)
    }

    @Test(
        "a number that cannot be AF_TLSH's leaves the usual one, with a notice",
        arguments: [
            "family=2", "family=10", "family=0", "family=256", "family=x", "level=6", "level=70000",
            "key_update_lifetime=-1", "key_update_lifetime=2592001", "key_update_lifetime=ever",
        ])
    func listenerNumbers(_ line: String) throws {
        let settings = try settings("[listener]\n\(line)\n")
        #expect(settings.listener == ListenerSettings())
        #expect(settings.notices.count == 1)
    }

    @Test("how long a handshake may be is read within its bounds, and anything else leaves the default")
    func handshakeBytes() throws {
        #expect(try settings("[limits]\nhandshake_bytes=200000\n").handshakeBytes == at(200_000, line: 2))
        for text in ["32767", "262145", "0", "-1", "many"] {
            let settings = try settings("[limits]\nhandshake_bytes=\(text)\n")
            #expect(settings.handshakeBytes == Located(98_304, origin: .builtIn))
            #expect(settings.notices.count == 1)
        }
    }

    @Test("the life of a worker is read within its bounds; an unknown level of isolation or key is an error")
    func workers() throws {
        let standard = try settings("").workers
        #expect(standard == WorkerSettings() && standard.isolation == .shared)
        let text =
            "[workers]\nisolation=profile\nhandshakes=5\nminutes=1440\n[profile a]\nisolation=handshake\n[profile b]\n"
        let read = try settings(text)
        #expect(read.workers.isolation == .profile)
        #expect(read.workers.handshakes == at(5, line: 3) && read.workers.minutes == at(1440, line: 4))
        #expect(read.profiles.map(\.isolation) == [.handshake, nil])
        for line in ["handshakes=0", "handshakes=1000001", "minutes=0", "minutes=1441", "minutes=-1"] {
            let settings = try settings("[workers]\n\(line)\n")
            #expect(settings.workers == WorkerSettings() && settings.notices.count == 1, "\(line)")
        }
        for (text, line) in [
            ("[workers]\nisolation=full\n", 2), ("[workers]\nisolation=\n", 2), ("[profile a]\nisolation=Shared\n", 2),
            ("[workers]\nhandshakes=5\nisolaton=profile\n", 3), ("[worker]\nisolation=profile\n", 1),
        ] {
            let error = #expect(throws: SettingsError.self) { try settings(text) }
            #expect(error?.line == line, "\(text)")
        }
    }

    @Test("every key of a full file is read, with its line and without a notice")
    func readsEverything() throws {
        let settings = try settings(Samples.fullSettings)
        #expect(settings.notices.isEmpty)
        #expect(settings.debug.logLevel == at(1, line: 3))
        #expect(settings.debug.tls == at(2, line: 4))
        #expect(settings.debug.netlink == at(3, line: 5))
        #expect(settings.debug.delayDone == at(.seconds(4), line: 6))
        #expect(settings.keyrings == [at(.name("a"), line: 9), at(.serial(77), line: 9)])
        #expect(settings.psk?.file == at("/etc/tlshd/psk", line: 10))
        #expect(settings.psk?.keyring == at(.name(".mine"), line: 11))
        #expect(settings.listener.family.value == 18)
        #expect(settings.listener.level.value == 300)
        #expect(settings.listener.keyUpdateLifetime.value == 3600)
        #expect(settings.client.trustStore == at("/c/trust.pem", line: 14))
        #expect(settings.client.crl == at("/c/crl.pem", line: 15))
        #expect(settings.client.certificate == at(.file("/c/cert.pem"), line: 16))
        #expect(settings.client.privateKey == at(.file("/c/key.pem"), line: 17))
        #expect(settings.client.pqCertificate == at(.file("/c/pq.pem"), line: 18))
        #expect(settings.client.pqPrivateKey == at(.file("/c/pqkey.pem"), line: 19))
        #expect(settings.server.trustStore == at("/s/trust.pem", line: 22))
        #expect(settings.server.crl == at("/s/crl.pem", line: 23))
        #expect(settings.server.certificate == at(.file("/s/cert.pem"), line: 24))
        #expect(settings.server.privateKey?.value.description == "pkcs11:…")
        #expect(settings.server.pqCertificate == nil)
        #expect(settings.server.pqPrivateKey == nil)
    }

    @Test("a level that cannot be read is 0 with a notice", arguments: ["loglevel", "tls", "nl", "delay_done"])
    func ignoresBadLevels(_ key: String) throws {
        for value in ["x", "", "0x10", "3;4", "\"3\"", "99999999999"] {
            let settings = try settings("[debug]\n\(key)=\(value)\n")
            #expect(settings.debug == DebugSettings(), "\(value)")
            try #require(settings.notices.count == 1)
            #expect(settings.notices[0].line == 2)
            #expect(settings.notices[0].text.hasPrefix("the value of [debug] \(key) "))
        }
    }

    @Test("the lines of ktls-utils are those of one of two releases, or none")
    func historicLines() throws {
        #expect(try settings("[debug]\nktls_utils_lines=1.1\n").debug.historicLines == at(.until11, line: 2))
        #expect(try settings("[debug]\nktls_utils_lines = 1.2 \n").debug.historicLines == at(.since12, line: 2))
        let none = try settings("[debug]\nktls_utils_lines=no\n")
        #expect(none.debug.historicLines == at(nil, line: 2))
        #expect(none.notices.isEmpty)
        let explained = none.effective.first { $0.key == "ktls_utils_lines" }
        #expect(explained?.value == "no" && explained?.origin == .line(file: "f", line: 2))
    }

    @Test("other releases are ignored with a notice", arguments: ["yes", "1.4.0", "", "1", "\\x"])
    func unknownHistoricLines(_ value: String) throws {
        let settings = try settings("[debug]\nktls_utils_lines=\(value)\n")
        #expect(settings.debug.historicLines == Located(nil, origin: .builtIn))
        #expect(
            settings.notices.map(\.description) == [
                "f:2: [debug] ktls_utils_lines is not a known release of ktls-utils and is ignored; "
                    + "write 1.1, 1.2 or no"
            ])
    }

    @Test("a negative level is 0 with a notice", arguments: ["loglevel", "tls", "nl", "delay_done"])
    func clampsLevels(_ key: String) throws {
        let settings = try settings("[debug]\n\(key)=-3\n")
        let debug = settings.debug
        let values = [debug.logLevel.value, debug.tls.value, debug.netlink.value]
        #expect(values == [0, 0, 0])
        #expect(debug.delayDone.value == .zero)
        #expect(settings.notices.map(\.text) == ["[debug] \(key) is negative; using 0"])
    }

    @Test("keyrings are trimmed, listed once, and the standard ones left out")
    func readsKeyrings() throws {
        let settings = try settings("[authenticate]\nkeyrings= a ; b;.nvme;a;.nfs;.nfsd;007;12;\n")
        #expect(settings.keyrings.map(\.value) == [.name("a"), .name("b"), .name("007"), .serial(12)])
        #expect(settings.notices.isEmpty)
    }

    @Test("empty names among the keyrings are skipped with a notice each")
    func skipsEmptyKeyrings() throws {
        let settings = try settings("[authenticate]\nkeyrings=;a;;b;\n")
        #expect(settings.keyrings.map(\.value) == [.name("a"), .name("b")])
        #expect(settings.notices.count == 2)
    }

    @Test("a list of keyrings that cannot be read is left out with a notice")
    func ignoresBadKeyrings() throws {
        let settings = try settings("[authenticate]\nkeyrings=a;\\x\n")
        #expect(settings.keyrings.isEmpty)
        #expect(settings.notices.map(\.line) == [2])
    }

    @Test("the keyring beside a file of PSKs is .nvme unless another is named")
    func pskKeyring() throws {
        let plain = try settings("[authenticate]\npsk.file=/p\n")
        #expect(plain.psk == PSKSettings(file: at("/p", line: 2), keyring: Located(.name(".nvme"), origin: .builtIn)))
        let named = try settings("[authenticate]\npsk.keyring=5\npsk.file=/p\n")
        #expect(named.psk?.keyring == at(.serial(5), line: 2))
        let alone = try settings("[authenticate]\npsk.keyring=x\n")
        #expect(alone.psk == nil)
        #expect(alone.notices.map(\.line) == [2])
    }

    @Test("unknown sections and keys are ignored with a notice")
    func noticesUnknown() throws {
        let settings = try settings(
            "[debug]\nlogLevel=1\nloglevel[de]=2\n[x]\na=1\nb=2\n[x]\n[authenticate]\npsk.fil=/p\n")
        #expect(settings.debug == DebugSettings())
        #expect(settings.psk == nil)
        #expect(settings.notices.map(\.line) == [2, 3, 4, 7, 9])
        let texts = settings.notices.map(\.text)
        let known = "loglevel, tls, nl, delay_done, ktls_utils_lines"
        #expect(texts[0] == "key 'logLevel' is unknown in [debug] and ignored; known there: \(known)")
        #expect(
            texts[2] == "section 'x' is unknown and ignored; known: debug, limits, authenticate, listener, control, "
                + "metrics, authenticate.client, authenticate.server, namespaces, workers, profile NAME")
        #expect(texts[4].contains("psk.file"))
    }

    @Test("a key that is given again is named at both lines")
    func noticesRepeated() throws {
        let settings = try settings("[debug]\ntls=1\n[authenticate]\n[debug]\ntls=2\n")
        #expect(settings.debug.tls == at(2, line: 5))
        #expect(settings.notices.map(\.description) == ["f:2: [debug] tls is ignored here, as line 5 sets it again"])
    }

    @Test("many repeats of a key are one notice, and many notices are cut short")
    func boundsNotices() throws {
        let many = try settings("[debug]\n" + String(repeating: "tls=1\n", count: 40_000))
        #expect(
            many.notices.map(\.description) == [
                "f:2: [debug] tls is ignored here and in 39998 more lines, as line 40001 sets it again"
            ])
        let three = try settings("[debug]\ntls=1\ntls=1\ntls=1\n")
        #expect(
            three.notices.map(\.text) == ["[debug] tls is ignored here and in 1 more line, as line 4 sets it again"])
        let unknown = try settings("[debug]\n" + (1...500).map { "key\($0)=1\n" }.joined())
        #expect(unknown.notices.count == 100)
        #expect(unknown.notices.last?.description == "f:101: from here on, 401 more notices are left out")
    }

    @Test("limits that a wider limit makes void are noticed, if they are written")
    func contradictingLimits() throws {
        let notices = try settings("[limits]\nhandshakes=100\nhandshakes_per_namespace=50\nhandshakes_per_peer=60\n")
            .notices
        #expect(
            notices.map(\.description) == [
                "f:4: [limits] handshakes_per_peer is 60, which is never reached: [limits] handshakes_per_namespace is 50"
            ])
        #expect(try settings("[limits]\nhandshakes_per_namespace=5000\n").notices.map(\.line) == [2])
        #expect(try settings("[limits]\nhandshakes=10\n").notices.isEmpty)
        #expect(
            try settings("[limits]\nhandshakes_per_peer=0\n").notices.first?.text.hasSuffix("ignored; 256 is used")
                == true)
    }

    @Test(
        "commas between items are noticed",
        arguments: [
            "[authenticate]\nkeyrings=a,b\n", "[namespaces]\nnames=a,b\n",
            "[profile x]\nkeyrings=a, b;c\nmatch.role=client\n",
        ])
    func commas(_ text: String) throws {
        let notices = try settings(text).notices
        #expect(notices.map(\.line) == [2])
        #expect(notices.first?.text.hasSuffix(" has a comma within an item; items are separated by ;") == true)
    }

    @Test("commas between items that must be understood are an error that says what separates them")
    func refusedCommas() throws {
        for line in ["tls.groups=X25519,SECP256R1", "x509.allow.san=IP:192.0.2.1,IP:192.0.2.2"] {
            let error = #expect(throws: SettingsError.self) { try settings("[authenticate.server]\n\(line)\n") }
            #expect(error?.description.hasSuffix("; items are separated by ;") == true, "\(line)")
        }
        let exempt = try settings("[limits]\npenalty_exempt=192.0.2.1,192.0.2.2\n").notices
        #expect(exempt.first?.text.hasSuffix("is ignored; items are separated by ;") == true)
    }

    @Test("a notice cannot be made to forge a log line")
    func quotesNames() throws {
        let settings = try settings("[debug]\na\u{1B}(2J\u{85}'\u{202E}=1\n")
        let text = try #require(settings.notices.first?.text)
        #expect(text.hasPrefix(#"key 'a\u{1b}(2J\u{85}\u{27}\u{202e}' is unknown"#))
        let long = try Settings.DaemonSettings.read(
            Array("[debug]\n\(String(repeating: "k", count: 5000))=1\n".utf8), file: "f")
        #expect(try #require(long.notices.first?.text).utf8.count < 250)
    }

    @Test("a certificate without its key is noticed, and the other way round")
    func noticesHalfPairs() throws {
        let certificate = try settings("[authenticate.client]\nx509.certificate=/c\n")
        #expect(
            certificate.notices.map(\.text) == [
                "[authenticate.client] x509.certificate cannot be used without [authenticate.client] x509.private_key"
            ])
        let key = try settings("[authenticate.server]\nx509.private_key=/k\n")
        #expect(key.notices.count == 1)
        let pqOnly = try settings("[authenticate.server]\nx509.pq.certificate=/c\nx509.pq.private_key=/k\n")
        #expect(pqOnly.notices.isEmpty)
        #expect(pqOnly.server.pqCertificate == at(.file("/c"), line: 2))
    }

    @Test("a trailing comment in a path is kept, and noticed")
    func noticesOddPaths() throws {
        let settings = try settings("[authenticate.client]\nx509.crl=/b # note\n")
        #expect(settings.client.crl?.value == "/b # note")
        #expect(settings.notices.map(\.line) == [2])
    }
}

@Suite("Settings of earlier layouts")
struct FormerLayoutTests {
    static let rows: [(former: String, current: String)] = [
        ("[main]\ndebug=1\n", "[debug]\nloglevel=1\n"),
        ("[main]\ntlsdebug=2\n", "[debug]\ntls=2\n"),
        ("[main]\nnl_debug=3\n", "[debug]\nnl=3\n"),
        ("[main]\ndelay_done=4\n", "[debug]\ndelay_done=4\n"),
        ("[main]\nkeyrings=a;b\n", "[authenticate]\nkeyrings=a;b\n"),
        ("[authentication]\nkeyrings=a;b\n", "[authenticate]\nkeyrings=a;b\n"),
    ]

    @Test("a former name is read with one notice", arguments: rows)
    func readsFormer(_ former: String, _ current: String) throws {
        var old = try settings(former)
        #expect(old.notices.map(\.line) == [2])
        #expect(old.notices.first?.text.contains("old name; use") == true)
        old.notices = []
        #expect(try old == settings(current))
        #expect(try old != settings(""))
    }

    @Test("the present name goes before a former one")
    func prefersCurrent() throws {
        let settings = try settings("[main]\ndebug=9\nkeyrings=m\n[authentication]\nkeyrings=n\n[debug]\nloglevel=1\n")
        #expect(settings.debug.logLevel == at(1, line: 7))
        #expect(settings.keyrings == [at(.name("n"), line: 5)])
        #expect(settings.notices.map(\.line) == [2, 3, 5])
    }

    @Test("a present name that cannot be read does not bring a former one back")
    func doesNotFallBack() throws {
        let settings = try settings("[main]\ndebug=9\n[debug]\nloglevel=x\n")
        #expect(settings.debug.logLevel == Located(0, origin: .builtIn))
    }

    @Test("unknown keys of a former section are noticed")
    func noticesUnknown() throws {
        #expect(try settings("[main]\nwhat=1\n").notices.map(\.line) == [2])
    }

    @Test("a file of figures is an absolute path that node_exporter reads; anything else is ignored with a word")
    func metricsFile() throws {
        #expect(try settings("").metrics.textfile == nil)
        let path = "/var/lib/prometheus/node-exporter/tlshd.prom"
        let good = try settings("[metrics]\ntextfile=\(path)\n")
        #expect(good.metrics.textfile == path && good.notices.isEmpty)
        #expect(good.effective.contains { $0.key == "textfile" && $0.value == path })
        let none = try settings("[metrics]\ntextfile=none\n")
        #expect(none.metrics.textfile == nil && none.notices.isEmpty)
        for bad in ["tlshd.prom", "/var/lib/tlshd.txt", "/\(String(repeating: "x", count: 4000)).prom"] {
            let read = try settings("[metrics]\ntextfile=\(bad)\n")
            #expect(read.metrics.textfile == nil)
            #expect(
                read.notices.map(\.description) == [
                    "f:2: [metrics] textfile must be an absolute path that ends in .prom, or none, and is ignored"
                ])
        }
    }
}
