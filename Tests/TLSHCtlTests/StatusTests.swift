import Control
import Foundation
import Handshake
import Policy
import Settings
import System
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
            .init(file: "/etc/old.pem", subject: "CN=old", issuer: "CN=ca", notAfter: 5),
            .init(file: "/etc/new.pem", subject: "CN=me\u{1B}[2J", issuer: "CN=ca", notAfter: 5),
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
        #expect(try failed.json()["version"] as? String == "9.9")
    }

    @Test("No daemon is 1 and says how to start it, in JSON too; a refusal and nonsense are 4")
    func silence() throws {
        let none = try Tool.run("status", "--socket", "/nonexistent/control")
        #expect(none.status == 1)
        #expect(none.firstLine.hasPrefix("FAILED: tlshd is not running") && none.firstLine.contains("systemctl start"))
        let json = try Tool.run("status", "--socket", "/nonexistent/control", "--json")
        #expect(json.status == 1)
        #expect((try json.json()["error"] as? String)?.contains("not running") == true)
        for answer in [ControlRequest.Refusal.busy.line, "{\"protocol\":1,", ""] {
            let daemon = try FakeDaemon(answer)
            let run = try Tool.run("handshakes", "--socket", daemon.path)
            #expect(run.status == 4 && run.firstLine.hasPrefix("UNKNOWN: "), "\(answer)")
        }
    }

    @Test("Where nothing else is said, tlshd is asked where its settings have the socket")
    func socket() throws {
        var settings = ControlSettings()
        #expect(try DaemonLink.socket(by: settings) == "/run/tlshd/control")
        settings.socket = "/run/other"
        #expect(try DaemonLink.socket(by: settings) == "/run/other")
        settings.socket = nil
        let missing = #expect(throws: CommandError.self) { try DaemonLink.socket(by: settings) }
        #expect(missing?.status == .unavailable && missing?.text.contains("[control] socket=none") == true)
    }

    @Test("Handshakes are a table; a number that cannot be is wrong usage")
    func handshakes() throws {
        let daemon = try FakeDaemon("{\"protocol\":1,\"handshakes\":[]}\n")
        let run = try Tool.run("handshakes", "7", "--socket", daemon.path)
        #expect(run.status == 0 && run.firstLine == "no handshakes yet")
        #expect(daemon.question == "tlshd-control 1 handshakes 7\n")
        #expect(try Tool.run("handshakes", "0").status == 2)
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
private final class FakeDaemon {
    private let folder = Scratch()
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
