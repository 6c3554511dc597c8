import Control
import Foundation
import Glibc
import Handshake
import Policy
import Settings
import TestSupport
import Testing
import Wire

@testable import Broker
@testable import System
@testable import Unconfined
@testable import Upcall

/// The real broker, whose workers are under somebody else's command (Tests/HostileWorker).
@Suite("Broker and hostile workers", .serialized)
final class HostileWorkerTests: BrokerBench {
    /// A broker whose workers know by their name how to behave.
    /// Turns it until a worker is at a handshake, and lets the time pass that it has.
    private func overrun(_ broker: Broker) throws {
        broker.upcalls.drainAll()
        let handshake = try #require(broker.handshakes.table.all.first)
        try turn(broker) { handshake.worker.map { broker.handshakes.inHand(of: $0) === handshake } == true }
        clock.pass(handshake.backstop - broker.loop.now)
        try conclude(broker)
    }

    @Test("an honest one is not killed")
    func honest() throws {
        let broker = try broker(of: "honest")
        try ready(broker, using: .client)
        let before = Set(broker.pool.workers.map(\.id))
        let peer = try upcall.ask(client)
        try conclude(broker)
        #expect(upcall.answers.map(\.status) == [.accessDenied])
        #expect(Set(broker.pool.workers.map(\.id)) == before)
        #expect(broker.pool.deaths == 0)
        peer.close()
    }

    @Test(
        "one that breaks the protocol is killed and replaced at once, its handshake is answered once as an error",
        arguments: [
            "crash", "garbage", "truncated", "empty", "descriptor", "unknown", "hearTwice", "hearAnother", "lookup",
            "shout",
        ])
    func violation(conduct: String) throws {
        let broker = try broker(of: conduct)
        try ready(broker)
        let before = Set(broker.pool.workers.map(\.id))
        let peer = try upcall.ask(client)
        try conclude(broker)
        #expect(broker.pool.deaths == 1)
        try ready(broker)
        #expect(Set(broker.pool.workers.map(\.id)) != before)
        #expect(upcall.answers.map(\.status) == [.timedOut])
        #expect(upcall.answers.allSatisfy { $0.remoteIdentity == nil })
        peer.close()
    }

    @Test(
        "one that sends a message is killed unless the permit table has it in this state",
        arguments: ProcessState.allCases, WorkerMessage.permits.map(\.kind))
    func everyMessage(state: ProcessState, kind: WorkerMessage.Kind) throws {
        let broker = try broker(of: "\(state.rawValue).\(kind)")
        let permit = try #require(WorkerMessage.permits.first { $0.kind == kind })
        // The broker has sent it nothing that it could answer.
        let isPermitted = permit.states.contains(state) && [.any, .once].contains(permit.occurrence)
        try turn(broker) {
            broker.pool.deaths > 0
                || isPermitted && !broker.pool.workers.isEmpty && broker.pool.workers.allSatisfy(\.isReady)
        }
        #expect((broker.pool.deaths == 0) == isPermitted)
    }

    /// A key for the server, so that there is a signer.
    private func configurationWithKey() throws -> String {
        try issue("server")
        return "[authenticate.server]\nx509.certificate=\(path("server.pem"))\nx509.private_key=\(path("server.key"))\n"
    }

    /// Turns it until the signer holds the key.
    private func signing(_ broker: Broker) throws {
        try ready(broker, using: .server)
        try turn(broker) {
            broker.signer(.files).process?.isReady == true && !broker.credentials.awaitSigner
        }
    }

    @Test(
        "one that asks the signer in a way that is not permitted is killed and replaced, and the signer goes on",
        arguments: ["askGarbage", "askLong", "askDescriptor", "askAhead"])
    func asksSigner(conduct: String) throws {
        let broker = try broker(of: conduct, configuration: try configurationWithKey())
        try signing(broker)
        let before = Set(broker.pool.workers.map(\.id)), signer = broker.signer(.files).process?.number
        let peer = try upcall.ask(client)
        try conclude(broker)
        #expect(broker.pool.deaths == 1)
        #expect(upcall.answers.map(\.status) == [.timedOut])
        try ready(broker)
        #expect(Set(broker.pool.workers.map(\.id)) != before)
        #expect(broker.signer(.files).process?.number == signer)
        peer.close()
    }

    @Test(
        "one that has signed what it may not gets no signature and is killed; a sibling's handshake is signed meanwhile",
        arguments: ["signOther", "signFirst", "signTwice", "signEnded", "signKeyless"])
    func signs(conduct: String) throws {
        let own = try configurationWithKey()
        let other = own.replacing("[authenticate.server]", with: "[profile blue]\nmatch.namespace=blue")
        let broker = try broker(of: conduct, configuration: own + other)
        try signing(broker)
        try turn(broker) {
            [.standard, ProfileNumber(1)].allSatisfy {
                broker.credentials[CredentialsOwner($0, .server)]?.inForce != nil
            }
        }
        let server = HandshakeRequest(
            transport: .netlink, role: .server, authentication: .x509, timeout: .seconds(600))
        var attackers = server
        if conduct == "signKeyless" { attackers.authentication = .preSharedKey }
        let first = try upcall.ask(server)
        broker.upcalls.drainAll()
        let sibling = try #require(broker.runners[1])
        let second = try upcall.ask(attackers)
        broker.upcalls.drainAll()
        #expect(broker.runners[2] != nil && broker.runners[2] != sibling)
        if conduct == "signEnded" {
            try turn(broker) { broker.handshakes.table[2] == nil }
            try Data().write(to: URL(filePath: path("signEnded.ended")))
        }
        try turn(broker) { broker.pool.deaths == 1 }
        #expect(broker.pool.serves(sibling))
        try Data().write(to: URL(filePath: path(conduct + ".attacked")))
        try conclude(broker)
        let statuses = upcall.answers.map(\.status).sorted { $0.rawValue < $1.rawValue }
        #expect(statuses == [.accessDenied, conduct == "signEnded" ? .accessDenied : .timedOut])
        #expect(broker.pool.deaths == 1)
        #expect(!FileManager.default.fileExists(atPath: path("signEnded.signed")))
        first.close()
        second.close()
    }

    @Test(
        "one that hangs, spins or only chatters is answered for in time, and killed",
        arguments: ["hang", "spin", "flood"])
    func silent(conduct: String) throws {
        let broker = try broker(of: conduct)
        try ready(broker, using: .client)
        let peer = try upcall.ask(client)
        try overrun(broker)
        #expect(upcall.answers.map(\.status) == [.timedOut])
        #expect(broker.pool.deaths == 1)
        try turn(broker) { broker.reaper.dying.isEmpty }
        peer.close()
    }

    @Test("a success for another worker's handshake is believed by nobody")
    func another() throws {
        let broker = try broker(of: "another")
        try ready(broker, using: .client)
        let first = try upcall.ask(client)
        broker.upcalls.drainAll()
        let second = try upcall.ask(client)
        broker.upcalls.drainAll()
        try turn(broker) { broker.handshakes.table[1] == nil || broker.handshakes.table[2] == nil }
        clock.pass(600_000_000_000)
        try conclude(broker)
        #expect(
            Set(upcall.answers.map(\.status)) == [.timedOut], "the liar's is lost, the other's was silent")
        first.close()
        second.close()
    }

    @Test("a second result for a handshake changes nothing, and ends the worker")
    func twice() throws {
        let broker = try broker(of: "twice")
        try ready(broker)
        let peer = try upcall.ask(client)
        try turn(broker) { broker.pool.deaths == 1 }
        try conclude(broker)
        #expect(upcall.answers.map(\.status) == [.accessDenied])
        peer.close()
    }

    @Test("a result that a worker sent before it died counts")
    func lastWords() throws {
        let broker = try broker(of: "lastWords")
        try ready(broker)
        let peer = try upcall.ask(client)
        broker.upcalls.drainAll()
        guard case .running(let worker)? = broker.handshakes.table.all.first?.state else {
            Issue.record("no worker runs it")
            return
        }
        try #require(awaitInput(try #require(broker.pool.place(of: worker)?.worker).process.number))
        broker.pool.place(of: worker)?.supervisor.checkEnd()
        try turn(broker) { broker.isIdle }
        #expect(upcall.answers.map(\.status) == [.accessDenied])
        #expect(broker.pool.deaths == 1)
        peer.close()
    }

    @Test("identities that nobody knows do not make the broker read all keyrings each")
    func lookups() throws {
        let directory = TemporaryDirectory()
        let receiver = JournalReceiver(in: directory)
        let broker = try broker(of: "lookup", configuration: "[authenticate]\npsk.file=\(path("keys"))\n")
        broker.log.journal = Journal(.automatic, socketPath: receiver.path)
        try ready(broker)
        broker.reload.refreshKeys(patience: BrokerBench.patience)
        broker.reload.freshness = .max
        var request = HandshakeRequest(transport: .netlink, role: .server, authentication: .preSharedKey)
        request.timeout = .seconds(5)
        let peer = try upcall.ask(request)
        broker.upcalls.drainAll()
        _ = receiver.lines()
        // A look would complain about this file.
        try Data("broken".utf8).write(to: URL(filePath: path("keys")))
        let worker = try #require(broker.pool.workers.first { broker.handshakes.table.load(of: $0.id) == 1 })
        try #require(awaitInput(worker.keyNumber))
        broker.pool.receiveLookups(from: worker.id)
        #expect(broker.handshakes.table.all.first?.lookups == 1)
        #expect(receiver.lines().isEmpty)
        broker.reload.freshness = 0
        cancelAll(broker)
        broker.pool.dismiss(worker.id, "it has done its part")
        try turn(broker) { broker.isIdle }
        #expect(upcall.answers.count == 1)
        peer.close()
    }

    @Test("no handshake counts as longer than it was, whatever its worker says")
    func ages() throws {
        let broker = try broker(of: "ages")
        try ready(broker)
        let peer = try upcall.ask(client)
        try conclude(broker)
        let milliseconds = try #require(broker.control.history.newest(1).first?.milliseconds)
        #expect(milliseconds < 60_000)
        peer.close()
    }

    /// Time that a handshake takes, in nanoseconds, so that its worker can say that it computed for long.
    private static let costlyTime: UInt64 = 1_200_000_000

    @Test("the peer of a handshake that cost too much processor time is named, and it never costs more than it lasted")
    func costly() throws {
        for (conduct, isCostly) in [("costly", true), ("honest", false)] {
            let directory = TemporaryDirectory()
            let receiver = JournalReceiver(in: directory)
            let broker = try broker(of: conduct)
            try ready(broker)
            broker.log.journal = Journal(.automatic, socketPath: receiver.path)
            let peer = try upcall.ask(client)
            broker.upcalls.drainAll()
            clock.pass(Self.costlyTime)
            try conclude(broker)
            let lines = receiver.lines()
            let line = lines.first { $0["MESSAGE_ID"] == LogEvent.handshakeOverBudget.rawValue }?["MESSAGE"]
            #expect((line != nil) == isCostly, "\(lines)")
            if let line {
                let address = try #require(lines.compactMap { $0["TLSHD_PEER"] }.first)
                #expect(line.contains("the handshake with nfs1.example (\(address)) took "), "\(line)")
                let milliseconds = line.split(separator: " ").compactMap { Int($0) }.first
                #expect(try #require(milliseconds) < 60_000)
            }
            peer.close()
        }
    }

    @Test("a success by a PSK that the worker was not given is told to the kernel as a failure")
    func boast() throws {
        let broker = try broker(of: "boast")
        try ready(broker)
        let request = HandshakeRequest(
            transport: .netlink, role: .server, authentication: .preSharedKey, timeout: .seconds(600))
        let peer = try upcall.ask(request)
        try conclude(broker)
        #expect(upcall.answers.map(\.status) == [.inputOutput])
        peer.close()
    }

    @Test("a success by a PSK without an authenticated peer, for which the kernel would get no serial, is not believed")
    func unauthenticated() throws {
        let request = HandshakeRequest(transport: .netlink, role: .server, authentication: .preSharedKey)
        let connection = try LoopbackConnection()
        let accepted = AcceptedHandshake(socket: try connection.client.duplicate(), request: .success(request))
        defer { accepted.takeSocket()?.close() }
        let handshake = Handshake(1, accepted, request, from: upcall, backstop: 0)
        handshake.pskSerials[Array("host".utf8)] = KeySerial(7)
        for isAuthenticated in [true, false] {
            let session = NegotiatedSession(
                cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "",
                peerAuthenticated: isAuthenticated)
            let outcome = handshake.judge(HandshakeResult(outcome: .success(session), pskIdentity: "host"))
            #expect((outcome == .success(session)) == isAuthenticated)
        }
    }

    @Test("what a worker writes to its standard error is told as its own, printable, and in few lines")
    func forge() throws {
        let receiver = JournalReceiver(in: folder)
        var lines: [[String: String]] = []
        let broker = try broker(of: "forge")
        try ready(broker)
        broker.log.journal = Journal(.automatic, socketPath: receiver.path)
        let peer = try upcall.ask(client)
        try turn(broker) {
            lines += receiver.lines()
            return !upcall.answers.isEmpty
        }
        lines += receiver.lines()
        let forged = lines.compactMap { $0["MESSAGE"] }.filter { $0.contains("forged") }
        #expect((1...20).contains(forged.count))
        #expect(forged.allSatisfy { $0.hasPrefix("worker ") && $0.hasSuffix(#": <3>tlshd[1]: forged \u{1b}[2J"#) })
        broker.outputs.summarise(broker.loop.now + LogThrottle<String>.window)
        lines = receiver.lines()
        #expect(lines.contains { $0["MESSAGE"]?.contains("more lines in the last minute") == true })
        peer.close()
    }

    @Test("a stranger that fails again and again has some lines, and then a sum")
    func summed() throws {
        let receiver = JournalReceiver(in: folder)
        var lines: [[String: String]] = []
        let broker = try broker(of: "honest")
        try ready(broker)
        broker.log.journal = Journal(.automatic, socketPath: receiver.path)
        let server = HandshakeRequest(transport: .netlink, role: .server, authentication: .preSharedKey)
        for round in 1...30 {
            let peer = try upcall.ask(server)
            try conclude(broker)
            #expect(upcall.answers.count == round)
            lines += receiver.lines()
            peer.close()
        }
        let reason = FailureReason.alertReceived
        #expect(lines.count(where: { $0["MESSAGE_ID"] == reason.row.messageID }) == 20)
        #expect(broker.control.history.newest(256).count == 30)
        // Our own mounts' are all told.
        let own = try upcall.ask(client)
        try conclude(broker)
        #expect(receiver.lines().contains { $0["MESSAGE"]?.hasPrefix("NFS client") == true })
        own.close()
        broker.handshakes.summarise(broker.loop.now + LogThrottle<String>.window)
        let sum = receiver.lines().first { $0["MESSAGE_ID"] == LogEvent.failuresSummarised.rawValue }
        #expect(sum?["MESSAGE"]?.hasPrefix("NVMe target: 10 more handshakes with 127.0.0.1 failed in the last") == true)
    }

    @Test(
        "a peer in whose handshake a worker dies or hangs is named and refused for a time, without a worker's work",
        arguments: ["blame", "blameHang"])
    func blame(conduct: String) throws {
        let receiver = JournalReceiver(in: folder)
        let broker = try broker(of: conduct)
        try ready(broker)
        broker.log.journal = Journal(.automatic, socketPath: receiver.path)
        var server = HandshakeRequest(transport: .netlink, role: .server, authentication: .preSharedKey)
        server.timeout = .seconds(600)
        let first = try upcall.ask(server)
        if conduct == "blameHang" { try overrun(broker) }
        try turn(broker) { broker.pool.deaths == 1 }
        try conclude(broker)
        let lines = receiver.lines()
        let dead = lines.first { $0["MESSAGE_ID"] == LogEvent.workerEnded.rawValue }
        #expect(dead?["MESSAGE"]?.contains("it was at the handshake with 127.0.0.1:") == true)
        let refused = lines.first { $0["MESSAGE_ID"] == LogEvent.peerRefused.rawValue }
        #expect(refused?["MESSAGE"]?.hasPrefix("NVMe target: 127.0.0.1 is refused for 30 s: ") == true)
        let second = try upcall.ask(server)
        try conclude(broker)
        #expect(upcall.answers.map(\.status) == [.timedOut, .timedOut])
        #expect(broker.control.history.newest(1).first?.reason == "peerPenalised")
        let penalty = try #require(broker.control.report().penalties.first)
        #expect(penalty.peer == "127.0.0.1" && penalty.offence == "workerKilled" && penalty.refused == 1)
        #expect(broker.pool.deaths == 1)
        // A handshake of this host as client is nobody's offence.
        let own = try upcall.ask(client)
        if conduct == "blameHang" { try overrun(broker) }
        try turn(broker) { broker.pool.deaths == 2 }
        try conclude(broker)
        #expect(
            broker.control.history.newest(1).first?.reason == (conduct == "blame" ? "workerLost" : "deadlineExceeded"))
        first.close()
        second.close()
        own.close()
    }

    @Test("an address that is exempt is never refused")
    func exempt() throws {
        let broker = try broker(of: "blame", configuration: "[limits]\npenalty_exempt=192.0.2.1;127.0.0.0/8\n")
        try ready(broker)
        let server = HandshakeRequest(
            transport: .netlink, role: .server, authentication: .preSharedKey, timeout: .seconds(600))
        for death in 1...2 {
            let peer = try upcall.ask(server)
            try turn(broker) { broker.pool.deaths == death }
            peer.close()
        }
        #expect(broker.control.report().penalties.isEmpty)
    }

    @Test("a handshake that its worker had not begun with is run by another; one that it had is not")
    func rerun() throws {
        for (conduct, status) in [("fickle", Status.accessDenied), ("nibble", .timedOut)] {
            let broker = try broker(of: conduct)
            try ready(broker)
            let answered = upcall.answers.count
            let peer = try upcall.ask(client)
            #expect(unsafe write(peer.number, [22], 1) == 1)
            try conclude(broker)
            #expect(upcall.answers.count == answered + 1)
            #expect(broker.pool.deaths == 1)
            #expect(upcall.answers.last?.status == status, "\(conduct)")
            peer.close()
        }
    }

    @Test("a worker that allocates memory without end dies at its limit, alone, and the next serves")
    func gorge() throws {
        let broker = try broker(of: "gorge")
        try ready(broker)
        try upcall.ask(client).close()
        try conclude(broker)
        #expect(FileManager.default.fileExists(atPath: path("gorge.gorged")))
        #expect(broker.pool.deaths == 1)
        try upcall.ask(client).close()
        try conclude(broker)
        #expect(broker.pool.deaths == 1)
        #expect(upcall.answers.last?.status == .accessDenied)
    }

    @Test("of two handshakes of a worker that dies, only the one that it died in is to blame; another runs the other")
    func blameOne() throws {
        let broker = try broker(of: "blameOne")
        try ready(broker, using: .server)
        // Some worker has two of them.
        var server = HandshakeRequest(transport: .netlink, role: .server, authentication: .preSharedKey)
        server.timeout = .seconds(600)
        let peers = try (0...broker.pool.places.count).map { _ in try upcall.ask(server).release() }
        broker.upcalls.drainAll()
        let handshakes = broker.handshakes.table.all
        #expect(handshakes.count == peers.count)
        func status(of one: Handshake) -> Status? { upcall.answers.first { $0.accepted === one.accepted }?.status }
        func others() -> [Handshake] { handshakes.filter { $0.reruns > 0 } }
        try turn(broker) {
            broker.pool.deaths == 1 && !others().isEmpty && others().allSatisfy { status(of: $0) != nil }
        }
        #expect(others().allSatisfy { $0.reruns == 1 && status(of: $0) == .accessDenied })
        #expect(handshakes.filter { status(of: $0) == .timedOut }.map(\.reruns) == [0], "the one to blame")
        #expect(broker.control.report().penalties.map(\.offences) == [1])
        cancelAll(broker)
        for worker in broker.pool.workers { broker.pool.dismiss(worker, "it has done its part") }
        try turn(broker) { broker.isIdle }
        for peer in peers { close(peer) }
    }

    @Test("a peer whose handshakes cost too much twice is refused the third time, without a worker's work")
    func costlyAgain() throws {
        let broker = try broker(of: "costly")
        try ready(broker)
        let server = HandshakeRequest(
            transport: .netlink, role: .server, authentication: .preSharedKey, timeout: .seconds(600))
        for round in 1...3 {
            let peer = try upcall.ask(server)
            broker.upcalls.drainAll()
            clock.pass(Self.costlyTime)
            try conclude(broker)
            let reason = round == 3 ? FailureReason.peerPenalised : .alertReceived
            #expect(broker.control.history.newest(1).first?.reason == "\(reason)")
            #expect(broker.control.report().penalties.map(\.offences) == (round == 1 ? [] : [2]))
            peer.close()
        }
        let penalty = try #require(broker.control.report().penalties.first)
        #expect(penalty.peer == "127.0.0.1" && penalty.offence == "overBudget" && penalty.refused == 1)
    }

    @Test(
        "a key update has the connection's secrets kept for as long as the settings of that moment say, on both sides")
    func keyUpdateLifetime() throws {
        func lifetime(_ seconds: Int) -> String { "[listener]\nkey_update_lifetime=\(seconds)\n" }
        let broker = try broker(of: "rekeys", configuration: lifetime(3600), rekeys: true)
        try ready(broker)
        let connection = try LoopbackConnection()
        var request = client
        request.wantsSession = true
        upcall.ask(request, on: try connection.client.duplicate())
        try turn(broker) { upcall.answers.count == 1 }
        let session = try #require(upcall.answers.first?.accepted.sessionReference)
        let cookie = try SocketFacts.cookie(of: connection.client.number)
        func secondsLeft() throws -> Double {
            let now = broker.loop.now
            return Double(try broker.handshakes.sessions.find(session, socket: cookie, now: now).until - now) / 1e9
        }
        #expect((3480...3600).contains(try secondsLeft()))
        try Data(lifetime(100_000).utf8).write(to: URL(filePath: path("tlshd.conf")))
        broker.reload.refreshSettings(patience: BrokerBench.patience)
        request.keyUpdate = KeyUpdate(session: session, steps: .send)
        upcall.ask(request, on: try connection.client.duplicate())
        broker.upcalls.drainAll()
        // It is on its way: what is told from now on is not for it.
        try Data(lifetime(10_000).utf8).write(to: URL(filePath: path("tlshd.conf")))
        broker.reload.refreshSettings(patience: BrokerBench.patience)
        #expect(broker.configuration.settings.listener.keyUpdateLifetime.value == 10_000)
        try turn(broker) { upcall.answers.count == 2 }
        #expect(upcall.answers.map(\.status) == [.success, .success])
        #expect(try String(contentsOfFile: path("rekeys.kept"), encoding: .utf8) == "100000")
        #expect((99_880...100_000).contains(try secondsLeft()))
    }

    @Test("what a worker's sandbox lacks, and that it can serve nothing, has its number in the journal")
    func complaints() throws {
        for (conduct, event) in [("bare", LogEvent.lessConfined), ("useless", .cannotServe)] {
            let directory = TemporaryDirectory()
            let receiver = JournalReceiver(in: directory)
            let broker = try broker(of: conduct)
            broker.log.journal = Journal(.automatic, socketPath: receiver.path)
            try ready(broker)
            #expect(receiver.lines().contains { $0["MESSAGE_ID"] == event.rawValue })
        }
    }

    @Test("one that does not become ready is killed and replaced")
    func mute() throws {
        let broker = try broker(of: "mute")
        clock.stop()
        try turn(broker) { broker.pool.workers.count == 4 }
        clock.pass(19_999_999_999)
        try turn(broker) { true }
        #expect(broker.pool.deaths == 0)
        clock.pass(1)
        try turn(broker) { broker.pool.deaths == 4 }
    }

    @Test("that nothing can be served is over when a worker can")
    func useful() throws {
        let broker = try broker(of: "honest")
        broker.pool.startProblem = "nothing is allowed"
        try ready(broker)
        #expect(broker.pool.startProblem == nil)
    }

    @Test(
        "what is sent before ready, ready twice, and verdicts on nothing end the worker",
        arguments: ["early", "readyTwice", "verdict"])
    func outOfTurn(conduct: String) throws {
        let broker = try broker(of: conduct)
        try turn(broker) { broker.pool.deaths >= 2 }
        #expect(upcall.answers.isEmpty)
    }

    @Test(
        "workers that die again and again are replaced, the last ones soon, and every handshake is answered in time; the journal says so"
    )
    func crashLoop() throws {
        let directory = TemporaryDirectory()
        let receiver = JournalReceiver(in: directory)
        var told: Set<String> = []
        let broker = try broker(of: "crash")
        broker.log.journal = Journal(.automatic, socketPath: receiver.path)
        try ready(broker, using: .client)
        var asked = 0
        while asked < 24 {
            let peer = try upcall.ask(client)
            asked += 1
            broker.upcalls.drainAll()
            try turn(broker) {
                // The receiver's queue is short.
                told.formUnion(receiver.lines().compactMap { $0["MESSAGE_ID"] })
                if !broker.handshakes.table.waiting.isEmpty, let next = broker.pool.nextStart, next > broker.loop.now {
                    let pause = next - broker.loop.now
                    #expect(pause <= 100_000_000)
                    clock.pass(pause)
                }
                return broker.handshakes.table.isEmpty
            }
            try conclude(broker)
            peer.close()
        }
        #expect(told.isSuperset(of: [LogEvent.workerEnded, .workersDieYoung].map(\.rawValue)))
        #expect(told.contains(FailureReason.workerLost.row.messageID))
        #expect(upcall.answers.allSatisfy { $0.status == .timedOut })
        let reasons = Set(broker.control.history.newest(256).map(\.reason))
        #expect(reasons.isSubset(of: ["workerLost", "noWorkerReady"]))
        #expect(upcall.answers.count == asked && broker.pool.deaths <= asked)
        clock.pass(10_000_000_000)
        try turn(broker) { broker.pool.workers.count == broker.pool.places.count }
    }
}
