import CGnuTLS
import CLinux
import Glibc
import Handshake
import System
import TLSWire
import TestSupport
import Testing
import Wire

@testable import TLS

/// How the bytes arrive, and how many of them are ours to take.
@Suite("the stream") struct StreamTests {
    /// A client that presents a certificate, and a server.
    private static func presentingPair() throws -> (client: Engine, server: Engine) {
        let (near, far) = try Loopback.pair()
        var plan = Engine.Plan()
        plan.authentication = .x509
        plan.certificate = "rsa"
        return (try Engine(plan, on: near), try Engine(.server(), on: far))
    }

    @Test("a server's flight that comes a byte at a time is understood")
    func bytewiseServer() throws {
        let (program, port) = try Peers.opensslServer()
        defer { _ = program }
        let relay = try Relay(to: Loopback.connect(port), .bytewise)
        let engine = try Engine(Engine.Plan(), on: relay.near)
        _ = try #require(engine.success { relay.pump() })
        let records = engine.records()
        relay.toEngine = .unchanged
        records.pump = { relay.pump() }
        engine.checkDataBothWays(with: records)
    }

    @Test("a client's messages that come a byte at a time are understood")
    func bytewiseClient() throws {
        let (program, socket) = try Peers.opensslClient(certificate: "rsa")
        let relay = try Relay(to: socket, .bytewise)
        let engine = try Engine(.server(), on: relay.near)
        let negotiated = try #require(engine.success { relay.pump() })
        #expect(negotiated.peerAuthenticated)
        _ = program
    }

    @Test("data that comes in one segment with the client's Finished is left in the socket, to the byte")
    func dataBehindFinished() throws {
        let (program, socket) = try Peers.opensslClient(certificate: "ecdsa")
        program.write("early bird\n")
        // A hello as it comes; then everything up to the data.
        let relay = try Relay(
            to: socket, .gathered { $0.first == 22 || Self.ends($0, withDataOf: "early bird\n".utf8.count) })
        let engine = try Engine(.server(), on: relay.near)
        _ = try #require(engine.success { relay.pump() })
        // Header, text, content type, tag.
        #expect(Loopback.waiting(engine.socket) == 5 + "early bird\n".utf8.count + 1 + 16)
        let records = engine.records()
        #expect(records.nextReceived == 0)
        #expect(records.text(until: "\n") == "early bird\n")
    }

    /// Whether the last of these records has the length of so many bytes with content type and tag.
    private static func ends(_ stream: [UInt8], withDataOf count: Int) -> Bool {
        var rest = stream[...], last = 0
        while rest.count >= 5 {
            last = Int(rest[rest.startIndex + 3]) << 8 | Int(rest[rest.startIndex + 4])
            guard rest.count >= 5 + last else { return false }
            rest = rest.dropFirst(5 + last)
        }
        return rest.isEmpty && last == count + 1 + 16
    }

    @Test("tickets behind the server's messages are taken and counted, the data behind them is left in the socket")
    func dataBehindTickets() throws {
        let ask = ["-Verify", "3", "-CAfile", Fixtures.shared.path("ca.pem"), "-verify_return_error"]
        let (program, port) = try Peers.opensslServer(ask, mode: [])
        program.write("welcome\n")
        let relay = try Relay(to: Loopback.connect(port), .unchanged)
        var plan = Engine.Plan()
        plan.authentication = .x509
        plan.certificate = "rsa"
        let engine = try Engine(plan, on: relay.near)
        let negotiated = engine.success(
            pump: relay.pump,
            judge: {
                relay.toEngine = .gathered { Self.ends($0, withDataOf: "welcome\n".utf8.count) }
                #expect(throws: Never.self) { try relay.pumpThrough() }
            })
        _ = try #require(negotiated)
        #expect(engine.session.ticketsReceived == 2)
        let records = engine.records()
        #expect(records.nextReceived == 2)
        #expect(Loopback.waiting(engine.socket) == 5 + "welcome\n".utf8.count + 1 + 16)
        #expect(records.text(until: "\n") == "welcome\n")
        #expect(records.nextReceived == 3)
    }

    /// - Returns: a client that waits for its server's verdict, and how it fails when the server sends this.
    private static func failure(sending answer: @escaping (Engine) -> Void) throws -> (Engine, HandshakeFailure) {
        let (client, server) = try presentingPair()
        client.session.minimumVerdictTimeout = 2_000_000_000
        let failure = client.failure(pump: { _ = server.session.step() }, judge: once(server, answer))
        return (client, try #require(failure))
    }

    /// What a server does when its client first waits for the verdict: it ends the handshake and sends this.
    private static func once(_ server: Engine, _ answer: @escaping (Engine) -> Void) -> () -> Void {
        var sent = false
        return {
            guard !sent else { return }
            sent = true
            server.run()
            answer(server)
        }
    }

    @Test("a ticket ends the wait for the server's verdict")
    func ticketAccepts() throws {
        let (client, server) = try Self.presentingPair()
        client.session.minimumVerdictTimeout = 3_600_000_000_000
        let negotiated = client.success(
            pump: { _ = server.session.step() },
            judge: Self.once(server) { $0.records().send(Self.ticket, as: .handshake) })
        _ = try #require(negotiated)
        #expect(client.session.ticketsReceived == 1)
    }

    /// NewSessionTicket (RFC 8446 §4.6.1): lifetime, age, nonce, ticket, no extensions.
    private static let ticket: [UInt8] = [4, 0, 0, 18] + [0, 0, 0, 60, 1, 2, 3, 4, 1, 0, 0, 4, 1, 2, 3, 4, 0, 0]

    @Test("data of a server that has accepted us is seen, and left in the socket")
    func dataBehindHandshake() throws {
        let (client, server) = try Self.presentingPair()
        let negotiated = client.success(
            pump: { _ = server.session.step() },
            judge: {
                server.run()
                server.records().send("welcome\n")
            })
        _ = try #require(negotiated)
        let records = client.records()
        #expect(records.nextReceived == 0)
        #expect(records.text(until: "\n") == "welcome\n")
    }

    @Test("a server that sends ticket after ticket does not keep us for as long as it likes")
    func endlessTickets() throws {
        let (client, failure) = try Self.failure { server in
            let records = server.records()
            for _ in 0..<100 { records.send(Self.ticket, as: .handshake) }
        }
        #expect(failure.reason == .protocolViolation)
        #expect(failure.detail.contains("too many messages"), "\(failure.detail)")
        #expect(client.session.ticketsReceived == 64)
    }

    @Test("a server that asks for our next key directly after the handshake gets it before the consumer's data")
    func keyUpdateAsked() throws {
        let (client, server) = try Self.presentingPair()
        client.session.minimumVerdictTimeout = 2_000_000_000
        var sent = false
        func serve() {
            guard !sent, case .finished = server.session.step() else { return }
            #expect(unsafe gnutls_session_key_update(server.session.session, UInt32(GNUTLS_KU_PEER)) >= 0)
            server.session.transport.flush()
            server.records().send("hello\n")
            sent = true
        }
        _ = try #require(client.success { serve() })
        #expect(client.log.contains { $0.hasPrefix("received KEY_UPDATE") })
        #expect(client.log.contains { $0.hasPrefix("sent KEY_UPDATE") })
        let records = client.records()
        #expect(records.text(until: "\n") == "hello\n")
        records.send("welcome\n")
        var text = [UInt8](repeating: 0, count: 100)
        var count = 0
        try wait {
            count = unsafe gnutls_record_recv(server.session.session, &text, text.count)
            server.session.transport.consumeRead()
            return count > 0
        }
        #expect(String(decoding: text.prefix(max(0, count)), as: UTF8.self) == "welcome\n")
        #expect(server.log.contains { $0.hasPrefix("received KEY_UPDATE") })
    }

    @Test(
        "a server that resets the connection within a record or a message is not waited for", arguments: [true, false])
    func resetWithinRecord(_ isWithinMessage: Bool) throws {
        let (_, failure) = try Self.failure { server in
            if isWithinMessage { server.records().send([4, 0, 0], as: .handshake) }
            let start: [UInt8] = [23, 3, 3, 1, 0, 1]
            _ = unsafe send(server.socket, start, start.count, 0)
            // Disconnects, which sends RST (tcp(7), connect to AF_UNSPEC).
            var nowhere = sockaddr()
            nowhere.sa_family = sa_family_t(AF_UNSPEC)
            _ = unsafe connect(server.socket, &nowhere, socklen_t(MemoryLayout<sockaddr>.size))
        }
        #expect(failure.reason == .connectionReset, "\(failure.detail)")
    }

    @Test(
        "a record after the handshake that breaks the protocol is answered with the alert that RFC 8446 has for it",
        arguments: [
            // An unknown request_update; a KeyUpdate that is too long.
            ([24, 0, 0, 1, 2, 22], false, .illegalParameter), ([24, 0, 0, 2, 0, 0, 22], false, .decodeError),
            // A CertificateRequest, which we did not allow; padding without content.
            ([13, 0, 0, 3, 0, 0, 0, 22], false, .unexpectedMessage), ([0, 0, 0], false, .unexpectedMessage),
            // Records: one whose tag is wrong, and one that is too long.
            ([23, 3, 3, 0, 32] + [UInt8](repeating: 1, count: 32), true, .badRecordMAC),
            ([23, 3, 3, 0x41, 1], true, .recordOverflow),
        ] as [([UInt8], Bool, Alert)])
    func alertAfterHandshake(bytes: [UInt8], isRecord: Bool, alert: Alert) throws {
        let (client, failure) = try Self.failure { server in
            if isRecord {
                _ = unsafe send(server.socket, bytes, bytes.count, 0)
            } else {
                server.records().send(inner: bytes)
            }
        }
        #expect(failure.reason == .protocolViolation)
        #expect(client.session.alertSent == alert)
    }

    @Test("a chain of 60 kB, in any order in its file, is sent and received", arguments: [true, false])
    func longChain(_ engineIsServer: Bool) throws {
        if engineIsServer {
            let (program, socket) = try Peers.opensslClient()
            var size: Int32 = 4096
            // A small send buffer makes the socket take the flight in many parts.
            _ = unsafe setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
            let engine = try Engine(.server("long"), on: socket)
            _ = try #require(engine.success())
            let sizes = engine.log.filter { $0.hasPrefix("sent CERTIFICATE, ") }.compactMap {
                Int($0.split(separator: " ")[2])
            }
            #expect(sizes.contains { $0 > 60_000 }, "\(sizes)")
            engine.checkDataBothWays(with: program)
        } else {
            let files = Fixtures.shared
            let (program, port) = try Peers.opensslServer(
                [
                    "-cert", files.path("long-leaf.pem"), "-key", files.path("long-leaf.key"), "-cert_chain",
                    files.path("long-issuers.pem"),
                ],
                certificate: "long-leaf")
            defer { _ = program }
            let engine = try Engine(Engine.Plan(), on: Loopback.connect(port))
            _ = try #require(engine.success())
            #expect(engine.session.peerCertificate?.subject == "CN=long-leaf")
            engine.checkDataBothWays()
        }
    }

    @Test(
        "plain text is named for what it is, and answered with unexpected_message",
        arguments: [
            ([0x80, 0, 0, 0x28, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 2], "an RPC call"),
            ([0x80, 0, 0, 0x1C, 1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 0], "an RPC reply"),
            (
                [0x80, 0, 0, 0x24, 1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8] + Array("STARTTLS".utf8),
                "another RPC reply with STARTTLS"
            ),
            ([0, 0, 128, 0, 128, 0, 0, 0], "an NVMe ICReq"),
            ([1, 0, 128, 0, 128, 0, 0, 0], "an NVMe ICResp"),
            (Array("HTTP/1.1 400 Bad Request\r\n".utf8), "HTTP"),
            (Array("SSH-2.0-OpenSSH_9.2\r\n".utf8), "SSH"),
            ([1], "bytes of no known protocol"),
        ] as [([UInt8], String)])
    func plainText(_ bytes: [UInt8], _ name: String) throws {
        let (near, far) = try Loopback.pair()
        defer { close(far) }
        _ = unsafe send(far, bytes, bytes.count, 0)
        let engine = try Engine(.server(), on: near)
        let failure = try #require(engine.failure())
        #expect(failure.reason == .peerSpeaksPlainText)
        #expect(failure.detail == "the peer sent \(name)")
        var answer = [UInt8](repeating: 0, count: 100)
        let count = unsafe recv(far, &answer, answer.count, 0)
        #expect(Array(answer.prefix(count)) == [21, 3, 3, 0, 2, 2, 10])
    }

    @Test("a record that is none in the middle of the handshake is a violation")
    func garbage() throws {
        let (near, far) = try Loopback.pair()
        defer { close(far) }
        let engine = try Engine(Engine.Plan(), on: near)
        let record: [UInt8] = [20, 3, 3, 0, 1, 1, 22, 9, 9, 0, 1, 1]
        _ = unsafe send(far, record, record.count, 0)
        #expect(engine.failure()?.reason == .protocolViolation)
    }

    @Test("a peer that closes, or resets, is told apart and noticed at once", arguments: [true, false])
    func gone(_ resets: Bool) throws {
        let (near, far) = try Loopback.pair()
        let engine = try Engine(Engine.Plan(), on: near)
        guard case .wants = engine.session.step() else {
            Issue.record("it should wait for the server")
            return
        }
        if resets {
            var linger = linger(l_onoff: 1, l_linger: 0)
            _ = unsafe setsockopt(far, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
        } else {
            var hello = [UInt8](repeating: 0, count: 4096)
            _ = unsafe recv(far, &hello, hello.count, 0)
        }
        close(far)
        let failure = try #require(engine.failure())
        #expect(
            failure
                == (resets
                    ? HandshakeFailure(.connectionReset, "ECONNRESET")
                    : HandshakeFailure(.peerClosed, "during the handshake")))
        #expect(engine.session.alertSent == nil)
    }

    @Test("of a connection that ends when the handshake is done nothing says that it was during the handshake")
    func goneAfterwards() throws {
        let (client, server) = try Self.presentingPair()
        let failure = try #require(
            client.failure(
                pump: { _ = server.session.step() },
                judge: {
                    _ = server.run()
                    shutdown(server.socket, Int32(SHUT_RDWR))
                }))
        #expect(failure == HandshakeFailure(.peerClosed, "directly after the handshake"))
        for reason in [failure.reason, .connectionReset] { #expect(!reason.row.explanation.contains("during")) }
    }

    @Test(
        "a peer that fails for a reason of its own, or is stopped, is to be tried again",
        arguments: [
            ([21, 3, 3, 0, 2, 2, 80], .alertInternalError),
            ([21, 3, 3, 0, 2, 1, 90, 21, 3, 3, 0, 2, 1, 0], .peerClosed),
        ] as [([UInt8], FailureReason)])
    func transient(records: [UInt8], reason: FailureReason) throws {
        let (near, far) = try Loopback.pair()
        defer { close(far) }
        let engine = try Engine(Engine.Plan(), on: near)
        guard case .wants = engine.session.step() else {
            Issue.record("it should wait for the server")
            return
        }
        _ = unsafe send(far, records, records.count, 0)
        let failure = try #require(engine.failure())
        #expect(failure.reason == reason)
        #expect(failure.reason.row.status == .timedOut)
    }

    @Test("a handshake that is given up says user_canceled and close_notify to its peer")
    func givenUp() throws {
        let (near, far) = try Loopback.pair()
        defer { close(far) }
        // The first bytes of a ClientHello.
        try #require(unsafe send(far, [22, 3, 1, 2, 0, 1] as [UInt8], 6, 0) == 6)
        let engine = try Engine(.server(), on: near)
        _ = engine.session.step()
        engine.session.abort(HandshakeFailure(.deadlineExceeded))
        #expect(engine.failure()?.reason == .deadlineExceeded)
        #expect(engine.session.alertSent == .userCanceled)
        var answer = [UInt8](repeating: 0, count: 100)
        let count = unsafe recv(far, &answer, answer.count, 0)
        #expect(Array(answer.prefix(count)) == [21, 3, 3, 0, 2, 1, 90, 21, 3, 3, 0, 2, 1, 0])
    }

    @Test("a server says nothing to a client that has said nothing: its kernel would read it as RPC")
    func givenUpUnheard() throws {
        let (near, far) = try Loopback.pair()
        defer { close(far) }
        let engine = try Engine(.server(), on: near)
        _ = engine.session.step()
        engine.session.abort(HandshakeFailure(.overloaded))
        #expect(engine.failure()?.reason == .overloaded)
        #expect(engine.session.alertSent == nil)
        #expect(Loopback.waiting(far) == 0)
    }

    @Test("the file's flags are as they were, blocking ones too")
    func flags() throws {
        let (program, port) = try Peers.opensslServer()
        defer { _ = program }
        let engine = try Engine(Engine.Plan(), on: Loopback.connect(port))
        let before = fcntl(engine.socket, F_GETFL)
        #expect(before & O_NONBLOCK == 0)
        _ = try #require(engine.success())
        #expect(fcntl(engine.socket, F_GETFL) == before)
    }
}
