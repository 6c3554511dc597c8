import Foundation
import Glibc
import Handshake
import Policy
import TestSupport
import Testing
import Wire

@testable import Broker
@testable import Control
@testable import System
@testable import Upcall

/// Signers that hang, or say what they were not asked. The broker's clock is the test's where it would have to wait
/// long.
extension SignerTests {
    private static let second: UInt64 = 1_000_000_000

    @Test("a signer that stops answering is found out by the workers, and they by it, when it goes on")
    func stopped() throws {
        let broker = try broker(settings(key: path("server.key")))
        try turn(broker) { inForce(broker) }
        let process = try #require(broker.signer(.files).process)
        try process.process.signal(SIGSTOP)
        let isSigned = try shake(broker) {
            #expect(upcall.answers.last?.status == .timedOut)
            #expect(broker.signer(.files).suspectedBy.count == 1)
            // One that does not answer soon is killed.
            try process.process.signal(SIGCONT)
            try turn(broker) { broker.signer(.files).suspectedBy.isEmpty && process.owesSince == nil }
        }
        #expect(!isSigned)
        #expect(try shake(broker))
        #expect(broker.signer(.files).process === process)
    }

    @Test("a worker that gave up waiting for a signer that was starting gets a new channel when that is ready")
    func suspectedEarly() throws {
        let broker = try broker(settings(key: path("server.key")))
        try turn(broker) { inForce(broker) }
        try ready(broker, using: .server)
        let former = try #require(broker.signer(.files).process)
        let worker = try #require(broker.pool.places.first { $0.duty.role == .server }?.worker?.id)
        try former.process.signal(SIGKILL)
        try turn(broker) { broker.signer(.files).process.map { $0 !== former && !$0.isReady } == true }
        let process = try #require(broker.signer(.files).process)
        let before = process.connections
        broker.signer(.files).suspect(by: worker)
        #expect(broker.signer(.files).suspectedBy == [worker] && process.owesSince != nil)
        try turn(broker) { process.isReady }
        #expect(broker.signer(.files).suspectedBy.isEmpty && process.connections == before + 1)
    }

    @Test(
        "a signer that hangs with a handshake in flight: that one fails in time, those without a key go on, the next waits for the new one"
    )
    func hangs() throws {
        let broker = try broker(settings(key: path("server.key")))
        try turn(broker) { inForce(broker) }
        let process = try #require(broker.signer(.files).process)
        // All peers are there before the first handshake begins to wait.
        let listener = try LoopbackListener(), client = try opensslClient(listener)
        let (server, port) = try opensslServer("server")
        let signed = try listener.accept(), unsigned = try LoopbackListener.connect(to: port)
        var keyless = self.client
        keyless.peerName = "server.test"
        try process.process.signal(SIGSTOP)
        upcall.ask(request, on: signed)
        broker.upcalls.drainAll()
        upcall.ask(keyless, on: unsigned)
        try turn(broker) { upcall.answers.count == 2 }
        let refused = upcall.answers.first { (try? $0.accepted.request.get())?.role == .server }
        #expect(refused?.status == .timedOut)
        #expect(broker.control.history.failures(2).contains { $0.reason == "signerUnavailable" })
        #expect(!client.finish().contains("Verification: OK"))
        #expect(server.finish().contains("CIPHER is TLS_"))

        #expect(try shake(broker))
        #expect(broker.signer(.files).process?.number == 2)
        #expect(broker.signer(.files).deaths == 1 && broker.control.report().workers.signerDeaths == 1)
        #expect(broker.pool.deaths == 0)
        try turn(broker) { broker.reaper.dying.isEmpty }
    }

    @Test("a signer that hangs does not outlive the broker")
    func ends() throws {
        let broker = try broker(settings(key: path("server.key")))
        try turn(broker) { inForce(broker) }
        let process = try #require(broker.signer(.files).process)
        try process.process.signal(SIGSTOP)
        broker.endProcesses()
        #expect(broker.reaper.dying.isEmpty)
        #expect(kill(process.process.identifier, 0) == -1 && errno == ESRCH)
    }

    @Test("one that hangs while nothing is to be signed is asked whether it lives, killed, and replaced")
    func hangsIdle() throws {
        let broker = try broker(settings(key: path("server.key")))
        try turn(broker) { inForce(broker) && broker.signer(.files).process?.owesSince == nil }
        let process = try #require(broker.signer(.files).process)
        broker.signer(.files).check(process.heardAt + 4 * Self.second)
        #expect(process.owesSince == nil)
        broker.signer(.files).check(process.heardAt + 5 * Self.second)
        #expect(process.owesSince != nil)
        try turn(broker) { process.owesSince == nil }

        try process.process.signal(SIGSTOP)
        broker.signer(.files).check(process.heardAt + 5 * Self.second)
        let since = try #require(process.owesSince)
        broker.signer(.files).check(since + 2 * Self.second - 1)
        #expect(broker.signer(.files).process === process)
        broker.signer(.files).check(since + 2 * Self.second)
        #expect(broker.signer(.files).process !== process && broker.signer(.files).deaths == 1)
        try turn(broker) { broker.signer(.files).process?.isOpening == false }
        #expect(try shake(broker))
    }

    @Test("one that opens keys has longer, and still owes the answer to a ping when it has opened them")
    func opensSlowly() throws {
        let broker = try broker(
            settings(key: path("server.key")),
            signer: try script(
                """
                load = channel.recv(70000)
                while channel.recv(70000)[0] != 7: pass
                channel.send(bytes([66]) + load[1:8] + bytes([0, 2]) + b"no" + bytes([0, 0]))
                while channel.recv(70000): pass
                """))
        try turn(broker) { broker.signer(.files).process?.isReady == true }
        let process = try #require(broker.signer(.files).process)
        #expect(process.isOpening)
        let since = try #require(process.owesSince)
        broker.signer(.files).check(since + 20 * Self.second - 1)
        #expect(broker.signer(.files).process === process)
        try process.send(.ping)
        try turn(broker) { !process.isOpening }
        let next = try #require(process.owesSince)
        #expect(next > since)
        broker.signer(.files).check(next + 2 * Self.second)
        #expect(broker.signer(.files).process !== process)
    }

    @Test("one that never opens a key: its handshakes are told so, and not that no worker was free")
    func neverOpens() throws {
        let broker = try broker(
            settings(key: path("server.key")),
            signer: try script("while channel.recv(70000): pass"))
        // A worker must be free for it.
        try ready(broker)
        try turn(broker) { broker.signer(.files).process?.isReady == true }
        let listener = try LoopbackListener(), client = try opensslClient(listener)
        upcall.ask(
            HandshakeRequest(
                transport: .netlink, role: .server, authentication: .x509, timeout: .seconds(10)),
            on: try listener.accept())
        broker.upcalls.drainAll()
        clock.pass(10_000_000_000)
        try conclude(broker)
        #expect(upcall.answers.last?.status == .timedOut)
        let record = try #require(broker.control.history.failures(1).first)
        #expect(record.reason == "signerUnavailable" && record.text.contains("did not open the role's keys in time"))
        _ = client.finish()
    }

    @Test("one that says it lives without having been asked is killed and counted")
    func unaskedAnswer() throws {
        let broker = try broker(
            settings(key: path("server.key")),
            signer: try script(
                """
                channel.send(bytes([67]))
                while channel.recv(70000): pass
                """))
        try turn(broker) { broker.signer(.files).deaths > 0 }
    }

    /// A signer that is a program of Python's, with its channel to the broker. It has been set up and has said that it
    /// is ready when `body` begins.
    private func script(_ body: String) throws -> String {
        let text = """
            #!/usr/bin/env python3
            import socket
            channel = socket.socket(fileno=3)
            channel.recv(70000)
            channel.send(bytes([65, 0, 0]))
            \(body)

            """
        try Data(text.utf8).write(to: URL(filePath: path("signer")))
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path("signer"))
        return path("signer")
    }

    /// A client's handshake that presents the certificate `client`, with a server that demands it.
    ///
    /// - Returns: whether that was content with our signature.
    func shakeAsClient(_ broker: Broker) throws -> Bool {
        let (server, port) = try opensslServer(
            "server", ["-Verify", "1", "-verify_return_error", "-CAfile", path("client.pem")])
        var request = client
        request.authentication = .x509
        request.peerName = "server.test"
        let before = upcall.answers.count
        upcall.ask(request, on: try LoopbackListener.connect(to: port))
        try turn(broker) { upcall.answers.count > before }
        return server.finish().contains("CIPHER is TLS_")
    }
}
