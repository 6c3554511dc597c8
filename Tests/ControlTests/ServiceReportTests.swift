import Foundation
import Handshake
import Testing

@testable import Control

/// A handshake that ended, for these tests.
func record(
    _ reason: FailureReason? = nil, role: Role = .client, peer: String = "192.0.2.1:2049", milliseconds: Int = 7,
    time: Int = 1000
) -> HandshakeRecord {
    let request = HandshakeRequest(transport: .netlink, role: role, authentication: .x509, peerName: "nfs.example")
    let session = NegotiatedSession(
        cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "", peerAuthenticated: true)
    let outcome: HandshakeResult.Outcome = reason.map { .failure(HandshakeFailure($0)) } ?? .success(session)
    let result = HandshakeResult(outcome: outcome, elapsed: .milliseconds(milliseconds))
    let line = LogLine(result, of: request, with: PeerAddress(socketAddress: peer, name: "nfs.example"))
    return HandshakeRecord(line, of: request, result, time: time)
}

func healthy() -> ServiceReport {
    var report = ServiceReport(version: "1", seconds: 5)
    report.workers.ready = 1
    report.namespaces = [.init(name: "", transports: ["netlink"], rivals: [])]
    return report
}

@Suite struct ServiceReportTests {
    @Test("The document reads back as the report, whatever texts it holds")
    func document() throws {
        var history = HandshakeHistory()
        history.add(record())
        history.add(record(.certificateExpired))
        var report = healthy()
        report.settings = ["/etc/\"a\\b\u{1}\u{7F}ü\u{1F512}\n.conf"]
        report.kernel.ciphers = ["aes128GCM"]
        report.credentials = [.init(profile: "p", role: "client", inForce: true, summary: "s", problem: "t")]
        report.conclude(history, known: [.init("all is lost", isFailure: true)], now: 1000)
        let read = try JSONDecoder().decode(ServiceReport.self, from: Data(report.json.utf8))
        #expect(read == report)
        #expect(read.problems.first == .init("all is lost", isFailure: true))
        #expect(read.problems.count == 3)
    }

    @Test("All well is no problem; without a worker or a namespace nothing is served, which comes first")
    func failures() {
        var report = healthy()
        report.conclude(HandshakeHistory(), known: [], now: 0)
        #expect(report.problems.isEmpty)
        report.workers.ready = 0
        report.namespaces = []
        report.conclude(HandshakeHistory(), known: [.init("small")], now: 0)
        #expect(report.problems.map(\.isFailure) == [true, true, false])
    }

    @Test("What can be mended here comes before what a peer did, though that is newer")
    func oursFirst() {
        var history = HandshakeHistory()
        history.add(record(.overloaded, role: .server))
        history.add(record(.peerClosed))
        #expect(history.lasting(now: 1000, seconds: 60).map(\.reason) == ["overloaded", "peerClosed"])
    }

    @Test("A client's failure is a problem until it succeeds with that host, or ten minutes are over")
    func lasting() {
        var history = HandshakeHistory()
        history.add(record(.certificateExpired))
        var report = healthy()
        report.conclude(history, known: [], now: 1600)
        #expect(report.problems.count == 1 && report.problems[0].text.contains("192.0.2.1:2049"))
        report.conclude(history, known: [], now: 1601)
        #expect(report.problems.isEmpty)
        history.add(record(peer: "192.0.2.2:2049"))
        report.conclude(history, known: [], now: 1000)
        #expect(report.problems.count == 1, "another host")
        history.add(record(peer: "192.0.2.1:999"))
        report.conclude(history, known: [], now: 1000)
        #expect(report.problems.isEmpty)
        #expect(report.lastFailures.count == 1)
    }

    @Test("What strangers do to a server is counted, but no problem; what is ours is one")
    func servers() {
        var history = HandshakeHistory()
        history.add(record(.peerClosed, role: .server))
        var report = healthy()
        report.conclude(history, known: [], now: 1000)
        #expect(report.problems.isEmpty && report.counts.map(\.reason) == ["peerClosed"])
        history.add(record(.roleNotConfigured, role: .server))
        report.conclude(history, known: [], now: 1000)
        #expect(report.problems.count == 1)
    }

    @Test("The history keeps the newest 256, and counts all")
    func bounded() {
        var history = HandshakeHistory()
        for time in 0..<1000 { history.add(record(time: time)) }
        #expect(history.newest(1_000_000).map(\.time) == (744..<1000).reversed())
        #expect(history.newest(2).map(\.time) == [999, 998])
        #expect(history.totals.map(\.count) == [1000])
    }
}
