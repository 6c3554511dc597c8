import Handshake
import System
import TestSupport
import Testing
import Wire

@testable import TLS

/// One certificate that must be refused, and how.
struct BadCertificate: Sendable, CustomTestStringConvertible {
    let certificate: String
    var revocation: String?
    let reason: FailureReason
    /// The alert's number, as OpenSSL shows it.
    let alert: Int
    /// Part of the detail.
    let detail: String

    var testDescription: String { "\(certificate) \(revocation ?? "")" }

    static let always = [
        BadCertificate(
            certificate: "expired", reason: .certificateExpired, alert: 45, detail: "CN=expired expired on 2021-11-02"),
        BadCertificate(
            certificate: "future", reason: .certificateNotYetValid, alert: 45,
            detail: "CN=future is valid from 2055-01-01 on"),
        BadCertificate(
            certificate: "revoked", revocation: "crl.pem", reason: .certificateRevoked, alert: 44,
            detail: "CN=revoked, issued by CN=ca"),
        BadCertificate(
            certificate: "stranger", reason: .certificateUnknownAuthority, alert: 48,
            detail: "CN=stranger is issued by CN=other-ca, which is not trusted"),
        BadCertificate(
            certificate: "ecdsa", revocation: "old-crl.pem", reason: .certificateRevocationOutdated, alert: 46,
            detail: "CN=ecdsa: the list of CN=ca expired on 2021-01-01"),
    ]

    /// What a certificate must allow or bring besides its chain.
    static let uses = [
        BadCertificate(
            certificate: "no-signing", reason: .certificateInvalid, alert: 42,
            detail:
                "the key usage of CN=no-signing has no digitalSignature, without which its key may not sign TLS 1.3 "
                + "handshakes"),
        BadCertificate(
            certificate: "must-staple", reason: .certificateInvalid, alert: 42,
            detail: "CN=must-staple, issued by CN=ca: it demands an OCSP response (must-staple), and the peer sent none"
        ),
    ]

    static let names = [
        BadCertificate(
            certificate: "elsewhere", reason: .certificateNameMismatch, alert: 42,
            detail: "wanted server.test; CN=elsewhere carries DNS:elsewhere.test, IP:192.0.2.7"),
        BadCertificate(
            certificate: "wildcard", reason: .certificateNameMismatch, alert: 42,
            detail: "wanted server.test; CN=wildcard carries DNS:*.example.test"),
    ]
}

@Suite("certificates that are refused") struct CertificateFailureTests {
    @Test(
        "a client refuses its server with reason, particulars and alert",
        arguments: BadCertificate.always + BadCertificate.names + BadCertificate.uses)
    func client(_ bad: BadCertificate) throws {
        let (program, port) = try Peers.opensslServer(certificate: bad.certificate)
        var plan = Engine.Plan()
        plan.revocation = bad.revocation
        let engine = try Engine(plan, on: Loopback.connect(port))
        let failure = try #require(engine.failure())
        #expect(failure.reason == bad.reason, "\(failure)")
        #expect(failure.detail.contains(bad.detail), "\(failure.detail)")
        #expect(engine.session.alertSent == bad.reason.row.alert)
        #expect(engine.session.peerCertificate?.subject == "CN=\(bad.certificate)")
        #expect(program.wait(for: "alert number \(bad.alert)"), "\(program.text)")
    }

    @Test(
        "a server refuses its client with reason, particulars and alert",
        arguments: BadCertificate.always + BadCertificate.uses.prefix(1))
    func server(_ bad: BadCertificate) throws {
        let (program, socket) = try Peers.opensslClient(certificate: bad.certificate)
        var plan = Engine.Plan.server("rsa")
        plan.revocation = bad.revocation
        let engine = try Engine(plan, on: socket)
        let failure = try #require(engine.failure())
        #expect(failure.reason == bad.reason, "\(failure)")
        #expect(failure.detail.contains(bad.detail), "\(failure.detail)")
        #expect(engine.session.alertSent == bad.reason.row.alert)
        #expect(program.wait(for: "alert number \(bad.alert)"), "\(program.text)")
    }

    @Test("a server whose own certificate may not sign says that, when it is loaded and when a client comes")
    func ownUse() throws {
        let (near, far) = try Loopback.pair()
        let client = try Engine(Engine.Plan(), on: near)
        let server = try Engine(.server("no-signing"), on: far)
        let failure = try #require(server.failure { _ = client.session.step() })
        #expect(failure.reason == .certificateUnreadable, "\(failure)")
        #expect(failure.detail == BadCertificate.uses[0].detail, "\(failure)")
        let credentials = try Engine.credentials(.server("no-signing"))
        #expect(credentials.facts.warning.contains(failure.detail), "\(credentials.facts.warning)")
        let other = try Engine.credentials(.server("must-staple"))
        #expect(other.facts.warning.contains("CN=must-staple demands an OCSP response"), "\(other.facts.warning)")
    }

    @Test("a certificate with another address is refused for an address")
    func wrongAddress() throws {
        let (program, port) = try Peers.opensslServer(certificate: "elsewhere")
        defer { _ = program }
        var plan = Engine.Plan()
        plan.peerName = "192.0.2.8"
        let failure = try #require(try Engine(plan, on: Loopback.connect(port)).failure())
        #expect(failure.reason == .certificateNameMismatch)
        #expect(failure.detail.hasPrefix("wanted 192.0.2.8; CN=elsewhere carries DNS:elsewhere.test, IP:192.0.2.7"))
    }

    @Test("an address is not matched against DNS names, nor against the common name")
    func addressAsName() throws {
        let (program, port) = try Peers.opensslServer(certificate: "wildcard")
        defer { _ = program }
        var plan = Engine.Plan()
        plan.peerName = "127.0.0.1"
        #expect(try Engine(plan, on: Loopback.connect(port)).failure()?.reason == .certificateNameMismatch)
    }

    /// What an OpenSSL server says to client certificates that it refuses, after our client believes to be done.
    @Test(
        "a refusal that comes after our Finished still ends the handshake, with the server's reason",
        arguments: [
            ("expired", Alert.certificateExpired), ("stranger", Alert.unknownCA), ("future", Alert.badCertificate),
        ])
    func lateVerdict(_ certificate: String, _ alert: Alert) throws {
        let ask = ["-Verify", "3", "-CAfile", Fixtures.shared.path("ca.pem"), "-verify_return_error"]
        let (program, port) = try Peers.opensslServer(ask)
        defer { _ = program }
        var plan = Engine.Plan()
        plan.authentication = .x509
        plan.certificate = certificate
        let engine = try Engine(plan, on: Loopback.connect(port))
        let failure = try #require(engine.failure(judge: {}))
        #expect(failure.reason == .alertReceived)
        #expect(failure.detail == "the server refused our certificate: \(alert.name)")
        #expect(engine.session.alertReceived == alert)
        #expect(engine.session.alertSent == nil)
    }

    @Test(
        "a server has as long to refuse our certificate as it took to answer our hello, 1 s at most",
        arguments: [100, 1100] as [Int64])
    func patience(_ milliseconds: Int64) throws {
        let (near, far) = try Loopback.pair()
        let server = try Engine(.server("rsa"), on: far)
        var plan = Engine.Plan()
        plan.authentication = .x509
        plan.certificate = "rsa"
        let client = try Engine(plan, on: near)
        _ = client.session.step()
        let answer = Clock.deadline(in: .milliseconds(milliseconds))
        #expect(client.success { if Clock.monotonicNanoseconds() >= answer { _ = server.session.step() } } != nil)
        let line = try #require(client.log.first { $0.hasPrefix("handshake done") })
        let patience = try #require(line.firstMatch(of: /up to ([0-9]+) ms/).flatMap { Int64($0.1) })
        #expect((min(milliseconds, 1000)...1000).contains(patience), "\(line)")
    }

    @Test("our own server's refusal reaches our own client", arguments: BadCertificate.always)
    func bothOurs(_ bad: BadCertificate) throws {
        let (near, far) = try Loopback.pair()
        var serverPlan = Engine.Plan()
        serverPlan.role = .server
        serverPlan.authentication = .x509
        serverPlan.certificate = "rsa"
        serverPlan.revocation = bad.revocation
        let server = try Engine(serverPlan, on: far)
        var clientPlan = Engine.Plan()
        clientPlan.authentication = .x509
        clientPlan.certificate = bad.certificate
        let client = try Engine(clientPlan, on: near)
        var refusal: HandshakeFailure?
        let failure = try #require(
            client.failure(pump: { _ = server.session.step() }, judge: { refusal = server.failure() }))
        #expect(failure.reason == .alertReceived)
        #expect(client.session.alertReceived == bad.reason.row.alert)
        #expect(refusal?.reason == bad.reason)
    }

    @Test("a chain of more certificates than the library looks at is the peer's fault, and refused as a bad one")
    func endlessChain() throws {
        let files = Fixtures.shared
        files.write(Array(repeating: files.bytes("ca.pem"), count: 20).flatMap { $0 }, as: "endless.pem")
        let (program, port) = try Peers.opensslServer(["-cert_chain", files.path("endless.pem")])
        let engine = try Engine(Engine.Plan(), on: Loopback.connect(port))
        let failure = try #require(engine.failure())
        #expect(failure == HandshakeFailure(.certificateTooCostly, "21 certificates, at most 16 are taken"))
        #expect(engine.session.alertSent == .badCertificate)
        #expect(program.wait(for: "alert number 42"), "\(program.text)")
    }

    @Test("of our own chains the longest that the library follows passes; a longer one is told when it is loaded")
    func longestChain() throws {
        let files = Fixtures.shared
        files.chain(of: 17, as: "chain")
        func credentials(_ name: String) throws -> Credentials {
            try Engine.credentials(
                .server, [(.trustStore, "ca.pem"), (.certificate, name), (.privateKey, "chain.key")])
        }
        let (near, far) = try Loopback.pair()
        let longer = try credentials("chain.pem")
        #expect(
            longer.summary.hasPrefix(
                "WARNING: our certificate \(files.path("chain.pem")) brings a chain of 17, and peers with GnuTLS refuse more "
                    + "than 16"))
        #expect(longer.facts.warning.hasPrefix("our certificate \(files.path("chain.pem")) brings a chain of 17"))
        let server = try Engine(.server(), on: far, sharing: longer)
        let failure = try #require(try Engine(Engine.Plan(), on: near).failure { _ = server.session.step() })
        #expect(failure.reason == .certificateTooCostly, "\(failure)")
        // Its root is the authority that has issued all but one of them.
        files.write(
            Array(String(decoding: files.bytes("chain.pem"), as: UTF8.self).pemBlocks.prefix(16).joined().utf8),
            as: "shorter.pem")
        let shorter = try credentials("shorter.pem")
        #expect(!shorter.summary.contains("WARNING") && shorter.facts.warning.isEmpty)
        let (one, other) = try Loopback.pair()
        let second = try Engine(.server(), on: other, sharing: shorter)
        var plan = Engine.Plan()
        plan.trust = "chain-16.pem"
        _ = try #require(try Engine(plan, on: one).success { _ = second.session.step() })
    }
}

extension String {
    /// Its PEM blocks, each with its lines.
    fileprivate var pemBlocks: [String] {
        let end = "-----END CERTIFICATE-----\n"
        var rest = self[...], blocks: [String] = []
        while let range = rest.firstRange(of: end) {
            blocks.append(String(rest[..<range.upperBound]))
            rest = rest[range.upperBound...]
        }
        return blocks
    }
}
