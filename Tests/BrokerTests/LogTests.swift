import Foundation
import Handshake
import Policy
import Settings
import TestSupport
import Testing

@testable import Broker
@testable import System
@testable import Unconfined
@testable import Upcall

/// What the journal gets of the broker.
@Suite("The broker's log", .serialized)
struct LogTests {
    private let upcall = ScriptedUpcall()
    private let brokers = Brokers()
    private let directory = TemporaryDirectory()
    private let client = HandshakeRequest(
        transport: .netlink, role: .client, authentication: .unauthenticated, peerName: "nfs1.example")

    /// A broker that needs no worker, and whose journal is `receiver`.
    private func broker(
        _ configuration: String, worker: String = "/bin/false", signer: String = "/bin/false",
        _ receiver: borrowing JournalReceiver
    ) throws -> Broker {
        var options = DaemonOptions()
        options.configuration = directory.write(Array(configuration.utf8), to: "config")
        let kernel = KernelTLSCapabilities(ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: false)
        let broker = brokers.keep(
            try Broker(
                options: options, surroundings: Surroundings(kernelTLS: kernel, worker: worker, signer: signer)))
        broker.log.journal = Journal(.automatic, socketPath: receiver.path)
        broker.reload.patience = BrokerBench.patience
        return broker
    }

    /// Number and severity.
    private func ids(_ lines: [[String: String]]) -> [String] {
        lines.compactMap { line in line["MESSAGE_ID"].map { "\($0) \(line["PRIORITY", default: ""])" } }
    }

    @Test("a failed handshake leaves its line, and that of ktls-utils behind it where it is wanted")
    func failure() throws {
        let receiver = JournalReceiver(in: directory)
        for (setting, historic) in [
            ("", []), ("ktls_utils_lines=1.1\n", ["Handshake with 'nfs1.example' (127.0.0.1) failed"]),
            ("ktls_utils_lines=1.2\n", ["Handshake with 'nfs1.example' (127.0.0.1) failed"]),
        ] {
            let broker = try broker("[debug]\n\(setting)", receiver)
            try broker.upcalls.add(upcall, namespace: .named("blue"))
            let peer = try upcall.ask(client)
            broker.upcalls.drainAll()
            peer.close()
            let lines = receiver.lines()
            #expect(lines.map { $0["PRIORITY"] } == Array(repeating: "3", count: 1 + historic.count))
            #expect(lines.first?["MESSAGE_ID"] == FailureReason.noProfile.row.messageID)
            #expect(lines.first?["MESSAGE"]?.hasPrefix("NFS client in namespace blue: TLS with nfs1.example") == true)
            #expect(lines.dropFirst().compactMap { $0["MESSAGE"] } == historic)
            #expect(lines.dropFirst().allSatisfy { $0["MESSAGE_ID"] == nil })
        }
    }

    @Test("a request that cannot be understood leaves both as well")
    func refusal() throws {
        let receiver = JournalReceiver(in: directory)
        let broker = try broker("[debug]\nktls_utils_lines=1.2\n", receiver)
        try broker.upcalls.add(upcall)
        let peer = try upcall.ask(.failure(HandshakeFailure(.requestMalformed, "role is missing")))
        broker.upcalls.drainAll()
        peer.close()
        let lines = receiver.lines()
        #expect(ids(lines) == ["\(FailureReason.requestMalformed.row.messageID) 3"])
        #expect(lines.map { $0["PRIORITY"] } == ["3", "3"])
        #expect(lines.last?["MESSAGE"] == "Handshake request failed")
    }

    @Test("a handshake that succeeded leaves both at the level of information")
    func success() {
        let receiver = JournalReceiver(in: directory)
        let log = DaemonLog(Journal(.automatic, socketPath: receiver.path), level: 0)
        let session = NegotiatedSession(
            cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "", peerAuthenticated: true)
        let peer = PeerAddress(socketAddress: "[2001:db8::1]:2049", name: "nfs1.example")
        let line = LogLine(HandshakeResult(outcome: .success(session)), of: client, with: peer)
        for style in HistoricLine.allCases {
            log.result(line, historic: style.text(succeeded: line.succeeded, with: peer))
        }
        let lines = receiver.lines()
        #expect(lines.allSatisfy { $0["PRIORITY"] == "6" && $0["SYSLOG_FACILITY"] == "4" })
        #expect(
            lines.map { $0["MESSAGE"] } == [
                line.text, "Handshake with nfs1.example (2001:db8::1) was successful",
                line.text, "Handshake with 'nfs1.example' (2001:db8::1) succeeded",
            ])
        #expect(ids(lines) == Array(repeating: "\(LogEvent.handshakeSucceeded.rawValue) 6", count: 2))
    }

    @Test("settings and credentials that cannot be used, and those that can, have their numbers")
    func settings() throws {
        let receiver = JournalReceiver(in: directory)
        let broker = try broker("", receiver)
        _ = directory.write(Array("[broken".utf8), to: "config")
        broker.reload.look()
        #expect(ids(receiver.lines()).contains("\(LogEvent.settingsRefused.rawValue) 3"))
        _ = directory.write(Array("[authenticate.client]\nx509.truststore=/none\n".utf8), to: "config")
        broker.reload.look()
        let ids = ids(receiver.lines())
        #expect(ids.contains("\(LogEvent.settingsInForce.rawValue) 6"))
        #expect(ids.contains("\(LogEvent.credentialsRefused.rawValue) 3"))
    }

    @Test("nothing that others chose breaks a line or a terminal")
    func printable() {
        let receiver = JournalReceiver(in: directory)
        let log = DaemonLog(Journal(.automatic, socketPath: receiver.path), level: 1)
        log.error("one\ntwo\u{1B}[2J")
        log.debug("three\rfour")
        #expect(receiver.lines().compactMap { $0["MESSAGE"] } == [#"one\u{a}two\u{1b}[2J"#, #"three\u{d}four"#])
    }

    @Test("programs that cannot be started, keys and tags that cannot be used have their numbers")
    func rare() throws {
        let receiver = JournalReceiver(in: directory)
        let certificate = directory.write([], to: "cert.pem"), key = directory.write([], to: "key.pem")
        let folder = TemporaryDirectory()
        let broker = try broker(
            "[authenticate]\npsk.file=/none/keys\n"
                + "[authenticate.server]\nx509.certificate=\(certificate)\nx509.private_key=\(key)\n",
            worker: "/none/worker", signer: "/none/signer", receiver)
        broker.tags = try TagFolder(folder.path, log: broker.log)
        _ = folder.write(Array("broken".utf8), to: "tags.yml")
        broker.reload.look()
        broker.pool.start(broker.loop.now)
        let found = ids(receiver.lines())
        for event in [LogEvent.keysRefused, .tagsRefused, .workerNotStarted, .signerNotStarted] {
            #expect(found.contains("\(event.rawValue) 3"), "\(event)")
        }
    }

    @Test("namespaces that cannot be served, and a consumer that comes back again and again, have their numbers")
    func consumers() throws {
        let receiver = JournalReceiver(in: directory)
        let broker = try broker("", receiver)
        var census = NamespaceScan.Result()
        census.leftOut = 3
        census.hiddenProcesses = 5
        broker.upcalls.note(census)
        broker.upcalls.note(census)
        #expect(ids(receiver.lines()) == Array(repeating: "\(LogEvent.namespaceNotServed.rawValue) 4", count: 2))

        let peer = try upcall.ask(client)
        var taken: [AcceptedHandshake] = []
        _ = upcall.drain { taken.append($0) }
        let accepted = try #require(taken.first)
        let session = NegotiatedSession(
            cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "", peerAuthenticated: true)
        let result = HandshakeResult(outcome: .success(session))
        func comeBack(_ rounds: Range<UInt64>, _ standing: Bool?, after: UInt64) -> [String?] {
            upcall.standing = standing
            return rounds.map { round in
                let now = round * 10_000_000_000
                let remark = broker.handshakes.connections.note(
                    Handshake(1, accepted, client, from: upcall, backstop: 0), result, now: now)
                broker.handshakes.connections.refresh(now + after)
                return remark
            }
        }
        // Five ordinary mounts in a minute; a kernel that does not tell; connections that end when they are older.
        #expect(comeBack(10..<16, true, after: 2_000_000_000) == Array(repeating: nil, count: 6))
        #expect(comeBack(20..<26, nil, after: 2_000_000_000) == Array(repeating: nil, count: 6))
        #expect(comeBack(30..<36, true, after: 2_000_000_000).last == .some(nil))
        upcall.standing = false
        broker.handshakes.connections.refresh(36 * 10_000_000_000)
        #expect(ids(receiver.lines()) == [])
        // Connections that die at once: the one that stood, and the others.
        let remarks = comeBack(36..<41, false, after: 2_000_000_000)
        #expect(remarks == Array(repeating: "the previous connection with it ended after at most 10 s", count: 5))
        #expect(ids(receiver.lines()) == ["\(LogEvent.consumerReconnects.rawValue) 4"])
        // An hour later nobody asks any longer.
        let looks = upcall.looks
        #expect(comeBack(400..<401, false, after: 0) == [nil])
        #expect(upcall.looks == looks)
        try upcall.answer(accepted, status: .success, remoteIdentity: nil)
        peer.close()
    }

    @Test("tags that the kernel is not given are named, where it takes any; a verdict that comes too late is no error")
    func answers() throws {
        let receiver = JournalReceiver(in: directory)
        let broker = try broker("", receiver)
        let session = NegotiatedSession(
            cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "", peerAuthenticated: true)
        var result = HandshakeResult(outcome: .success(session))
        result.tags = (0..<66).map { "tag-\($0)" }
        for (number, level, text) in [
            (Errno.ebusy, "6", "the consumer had given up before the result came"),
            (.einval, "3", "EINVAL"),
        ] {
            let peer = try upcall.ask(client)
            var taken: [AcceptedHandshake] = []
            _ = upcall.drain { taken.append($0) }
            let accepted = try #require(taken.first)
            let handshake = Handshake(1, accepted, client, from: upcall, backstop: 0)
            upcall.takesTags = false
            broker.handshakes.noteTags(of: handshake, result)
            #expect(receiver.lines().isEmpty)
            upcall.takesTags = true
            broker.handshakes.noteTags(of: handshake, result)
            let line = try #require(receiver.lines().first)
            #expect(line["PRIORITY"] == "5")
            #expect(line["MESSAGE"]?.contains(": tag-64 tag-65: it takes 64 of up to 255 bytes") == true)
            upcall.refusal = .rejected(command: "DONE", number: number, text: nil)
            broker.handshakes.sendDone(accepted, .success, nil, through: upcall)
            let told = try #require(receiver.lines().first)
            #expect(told["PRIORITY"] == level)
            #expect(told["MESSAGE"]?.contains(text) == true)
            peer.close()
        }
    }

    /// A broker that serves one namespace more for each request source.
    private func served(_ upcalls: [ScriptedUpcall], _ receiver: borrowing JournalReceiver) throws -> Broker {
        let broker = try broker("", receiver)
        for (index, upcall) in upcalls.enumerated() {
            try broker.upcalls.add(upcall)
            broker.upcalls.served[NamespaceIdentity(device: 1, inode: UInt64(index))] = ServedNamespace(
                name: .named("n\(index)"), sources: [broker.upcalls.lastSource])
        }
        return broker
    }

    @Test("who else listens is said when it comes and when it goes; a crowd takes neither time nor room without end")
    func rivals() throws {
        let receiver = JournalReceiver(in: directory)
        let broker = try served([upcall], receiver)
        upcall.others = (1...2000).map { RivalListener(inode: .max - $0, port: 0, unread: 0) }
        broker.upcalls.lookForRivals(0)
        broker.upcalls.lookForRivals(0)
        let come = receiver.lines()
        #expect(come.count == Upcalls.namedRivals + 1)
        #expect(Set(ids(come)) == ["\(LogEvent.rivalListens.rawValue) 4"])
        #expect(come.contains { $0["MESSAGE"]?.hasPrefix("\(2000 - Upcalls.namedRivals) more") == true })
        #expect(broker.upcalls.served.values.allSatisfy { $0.rivals.count == Upcalls.namedRivals })
        upcall.others = []
        broker.upcalls.lookForRivals(0)
        let gone = receiver.lines()
        #expect(gone.count == Upcalls.namedRivals)
        #expect(Set(ids(gone)) == ["\(LogEvent.rivalGone.rawValue) 5"])
    }

    @Test("a namespace that does not tell who listens keeps no other from being looked at")
    func rivalsElsewhere() throws {
        let receiver = JournalReceiver(in: directory)
        let silent = (0..<20).map { _ in ScriptedUpcall() }
        for way in silent { way.others = nil }
        upcall.others = [RivalListener(inode: .max, port: 0, unread: 0)]
        let broker = try served(silent + [upcall], receiver)
        broker.upcalls.lookForRivals(0)
        #expect(ids(receiver.lines()) == ["\(LogEvent.rivalListens.rawValue) 4"])
    }
}
