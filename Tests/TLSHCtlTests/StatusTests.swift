import Control
import Foundation
import Handshake
import Policy
import Settings
import System
import TestSupport
import Testing
import Unconfined

@testable import tlshctl

@Suite struct StatusTests {
    private static func report(_ problems: [ServiceReport.Problem] = []) -> ServiceReport {
        var report = ServiceReport(version: "9.9", seconds: 61)
        report.namespaces = [.init(name: "", transports: ["netlink"], rivals: [])]
        report.workers.ready = 2
        report.workers.places = 2
        report.workers.signers = ["files", "tokens"]
        report.credentials = [
            .init(profile: "blue", role: "client", inForce: true, summary: "CN=me\u{1B}[2J", problem: "")
        ]
        report.credentials[0].certificates = [
            .init(file: "/etc/old.pem", subject: "CN=old", issuer: "CN=ca", notBefore: 5, notAfter: 5),
            .init(file: "/etc/new.pem", subject: "CN=me\u{1B}[2J", issuer: "CN=ca", notBefore: 5, notAfter: 5),
        ]
        report.credentials[0].certificates[0].daysLeft = -1
        report.credentials[0].certificates[1].daysLeft = 77
        report.credentials[0].authorities = 3
        report.problems = problems
        return report
    }

    @Test("A healthy daemon is ok and 0; what it says of others cannot move the cursor")
    func healthy() throws {
        let daemon = try FakeDaemon(Self.report().json)
        let run = try Tool.run("status", "--socket", daemon.path)
        #expect(run.status == 0, "\(run.output)\(run.errors)")
        #expect(run.firstLine == "ok: tlshd 9.9 serves handshakes; 0 so far, no problems")
        #expect(run.output.contains("blue") && !run.output.contains("\u{1B}"))
        let rows = run.output.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
        let head = try #require(rows.firstIndex(of: "PROFILE ROLE STATE DAYS LEFT CREDENTIALS"))
        #expect(
            Array(rows[(head + 1)...].prefix(3)) == [
                "blue client in force expired CN=old by CN=ca, /etc/old.pem",
                "77 CN=me\u{FFFD}[2J by CN=ca, /etc/new.pem", "trusted authorities: 3",
            ])
        #expect(rows.contains("signers one for files and one for tokens ready, 0 died since the start"))
        #expect(daemon.question == "tlshd-control 1 status\n")
    }

    @Test("The layers of each kind of process are shown, and those that are missing")
    func sandboxes() throws {
        var report = Self.report()
        report.confinement = [
            .init(process: "workers", layers: ["user tlshd", "seccomp"], lacking: []),
            .init(
                process: "signer", layers: ["no capabilities"], lacking: ["no Landlock", "memory is\u{1B} not locked"]),
        ]
        let daemon = try FakeDaemon(report.json)
        let run = try Tool.run("status", "--socket", daemon.path)
        #expect(run.status == 0)
        let rows = run.output.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
        let head = try #require(rows.firstIndex(of: "sandbox workers: user tlshd, seccomp"))
        #expect(
            Array(rows[(head + 1)...].prefix(3)) == [
                "sandbox signer: no capabilities", "missing signer: no Landlock",
                "missing signer: memory is\u{FFFD} not locked",
            ])
    }

    @Test("Who is refused is told with the time that is left and the reason")
    func penalties() throws {
        var report = Self.report()
        let peer = PeerGroup(socketAddress: "192.0.2.7:700")
        var penalties = Penalties()
        _ = penalties.punish(peer, for: .workerKilled, now: 0)
        for _ in 1...3 { _ = penalties.refuse(peer, now: 1) }
        report.penalties = penalties.current(1).map { .init($0, now: 10_500_000_000) }
        let daemon = try FakeDaemon(report.json)
        let run = try Tool.run("status", "--socket", daemon.path)
        #expect(run.status == 0)
        let rows = run.output.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
        #expect(rows.contains("refused 192.0.2.7, 20 s more: workerKilled, 3 handshakes refused"), "\(run.output)")
    }

    @Test("One that needs attention is 3, one that serves nothing is 1, the worst in the first line")
    func problems() throws {
        let warning = try FakeDaemon(Self.report([.init("a rival listens"), .init("more")]).json)
        let degraded = try Tool.run("status", "--socket", warning.path)
        #expect(degraded.status == 3 && degraded.firstLine == "WARNING: a rival listens")
        #expect(degraded.output.contains("also: more"))
        let failure = try FakeDaemon(Self.report([.init("no worker", isFailure: true)]).json)
        let failed = try Tool.run("status", "--socket", failure.path, "--json")
        #expect(failed.status == 1)
        let document = try failed.document()
        #expect(document.status == "failed" && document.summary == "no worker")
        #expect(document.data["tlshdVersion"] as? String == "9.9")
    }

    @Test("A failure that lasts has its line once, as a problem; its time is among the last failures")
    func told() throws {
        var report = Self.report()
        var history = HandshakeHistory()
        let result = HandshakeResult(outcome: .failure(HandshakeFailure(.peerClosed)))
        for port in [1, 2] {
            let request = HandshakeRequest(
                transport: .netlink, role: .client, authentication: .x509, peerName: "a")
            let peer = PeerAddress(socketAddress: "192.0.2.\(port):2049")
            history.add(HandshakeRecord(LogLine(result, of: request, with: peer), of: request, result, time: 1000))
        }
        report.conclude(history, known: [], now: 5000)
        report.problems = [.init(report.lastFailures[0].text)]
        let daemon = try FakeDaemon(report.json)
        let run = try Tool.run("status", "--socket", daemon.path)
        let first = report.lastFailures[0]
        #expect(run.output.components(separatedBy: first.text).count == 2, "\(run.output)")
        #expect(run.output.contains("\(first.peer): peerClosed, as above"), "\(run.output)")
        #expect(run.output.contains(report.lastFailures[1].text), "\(run.output)")
    }

    @Test("No daemon is 1 and says how to start it, in JSON too; a refusal and nonsense are 4")
    func silence() throws {
        let none = try Tool.run("status", "--socket", "/nonexistent/control")
        #expect(none.status == 1)
        #expect(none.firstLine.hasPrefix("FAILED: tlshd is not running") && none.firstLine.contains("systemctl start"))
        let json = try Tool.run("status", "--socket", "/nonexistent/control", "--json")
        #expect(json.status == 1)
        let document = try json.document()
        #expect(document.status == "failed" && document.summary.contains("not running") && document.data.isEmpty)
        for answer in [ControlRequest.Refusal.busy.line, "{\"protocol\":1,", ""] {
            let daemon = try FakeDaemon(answer)
            let run = try Tool.run("handshakes", "--socket", daemon.path)
            #expect(run.status == 4 && run.firstLine.hasPrefix("UNKNOWN: "), "\(answer)")
        }
    }

    @Test("A wrong --socket is told by its cause, in every command that asks tlshd")
    func wrongSocket() throws {
        let scratch = TemporaryDirectory()
        scratch.write("", to: "file")
        let (folder, file, left) = (scratch.path, scratch.path("file"), scratch.path("left"))
        do {
            let listener = try UnixListener(path: scratch.path("socket"), group: nil)
            try FileManager.default.moveItem(atPath: scratch.path("socket"), toPath: left)
            withExtendedLifetime(listener) {}
        }
        let remedy = "give --socket the path in [control] socket= of its settings"
        for (path, text, status) in [
            (scratch.path("none"), "there is no \(scratch.path("none"))", 1),
            (file + "/none", "there is no \(file)/none", 1),
            (left, "no process listens at \(left)", 1),
            (file, "tlshd cannot be asked: \(file) is a regular file, not a socket", 4),
            (folder, "tlshd cannot be asked: \(folder) is a folder, not a socket", 4),
        ] as [(String, String, Int32)] {
            let run = try Tool.run("status", "--socket", path)
            #expect(run.firstLine.contains(text) && run.firstLine.contains(remedy), "\(run.firstLine)")
            #expect(!run.firstLine.contains("cannot start"), "\(run.firstLine)")
            #expect(run.status == status || ListenerCheck.daemon != nil, "\(run.firstLine)")
            #expect(try Tool.run("metrics", "--socket", path).errors.contains(text))
            #expect(try Tool.run("explain", "--socket", path).errors.contains(text))
            let check = try Tool.run("check", "--only", "settings", "--socket", path)
            #expect(check.output.contains(text), "\(check.output)")
        }
        #expect(try Tool.run("status", "--socket", "").status == 2)
    }

    @Test("In JSON, times are dates, what does not apply is null, and a cipher suite has IANA's name")
    func json() throws {
        var report = Self.report()
        report.kernel.ciphers = ["aes128GCM"]
        report.credentials[0].revocation = .init(file: "/etc/crl.pem", lists: 1, nextUpdate: nil)
        report.credentials.append(
            .init(profile: "", role: "server", inForce: false, summary: "", problem: "no key"))
        report.confinement = [.init(process: "workers", layers: ["seccomp"], lacking: ["no Landlock"])]
        report.counts = try JSONDecoder().decode(
            [ServiceReport.Count].self,
            from: Data(#"[{"consumer": "NFS client", "result": "success", "reason": "", "count": 3}]"#.utf8))
        report.lastFailures = [Self.record(failing: true)]
        let daemon = try FakeDaemon(report.json)
        let document = try Tool.run("status", "--socket", daemon.path, "--json").document()
        #expect(document.status == "ok" && document.summary == "tlshd 9.9 serves handshakes; 3 so far, no problems")
        let kernel = document.data["kernel"] as? [String: Any]
        #expect(kernel?["suites"] as? [String] == ["TLS_AES_128_GCM_SHA256"])
        let credentials = document.data["credentials"] as? [[String: Any]] ?? []
        #expect(credentials.map { $0["profile"] as? String } == ["blue", "default"])
        #expect(credentials[0]["problem"] is NSNull && credentials[1]["revocation"] is NSNull)
        let certificate = (credentials[0]["certificates"] as? [[String: Any]])?.first
        #expect(certificate?["notAfter"] as? String == "1970-01-01T00:00:05Z")
        let counts = document.data["counts"] as? [[String: Any]]
        #expect(counts?.first?["status"] as? String == "ok" && counts?.first?["reason"] is NSNull)
    }

    @Test("Who watches in JSON gets a document a line, also while no tlshd runs")
    func lines() throws {
        let daemon = try FakeDaemon(Self.report().json)
        let run = try Command(
            "timeout", "-s", "KILL", "3", Tool.path, "status", "--watch", "--json", "--socket", daemon.path)
        #expect(run.text.split(separator: "\n").count == 2, "\(run.text)")
        let last = try #require(run.text.split(separator: "\n").last)
        #expect(try Tool.Document(run.text).status == "ok" && Tool.Document(String(last)).status == "failed")
    }

    @Test("A monitoring system gets a line with its own statuses and figures, whatever goes wrong")
    func plugin() throws {
        var report = Self.report([.init("CN=a|b expires")])
        report.inFlight = 1
        let warning = try FakeDaemon(report.json)
        let run = try Tool.run("status", "--nagios", "--socket", warning.path)
        #expect(run.status == 1)
        #expect(
            run.output
                == "TLSHD WARNING - CN=a/b expires | handshakes=0c failed=0c in_flight=1 workers=2 problems=1 "
                + "certificate_days=-1\n")
        let daemon = try FakeDaemon(Self.report().json)
        let healthy = try Tool.run("status", "--nagios", "--socket", daemon.path)
        #expect(healthy.status == 0 && healthy.output.hasPrefix("TLSHD OK - tlshd 9.9 serves"))
        let none = try Tool.run("status", "--nagios", "--socket", "/nonexistent/control")
        #expect(none.status == 2 && none.output.hasPrefix("TLSHD CRITICAL - tlshd is not running"))
        let refused = try FakeDaemon(ControlRequest.Refusal.busy.line)
        let unknown = try Tool.run("status", "--nagios", "--socket", refused.path)
        #expect(unknown.status == 3 && unknown.output.hasPrefix("TLSHD UNKNOWN - "), "\(unknown.output)")
        #expect(try Tool.run("status", "--nagios", "--socket").status == 3)
        #expect(try Tool.run("status", "--nagios", "--json").status == 3)
    }

    @Test("With --ready, warnings are no reason to exit with another status than 0; that nothing is served is one")
    func ready() throws {
        let warning = try FakeDaemon(Self.report([.init("CN=a expires")]).json)
        let run = try Tool.run("status", "--ready", "--socket", warning.path)
        #expect(run.status == 0 && run.output.hasPrefix("WARNING: CN=a expires"), "\(run.output)")
        let failed = try FakeDaemon(Self.report([.init("the server's role is not served", isFailure: true)]).json)
        #expect(try Tool.run("status", "--ready", "--socket", failed.path).status == 1)
        #expect(try Tool.run("status", "--ready", "--socket", "/nonexistent/control").status == 1)
        let refused = try FakeDaemon(ControlRequest.Refusal.busy.line)
        #expect(try Tool.run("status", "--ready", "--socket", refused.path).status == 4)
        #expect(try Tool.run("status", "--ready", "--watch").status == 2)
    }

    @Test("Where nothing else is said, tlshd is asked where its settings have the socket")
    func socket() throws {
        var settings = ControlSettings()
        #expect(try DaemonLink.socket(by: settings) == "/run/tlshd/control")
        settings.socket = "/run/other"
        #expect(try DaemonLink.socket(by: settings) == "/run/other")
        settings.socket = nil
        let missing = #expect(throws: CommandError.self) { try DaemonLink.socket(by: settings) }
        #expect(missing?.status == .unknown && missing?.summary.contains("[control] socket=none") == true)
    }

    @Test("Handshakes are a table; a number that cannot be is wrong usage")
    func handshakes() throws {
        let daemon = try FakeDaemon("{\"protocol\":1,\"handshakes\":[]}\n")
        let run = try Tool.run("handshakes", "7", "--socket", daemon.path)
        #expect(run.status == 0 && run.firstLine == "no handshakes yet")
        #expect(daemon.question == "tlshd-control 1 handshakes 7\n")
        #expect(try Tool.run("handshakes", "0").status == 2)
    }

    @Test("A handshake in JSON has its suite, the peer's subject, alerts and the remedy as fields")
    func handshakeFields() throws {
        let daemon = try FakeDaemon(HandshakeRecord.document([Self.record(failing: true), Self.record()]))
        let document = try Tool.run("handshakes", "--json", "--socket", daemon.path).document()
        #expect(document.status == "note" && document.summary == "2 handshakes, 1 failed")
        let handshakes = document.data["handshakes"] as? [[String: Any]] ?? []
        try #require(handshakes.count == 2)
        let fields = ["time", "status", "suite", "subject", "alertSent", "errorName", "reason", "mode", "profile"]
        #expect(
            fields.map { handshakes[0][$0] as? String } == [
                "1970-01-01T00:16:40Z", "failed", nil, "CN=peer", "certificate_expired", "EACCES",
                "certificateExpired", "x509", "default",
            ])
        #expect((handshakes[0]["remedy"] as? String)?.isEmpty == false)
        #expect(
            fields.map { handshakes[1][$0] as? String } == [
                "1970-01-01T00:16:40Z", "ok", "TLS_AES_128_GCM_SHA256", "CN=peer", nil, nil, nil, "x509", "default",
            ])
    }

    @Test(
        "Handshakes are filtered by result, peer and time, among all that tlshd keeps",
        arguments: [
            (["--failed"], 1), (["--peer", "NFS.example."], 2), (["--peer", "192.0.2.1"], 2),
            (["--peer", "192.0.2"], 0),
            (["--since", "1970-01-01T00:16:40Z"], 2), (["--since", "1970-01-01T01:16:41+01:00"], 0),
            (["--since", "30d"], 0), (["1", "--peer", "192.0.2.1"], 1),
        ])
    func filters(arguments: [String], count: Int) throws {
        let daemon = try FakeDaemon(HandshakeRecord.document([Self.record(), Self.record(failing: true)]))
        let run = try Tool.run(["handshakes", "--json", "--socket", daemon.path] + arguments)
        #expect((try run.document().data["handshakes"] as? [Any])?.count == count)
        #expect(daemon.question == "tlshd-control 1 handshakes 256\n")
    }

    @Test("A time is RFC 3339's, or a number of seconds, minutes, hours or days ago")
    func moments() {
        #expect(Moment("10m", now: 1000)?.seconds == 400)
        #expect(Moment("2h", now: 0)?.seconds == -7200)
        #expect(Moment("1970-01-02T00:00:00Z", now: 0)?.seconds == 86_400)
        for text in ["", "m", "-1m", "1w", "1970-01-02", "yesterday"] {
            #expect(Moment(text, now: 0) == nil, "\(text)")
        }
    }

    @Test("Whoever watches handshakes in JSON gets a document a line")
    func handshakeLines() throws {
        let daemon = try FakeDaemon(HandshakeRecord.document([Self.record(), Self.record(failing: true)]))
        let run = try Command(
            "timeout", "-s", "KILL", "0.9", Tool.path, "handshakes", "--watch", "--json", "--socket", daemon.path)
        let lines = run.text.split(separator: "\n").map(String.init)
        #expect(lines.count == 2)
        #expect(try lines.map { try Tool.Document($0).status } == ["note", "ok"])
    }

    private static func record(failing: Bool = false) -> HandshakeRecord {
        let request = HandshakeRequest(
            transport: .netlink, role: .client, authentication: .x509, peerName: "nfs.example")
        let session = NegotiatedSession(
            cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "", peerAuthenticated: true)
        let result = HandshakeResult(
            outcome: failing ? .failure(HandshakeFailure(.certificateExpired)) : .success(session),
            peerCertificate: CertificateDescription(subject: "CN=peer", issuer: "CN=ca", notBefore: 5, notAfter: 0),
            alertSent: failing ? .certificateExpired : nil)
        let peer = PeerAddress(socketAddress: "192.0.2.1:2049", name: "nfs.example")
        return HandshakeRecord(LogLine(result, of: request, with: peer), of: request, result, time: 1000)
    }

    @Test("Whoever watches sees each handshake once, also those that are alike, and all of a new daemon's")
    func fresh() {
        func record(_ time: Int) -> HandshakeRecord {
            var request = HandshakeRequest(transport: .netlink, role: .client, authentication: .x509, peerName: "a")
            request.namespace = nil
            let result = HandshakeResult(outcome: .failure(HandshakeFailure(.peerClosed)))
            return HandshakeRecord(
                LogLine(result, of: request, with: PeerAddress(socketAddress: "192.0.2.1:1")), of: request, result,
                time: time)
        }
        func fresh(_ newest: [Int], _ former: [Int]) -> [Int] {
            HandshakesCommand.fresh(newest.map(record), since: former.map(record)).map(\.time)
        }
        #expect(fresh([2, 1], []) == [2, 1])
        #expect(fresh([2, 1], [2, 1]) == [])
        #expect(fresh([4, 3, 2, 1], [2, 1]) == [4, 3])
        #expect(fresh([3, 3, 3, 2], [3, 2]) == [3, 3])
        #expect(fresh([5, 4, 3], [3, 2, 1]) == [5, 4], "the oldest have gone")
        #expect(fresh([9, 8], [2, 1]) == [9, 8], "another daemon")
        #expect(fresh([], [2, 1]) == [])
    }

    @Test("Metrics are passed on as they are; why there are none goes to standard error")
    func metrics() throws {
        let daemon = try FakeDaemon("# EOF\n")
        let run = try Tool.run("metrics", "--socket", daemon.path)
        #expect(run.status == 0 && run.output == "# EOF\n")
        let cutting = try FakeDaemon("# TYPE a gauge\na 1\n")
        let cut = try Tool.run("metrics", "--socket", cutting.path)
        #expect(cut.status == 4 && cut.output.isEmpty && cut.errors.contains("cut off"))
        let none = try Tool.run("metrics", "--socket", "/nonexistent/control")
        #expect(none.status == 1 && none.output.isEmpty && none.errors.contains("not running"))
    }
}

/// Answers one question, on a thread of its own.
final class FakeDaemon {
    private let folder = TemporaryDirectory()
    private let ended = DispatchSemaphore(value: 0)
    private let asked = Asked()
    var path: String { folder.path("control") }

    private final class Asked: @unchecked Sendable {
        var bytes: [UInt8] = []
    }

    /// What it was asked; waits for it.
    var question: String {
        ended.wait()
        return String(decoding: asked.bytes, as: UTF8.self)
    }

    init(_ answer: String) throws {
        let path = folder.path("control")
        let (asked, ended) = (asked, ended)
        let listening = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            defer { ended.signal() }
            guard let listener = try? UnixListener(path: path, group: nil) else {
                listening.signal()
                return
            }
            listening.signal()
            let deadline = Clock.deadline(in: .seconds(60))
            while Clock.monotonicNanoseconds() < deadline {
                if let connection = try? listener.accept() {
                    while !asked.bytes.contains(10), Clock.monotonicNanoseconds() < deadline {
                        if case .closed = UnixStream.read(connection.number, into: &asked.bytes, limit: 64) { break }
                        usleep(1000)
                    }
                    _ = UnixStream.write(connection.number, Array(answer.utf8)[...])
                    return
                }
                usleep(1000)
            }
        }
        listening.wait()
        try #require(FileManager.default.fileExists(atPath: path))
    }
}
