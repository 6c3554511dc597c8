import Foundation
import Testing

@testable import Handshake
@testable import Policy

@Suite("The line that a handshake leaves")
struct LogLineTests {
    private let peer = PeerAddress(socketAddress: "192.0.2.7:2049", name: "nfs1.example")
    private let client = HandshakeRequest(
        transport: .netlink, role: .client, authentication: .x509, peerName: "nfs1.example")

    @Test("success says consumer, peer, mode, suite, group, protocol, who the peer is, and how long it took")
    func success() {
        let result = HandshakeResult(
            outcome: .success(
                NegotiatedSession(
                    cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "sunrpc",
                    peerAuthenticated: true)),
            peerCertificate: CertificateDescription(subject: "CN=nfs1", issuer: "CN=ca", notBefore: 5, notAfter: 0),
            elapsed: .microseconds(12_345))
        let line = LogLine(result, of: client, with: peer)
        #expect(line.succeeded)
        #expect(
            line.text
                == "NFS client: TLS with nfs1.example (192.0.2.7:2049) is up: x509, TLS_AES_128_GCM_SHA256, X25519, "
                + "ALPN sunrpc, peer CN=nfs1, 12 ms")
        #expect(line.fields.contains { $0 == ("TLSHD_CIPHER_SUITE", "TLS_AES_128_GCM_SHA256") })
        #expect(line.fields.contains { $0 == ("TLSHD_PEER_SUBJECT", "CN=nfs1") })
        #expect(line.fields.contains { $0 == ("MESSAGE_ID", LogEvent.handshakeSucceeded.rawValue) })
        var update = client
        update.keyUpdate = KeyUpdate(session: SessionReference(instance: 1, session: 2), steps: .send)
        let renewed = LogLine(result, of: update, with: peer)
        #expect(renewed.fields.filter { $0.name == "MESSAGE_ID" }.map(\.value) == [LogEvent.keysUpdated.rawValue])
    }

    @Test("failure says the reason with its particulars, the remedy, and what kernel and peer were told")
    func failure() {
        let result = HandshakeResult(
            outcome: .failure(HandshakeFailure(.certificateExpired, "CN=nfs1 expired on 2026-11-02")),
            alertSent: .certificateExpired, elapsed: .milliseconds(3))
        let line = LogLine(result, of: client, with: peer)
        #expect(!line.succeeded)
        #expect(
            line.text
                == "NFS client: TLS with nfs1.example (192.0.2.7:2049) failed: the peer's certificate has expired "
                + "(CN=nfs1 expired on 2026-11-02); remedy: renew it on the peer; kernel told EACCES, "
                + "sent alert certificate_expired, 3 ms")
        for field in [
            ("TLSHD_REASON", "certificateExpired"), ("MESSAGE_ID", FailureReason.certificateExpired.row.messageID),
            ("TLSHD_DETAIL", "CN=nfs1 expired on 2026-11-02"), ("TLSHD_ALERT_SENT", "certificate_expired"),
        ] { #expect(line.fields.contains { $0 == field }) }
        #expect(!line.fields.contains { $0.name == "TLSHD_ALERT_RECEIVED" })
    }

    @Test("what is no request leaves a line with the same fields")
    func refused() {
        let line = LogLine(refused: HandshakeFailure(.requestMalformed, "no\nrole"), of: "192.0.2.7:2049")
        #expect(!line.succeeded)
        #expect(
            line.text
                == "request for 192.0.2.7:2049 refused: the kernel's request was malformed (no\\u{a}role); "
                + "remedy: report this with the kernel's version; kernel told EINVAL")
        #expect(
            Dictionary(uniqueKeysWithValues: line.fields.map { ($0.name, $0.value) }) == [
                "TLSHD_PEER": "192.0.2.7:2049", "TLSHD_STATUS": "EINVAL", "TLSHD_REASON": "requestMalformed",
                "TLSHD_DETAIL": "no\\u{a}role", "TLSHD_REMEDY": "report this with the kernel's version",
                "MESSAGE_ID": FailureReason.requestMalformed.row.messageID,
            ])
    }

    @Test(
        "an AF_TLSH client without a name to verify says so, and one with a name does not",
        arguments: [nil, "a.example"])
    func nameless(name: String?) throws {
        let request = HandshakeRequest(transport: .listener, role: .client, authentication: .x509, peerName: name)
        try request.validate()
        #expect(request.allowance == .seconds(9))
        let result = HandshakeResult(
            outcome: .success(
                NegotiatedSession(
                    cipherSuite: "TLS_AES_256_GCM_SHA384", group: "X25519", applicationProtocol: "",
                    peerAuthenticated: true)))
        let line = LogLine(result, of: request, with: PeerAddress(socketAddress: "192.0.2.7:2049", name: name))
        #expect(line.text.hasPrefix("AF_TLSH client: "))
        #expect(line.text.contains("no name was given to verify") == (name == nil))
    }

    @Test("a netlink client without a name is refused", arguments: [Authentication.x509, .unauthenticated])
    func namelessNetlink(authentication: Authentication) {
        let request = HandshakeRequest(transport: .netlink, role: .client, authentication: authentication)
        #expect(throws: HandshakeFailure(.peerNameMissing)) { try request.validate() }
    }

    @Test("namespace and profile are named where they are not the default")
    func places() {
        var request = client
        request.namespace = .named("blue")
        let result = HandshakeResult(outcome: .failure(HandshakeFailure(.noProfile, "namespace blue")))
        let line = LogLine(result, of: request, with: peer, profile: "west")
        #expect(line.text.hasPrefix("NFS client in namespace blue, profile west: TLS with nfs1.example"))
        #expect(line.fields.contains { $0 == ("TLSHD_NAMESPACE", "blue") })
        #expect(line.fields.contains { $0 == ("TLSHD_PROFILE", "west") })
        let plain = LogLine(result, of: client, with: peer)
        #expect(plain.text.hasPrefix("NFS client: TLS with"))
        #expect(!plain.fields.contains { ["TLSHD_NAMESPACE", "TLSHD_PROFILE"].contains($0.name) })
    }

    @Test("every field is documented, in the guide and in the manual page")
    func documented() throws {
        var request = client
        request.namespace = .named("blue")
        let certificate = CertificateDescription(subject: "CN=nfs1", issuer: "CN=ca", notBefore: 5, notAfter: 0)
        let session = NegotiatedSession(
            cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "", peerAuthenticated: true)
        let lines = [HandshakeResult.Outcome.success(session), .failure(HandshakeFailure(.alertReceived, "x"))].map {
            LogLine(
                HandshakeResult(
                    outcome: $0, peerCertificate: certificate, pskIdentity: "x", alertSent: .badCertificate,
                    alertReceived: .badCertificate, tags: ["x"], remarks: ["x"]), of: request, with: peer,
                profile: "blue")
        }
        let fields = Set(lines.flatMap(\.fields).map(\.name))
        #expect(fields.count > 15)
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let guide = try String(contentsOf: root.appending(path: "docs/operating.md"), encoding: .utf8)
        let manual = try String(contentsOf: root.appending(path: "docs/man/tlshd.8"), encoding: .utf8)
        for field in fields {
            #expect(guide.contains("`\(field)`"))
            #expect(manual.contains(field))
        }
        #expect(guide.contains("MESSAGE_ID=\(FailureReason.certificateExpired.row.messageID) "))
    }

    @Test("a server whose client showed no certificate says so")
    func anonymous() {
        let request = HandshakeRequest(transport: .netlink, role: .server, authentication: .x509)
        let result = HandshakeResult(
            outcome: .success(
                NegotiatedSession(
                    cipherSuite: "TLS_AES_256_GCM_SHA384", group: "SECP256R1", applicationProtocol: "",
                    peerAuthenticated: false)))
        let line = LogLine(result, of: request, with: PeerAddress(socketAddress: "[::1]:871"))
        #expect(line.text.contains("NFS server: TLS with [::1]:871 is up"))
        #expect(line.text.contains("peer without certificate"))
    }

    @Test("a server whose kernel names the peer is no NFS server, on netlink as it is known there")
    func namedPeer() {
        for (name, consumer) in [("node2", "TLS server"), ("", "NFS server"), (nil, "NFS server")] {
            let request = HandshakeRequest(
                transport: .netlink, role: .server, authentication: .x509, peerName: name)
            #expect(LogLine.consumer(of: request) == consumer)
        }
        let client = HandshakeRequest(transport: .netlink, role: .client, authentication: .x509, peerName: "node2")
        #expect(LogLine.consumer(of: client) == "NFS client")
        let target = HandshakeRequest(
            transport: .netlink, role: .server, authentication: .preSharedKey, peerName: "node2")
        #expect(LogLine.consumer(of: target) == "NVMe target")
    }

    @Test(
        "what a stranger chose cannot break the line",
        arguments: [
            "a\nb", "a\u{1B}[31mb", "a\u{85}b", "a\0b", "a\u{202E}b", "a\u{2066}b", "a\u{200B}b", "a\u{2028}b",
            "a\u{2029}b", "a\u{E0041}b", "a\u{FEFF}b",
        ])
    func control(identity: String) {
        let request = HandshakeRequest(transport: .netlink, role: .server, authentication: .preSharedKey)
        let result = HandshakeResult(
            outcome: .failure(HandshakeFailure(.pskIdentityUnknown, identity)), pskIdentity: identity)
        let line = LogLine(result, of: request, with: PeerAddress(socketAddress: "[::1]:871"))
        #expect(line.text.unicodeScalars.allSatisfy { !$0.isControlling })
        #expect(line.fields.allSatisfy { $0.value.unicodeScalars.allSatisfy { !$0.isControlling } })
        let number = String(identity.unicodeScalars.dropFirst().first?.value ?? 0, radix: 16)
        #expect(line.text.contains("a\\u{\(number)}"), "it says which it was")
    }
}

@Suite("The lines of ktls-utils")
struct HistoricLineTests {
    private let named = PeerAddress(socketAddress: "192.0.2.7:2049", name: "nfs1.example")

    @Test("are those of its releases until 1.1.0, or from 1.2.0 on, to the byte")
    func texts() {
        let old = HistoricLine.until11, new = HistoricLine.since12
        #expect(old.text(succeeded: true, with: named) == "Handshake with nfs1.example (192.0.2.7) was successful")
        #expect(old.text(succeeded: false, with: named) == "Handshake with 'nfs1.example' (192.0.2.7) failed")
        #expect(new.text(succeeded: true, with: named) == "Handshake with 'nfs1.example' (192.0.2.7) succeeded")
        #expect(new.text(succeeded: false, with: named) == "Handshake with 'nfs1.example' (192.0.2.7) failed")
        #expect(HistoricLine.refused == "Handshake request failed")
    }

    @Test(
        "have the address where there is no name",
        arguments: [
            ("[2001:db8::1]:4420", "2001:db8::1"), ("192.0.2.1:871", "192.0.2.1"),
            ("[fe80::1%eth0]:4420", "fe80::1%eth0"), ("unknown", "unknown"), ("", ""), ("[", "["), ("]:1", "]"),
        ])
    func nameless(socketAddress: String, address: String) {
        for name in [nil, ""] {
            let peer = PeerAddress(socketAddress: socketAddress, name: name)
            let line = HistoricLine.since12.text(succeeded: true, with: peer)
            #expect(line == "Handshake with '\(address)' (\(address)) succeeded")
        }
    }

    @Test("cannot be broken by what a stranger chose")
    func control() {
        let peer = PeerAddress(socketAddress: "192.0.2.7:2049", name: "a\nb")
        #expect(
            HistoricLine.until11.text(succeeded: true, with: peer)
                == "Handshake with a\\u{a}b (192.0.2.7) was successful")
    }
}
