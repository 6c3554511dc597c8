import Foundation
import Handshake
import Policy
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

/// Credentials with a certificate and a revocation list that end so many days after the second 1000.
func credentials(certificate: Int = 100, revocation: Int = 50) -> ServiceReport.Credentials {
    var made = ServiceReport.Credentials(profile: "p", role: "client", inForce: true, summary: "s", problem: "")
    made.certificates = [
        .init(
            file: "/etc/c.pem", subject: "CN=\"c\",O=a\\b", issuer: "CN=ca", notBefore: 1000 - 365 * 86_400,
            notAfter: 1000 + certificate * 86_400)
    ]
    made.authorities = 3
    made.pins = 2
    made.revocation = .init(file: "/etc/crl.pem", lists: 1, nextUpdate: 1000 + revocation * 86_400)
    return made
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
        report.confinement = [.init(process: "workers", layers: ["seccomp", "label a"], lacking: ["no \"Landlock\""])]
        report.credentials = [credentials()]
        report.credentials[0].problem = "t"
        report.conclude(history, known: [.init("all is lost", isFailure: true)], now: 1000)
        let read = try JSONDecoder().decode(ServiceReport.self, from: Data(report.json.utf8))
        #expect(read == report)
        #expect(read.problems.first == .init("all is lost", isFailure: true))
        #expect(read.problems.count == 3)
    }

    @Test("The document has no character that a terminal does not show")
    func shown() throws {
        var report = healthy()
        report.settings = ["/etc/a\u{202E}b\u{2028}c\u{E0041}d\n"]
        #expect(report.json.dropLast().unicodeScalars.allSatisfy { !$0.isControlling })
        let read = try JSONDecoder().decode(ServiceReport.self, from: Data(report.json.utf8))
        #expect(read.settings == report.settings)
    }

    @Test("A peer that fails again and again pushes its own handshakes out of the history, and not all others")
    func crowd() {
        var history = HandshakeHistory()
        for host in 1...100 { history.add(record(peer: "192.0.2.\(host):700")) }
        for _ in 0..<10_000 { history.add(record(.peerClosed, role: .server, peer: "198.51.100.1:1")) }
        let kept = history.newest(HandshakeHistory.capacity)
        #expect(kept.count == HandshakeHistory.capacity)
        #expect(kept.count(where: { $0.peer.hasPrefix("192.0.2.") }) == 100)
        // Others come, and take its room until it has its share.
        for host in 1...250 { history.add(record(peer: "203.0.113.\(host):700")) }
        for _ in 0..<10_000 { history.add(record(.peerClosed, role: .server, peer: "198.51.100.1:1")) }
        let later = history.newest(HandshakeHistory.capacity)
        #expect(later.count(where: { $0.peer.hasPrefix("198.51.100.") }) == HandshakeHistory.share)
        #expect(later.first?.peer == "198.51.100.1:1")
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
        #expect(history.unresolved(now: 1000, seconds: 60).map(\.reason) == ["overloaded", "peerClosed"])
    }

    @Test("A role whose credentials cannot be used says what that means, one whose newest cannot does not")
    func consequence() {
        for (inForce, text) in [
            (false, "profile p, client credentials: t; this role is not served until this is fixed"),
            (true, "profile p, client credentials: t"),
        ] {
            var report = healthy()
            report.credentials = [credentials()]
            report.credentials[0].problem = "t"
            report.credentials[0].inForce = inForce
            report.conclude(HandshakeHistory(), known: [], now: 1000)
            #expect(report.problems.map(\.text) == [text])
            #expect(report.problems.map(\.isFailure) == [!inForce])
        }
    }

    @Test("What expires within two weeks is a problem, the worst first; what is far off is none")
    func expiries() {
        var report = healthy()
        func conclude(_ all: [ServiceReport.Credentials], at now: Int = 1000) -> [String] {
            report.credentials = all
            report.conclude(HandshakeHistory(), known: [.init("known")], now: now)
            return report.problems.map(\.text)
        }
        #expect(conclude([credentials()]) == ["known"])
        #expect(
            report.credentials[0].certificates[0].daysLeft == 100 && report.credentials[0].revocation?.daysLeft == 50)
        #expect(conclude([credentials(certificate: 15, revocation: 3)]) == ["known"])
        let what = "profile p, client: certificate CN=\"c\",O=a\\b of /etc/c.pem"
        #expect(
            conclude([credentials(certificate: 14), credentials(certificate: 1), credentials(certificate: -2)]) == [
                "known", "\(what) expired 1 day ago; remedy: renew it", "\(what) expires in 1 day; remedy: renew it",
                "\(what) expires in 14 days; remedy: renew it",
            ])
        #expect(conclude([credentials(certificate: 0)], at: 1001)[1].contains("expired less than a day ago"))
        #expect(
            conclude([credentials(revocation: 2)])[1].contains(
                "revocation list /etc/crl.pem expires in 2 days"))
        #expect(
            conclude([credentials(revocation: -8)])[1].contains("expired 7 days ago, peers of its issuer are refused"))
    }

    @Test(
        "A certificate that lives shortly is a problem in the last third of its life",
        arguments: [
            (7, 7, false), (7, 3, false), (7, 2, true), (1, 1, false), (42, 15, false), (42, 14, true),
            (3000, 14, true),
        ])
    func shortLives(life: Int, left: Int, isNear: Bool) {
        var report = healthy()
        report.credentials = [credentials(certificate: left)]
        report.credentials[0].certificates[0].notBefore = 1000 + (left - life) * 86_400
        report.conclude(HandshakeHistory(), known: [], now: 1000)
        #expect(report.problems.isEmpty == !isNear, "\(report.problems)")
    }

    @Test("Whatever date a worker makes up, the daemon goes on", arguments: [Int.min, -1, Int.max])
    func absurdDates(date: Int) {
        var report = healthy()
        report.credentials = [credentials()]
        report.credentials[0].certificates[0].notAfter = date
        report.credentials[0].revocation?.nextUpdate = date
        report.conclude(HandshakeHistory(), known: [], now: 1_800_000_000)
        #expect(report.problems.isEmpty == (date == .max))
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
