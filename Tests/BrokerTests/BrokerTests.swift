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
@testable import Upcall

/// The real broker with real workers; only the kernel is scripted.
@Suite("Broker and workers", .serialized)
final class BrokerTests: BrokerBench {
    @Test("no process of the daemon ends by SIGPIPE, which closing a socket can cause")
    func brokenPipes() throws {
        let broker = try broker()
        try ready(broker)
        broker.signer(.files).demand()
        try turn(broker) { broker.signer(.files).process?.isReady == true }
        let signer = try #require(broker.signer(.files).process?.process.identifier)
        for process in broker.pool.processes + [signer, getpid()] {
            let status = try String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)
            let ignored = try #require(status.split(separator: "\n").first { $0.hasPrefix("SigIgn:") })
            let mask = try #require(UInt64(ignored.dropFirst(7).filter(\.isHexDigit), radix: 16))
            #expect(mask & 1 << (UInt64(SIGPIPE) - 1) != 0, "process \(process)")
        }
    }

    @Test("a peer that closes is answered at once, so that the consumer tries again")
    func closed() throws {
        let broker = try broker()
        try ready(broker)
        let peer = try upcall.ask(client)
        broker.upcalls.drainAll()
        peer.close()
        try conclude(broker)
        #expect(upcall.answers.first?.status == .timedOut)
    }

    @Test("a peer that speaks plain text is refused for good")
    func plainText() throws {
        let broker = try broker()
        try ready(broker)
        let peer = try upcall.ask(client)
        let text = Array("HTTP/1.1 400 Bad Request\r\n".utf8)
        #expect(unsafe write(peer.number, text, text.count) == text.count)
        try conclude(broker)
        #expect(upcall.answers.first?.status == .accessDenied)
    }

    @Test("a silent peer is given up at nine tenths of the consumer's timeout")
    func silent() throws {
        let broker = try broker()
        try ready(broker)
        var request = client
        request.timeout = .milliseconds(500)
        let started = Clock.monotonicNanoseconds()
        let peer = try upcall.ask(request)
        try conclude(broker)
        #expect(upcall.answers.first?.status == .timedOut)
        #expect(Clock.monotonicNanoseconds() - started >= 440_000_000)
        peer.close()
    }

    @Test("a worker killed in the middle is answered for at once, and the next handshake has a new worker")
    func killed() throws {
        let broker = try broker()
        try ready(broker)
        let peer = try upcall.ask(client)
        // Its hello has come: else another worker would run it.
        var first: UInt8 = 0
        try turn(broker) { unsafe recv(peer.number, &first, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) == 1 }
        let killed = Set(broker.pool.workers.map(\.id))
        for worker in broker.pool.workers { try worker.process.signal(SIGKILL) }
        try conclude(broker)
        #expect(upcall.answers.first?.status == .timedOut)
        peer.close()
        try turn(broker) { killed.isDisjoint(with: broker.pool.workers.map(\.id)) }

        let next = try upcall.ask(client)
        broker.upcalls.drainAll()
        next.close()
        try turn(broker) { upcall.answers.count == 2 }
        #expect(upcall.answers.last?.status == .timedOut, "served by a worker, which saw the peer close")
    }

    @Test("a handshake that was cancelled as the daemon stops is not run again when its worker dies")
    func cancelledThenKilled() throws {
        let broker = try broker()
        try ready(broker)
        for worker in broker.pool.workers { try worker.process.signal(SIGSTOP) }
        let peer = try upcall.ask(client)
        broker.upcalls.drainAll()
        guard case .running(let worker)? = broker.handshakes.table.all.first?.state else {
            Issue.record("no worker runs it")
            return
        }
        cancelAll(broker)
        try broker.pool.place(of: worker)?.worker?.process.signal(SIGKILL)
        for other in broker.pool.workers { try other.process.signal(SIGCONT) }
        try conclude(broker)
        #expect(upcall.answers.first?.status == .timedOut)
        peer.close()
    }

    @Test("a worker that hangs is answered for in time, killed and replaced")
    func hung() throws {
        let broker = try broker()
        try ready(broker)
        let before = Set(broker.pool.workers.map(\.id))
        for worker in broker.pool.workers { try worker.process.signal(SIGSTOP) }
        let peer = try upcall.ask(client)
        broker.upcalls.drainAll()
        let handshake = try #require(broker.handshakes.table.all.first)
        clock.stop()
        clock.pass(handshake.backstop - clock.now() - 1)
        try broker.loop.turn(atMost: 0)
        #expect(broker.pool.deaths == 0 && !broker.isIdle)
        clock.pass(1)
        try conclude(broker)
        #expect(upcall.answers.first?.status == .timedOut)
        try turn(broker) { broker.pool.workers.contains { !before.contains($0.id) } }
        for worker in broker.pool.workers { try worker.process.signal(SIGCONT) }
        peer.close()
    }

    @Test("a server without a certificate sends access_denied before any hello, and the kernel hears EIO")
    func notConfigured() throws {
        let broker = try broker()
        try ready(broker)
        let peer = try upcall.ask(HandshakeRequest(transport: .netlink, role: .server, authentication: .x509))
        try conclude(broker)
        #expect(upcall.answers.first?.status == .inputOutput)
        var alert = [UInt8](repeating: 0, count: 16)
        let count = unsafe read(peer.number, &alert, alert.count)
        #expect(count == 7)
        #expect(alert[0] == 21 && alert[5] == 2 && alert[6] == 49, "a fatal access_denied")
    }

    @Test("what the kernel asks in a way that cannot be understood is answered too")
    func malformed() throws {
        let broker = try broker()
        let peer = try upcall.ask(.failure(HandshakeFailure(.requestMalformed, "role is missing")))
        broker.upcalls.drainAll()
        #expect(upcall.answers.map(\.status) == [.invalidArgument])
        peer.close()
    }

    @Test("requests that come before a worker is ready wait for it")
    func early() throws {
        let broker = try broker()
        let peer = try upcall.ask(client)
        broker.upcalls.drainAll()
        #expect(broker.handshakes.table.waiting.count == 1)
        peer.close()
        try conclude(broker)
        #expect(upcall.answers.first?.status == .timedOut)
    }

    @Test("two hundred silent peers hold nobody up")
    func crowd() throws {
        let broker = try broker()
        try ready(broker)
        let crowd = try (0..<200).map { _ in Held(try upcall.ask(client)) }
        broker.upcalls.drainAll()
        let peer = try upcall.ask(client)
        broker.upcalls.drainAll()
        peer.close()
        try turn(broker) { !upcall.answers.isEmpty }
        #expect(upcall.answers.count == 1)
        #expect(broker.handshakes.table.count == 200)
        _ = crowd
        cancelAll(broker)
        try conclude(broker)
        #expect(upcall.answers.count == 201)
    }

    @Test("of too many peers of one address newcomers go, then the oldest silent one, then the oldest that has spoken")
    func flood() throws {
        let broker = try broker("[limits]\nhandshakes_per_peer=3\n")
        try ready(broker)
        let silent = try (0..<3).map { _ in Held(try upcall.ask(client)) }
        var flood = [Held(try upcall.ask(client))]
        clock.stop()
        broker.upcalls.drainAll()
        // All were too young to go.
        #expect(upcall.answers.count == 1 && broker.handshakes.table[4] == nil)
        // The header of a record, whose body does not come.
        let header: [UInt8] = [22, 3, 3, 0, 100]
        #expect(unsafe write(silent[0].descriptor.number, header, header.count) == header.count)
        try turn(broker) { broker.handshakes.admission.hasReceived(1) }
        clock.pass(Admission.reportingDelay)
        for goes in [2, 3, 1] as [UInt64] {
            flood.append(Held(try upcall.ask(client)))
            try turn(broker) { broker.handshakes.table[goes] == nil }
        }
        clock.pass(Endings.patience)
        try turn(broker) { upcall.answers.count == 4 }
        #expect(upcall.answers.allSatisfy { $0.status == .timedOut })
        let cost = try #require(broker.handshakes.admission.costs[.peer])
        #expect(cost.evicted == 3 && cost.refused == 1)
        #expect(broker.handshakes.table.count == 3)
        #expect(broker.pool.deaths == 0)
        _ = (silent, flood)
        cancelAll(broker)
        try conclude(broker)
    }

    @Test("no descriptor stays behind after handshakes of every end")
    func descriptors() throws {
        let broker = try broker()
        try ready(broker)
        for round in 0..<50 {
            let peer = try upcall.ask(client)
            broker.upcalls.drainAll()
            peer.close()
            try conclude(broker)
            #expect(upcall.answers.count == round + 1)
        }
        #expect(upcall.socketNames.count == 50)
        #expect(upcall.socketNames.allSatisfy { openDescriptors(to: $0) == 0 })
    }

    @Test("a request of another namespace that no profile is for is refused, and never with the default's credentials")
    func noProfile() throws {
        let broker = try broker()
        let elsewhere = ScriptedUpcall()
        try broker.upcalls.add(elsewhere, namespace: .named("blue"))
        try ready(broker)
        let peer = try elsewhere.ask(client)
        try turn(broker) { !elsewhere.answers.isEmpty }
        #expect(elsewhere.answers.map(\.status) == [.inputOutput])
        #expect(upcall.answers.isEmpty)
        var first: UInt8 = 0
        #expect(unsafe read(peer.number, &first, 1) == 0, "no hello was sent")
    }

    @Test(
        "a namespace's request is served by its profile, whose credentials workers get, also new ones, and drop with it"
    )
    func profile() throws {
        let text = "[profile blue]\nmatch.namespace=blue\n"
        let broker = try broker(text)
        let elsewhere = ScriptedUpcall()
        try broker.upcalls.add(elsewhere, namespace: .named("blue"))
        try ready(broker)
        let peer = try elsewhere.ask(client)
        broker.upcalls.drainAll()
        let handshake = try #require(broker.handshakes.table.all.first)
        #expect(handshake.profile.name == "blue" && handshake.profile.number != .standard)
        #expect(handshake.request.namespace == .named("blue"))
        peer.close()
        try turn(broker) { !elsewhere.answers.isEmpty }
        #expect(elsewhere.answers.map(\.status) == [.timedOut], "a worker had credentials and saw the peer close")

        #expect(broker.credentials.all.count == 4)
        let path = try #require(broker.options.configuration)
        try Data("".utf8).write(to: URL(filePath: path))
        broker.reload.look(force: true)
        #expect(broker.credentials.all.count == 2)
        let late = try elsewhere.ask(client)
        try turn(broker) { elsewhere.answers.count == 2 }
        #expect(elsewhere.answers.last?.status == .inputOutput)
        late.close()
    }

    @Test("five hundred profiles reach every worker, though its queue holds fewer")
    func manyProfiles() throws {
        let text =
            (0..<500).map { "[profile p\($0)]\nmatch.namespace=n\($0)\nx509.truststore=/none/\($0)\n" }.joined()
            + "[profile last]\nmatch.namespace=blue\n"
        let broker = try broker(text)
        let elsewhere = ScriptedUpcall()
        try broker.upcalls.add(elsewhere, namespace: .named("blue"))
        let before = Set(broker.pool.workers.map(\.id))
        try turn(broker) { broker.pool.workers.allSatisfy { $0.isReady && !$0.isCongested } }
        let peer = try elsewhere.ask(client)
        broker.upcalls.drainAll()
        peer.close()
        try turn(broker) { !elsewhere.answers.isEmpty }
        #expect(elsewhere.answers.map(\.status) == [.timedOut])
        #expect(before.isSubset(of: Set(broker.pool.workers.map(\.id))))
    }

    @Test("a handshake that waits while its profile goes is refused, and not served by other rules")
    func profileGoes() throws {
        let broker = try broker("[profile blue]\nmatch.namespace=blue\n")
        let elsewhere = ScriptedUpcall()
        try broker.upcalls.add(elsewhere, namespace: .named("blue"))
        broker.reload.look()
        var request = HandshakeRequest(transport: .netlink, role: .server, authentication: .preSharedKey)
        request.timeout = .seconds(600)
        let peer = try elsewhere.ask(request)
        broker.upcalls.drainAll()
        #expect(broker.handshakes.table.waiting.count == 1)
        try Data("".utf8).write(to: URL(filePath: try #require(broker.options.configuration)))
        broker.reload.look(force: true)
        try turn(broker) { !elsewhere.answers.isEmpty }
        #expect(elsewhere.answers.map(\.status) == [.inputOutput])
        peer.close()
    }

    @Test("a request that fits into no message fails, and no worker has to go for it")
    func unsendable() throws {
        let broker = try broker()
        try ready(broker)
        var request = HandshakeRequest(
            transport: .listener, role: .client, authentication: .unauthenticated,
            peerName: String(repeating: "n", count: 300))
        request.timeout = .seconds(600)
        let peer = try upcall.ask(request)
        try conclude(broker)
        #expect(upcall.answers.map(\.status) == [FailureReason.requestMalformed.row.status])
        #expect(broker.pool.deaths == 0)
        peer.close()
    }

    @Test("requests that come without end do not keep the loop from turning, and none is forgotten")
    func endless() throws {
        let broker = try broker()
        try ready(broker)
        upcall.batch = 2
        let peers = try (0..<5).map { _ in Held(try upcall.ask(client)) }
        broker.upcalls.drainAll()
        #expect(broker.handshakes.table.count == 2)
        // Nothing but what is left wakes it.
        try broker.loop.turn()
        #expect(broker.handshakes.table.count == 4)
        try broker.loop.turn()
        #expect(broker.handshakes.table.count == 5)
        cancelAll(broker)
        try turn(broker) { broker.isIdle }
        withExtendedLifetime(peers) {}
    }

    @Test("a worker that cannot start ends the start with one line that names it")
    func noWorker() throws {
        let broker = try broker(worker: "/bin/false")
        let failure = #expect(throws: TextError.self) { try broker.run() }
        #expect(failure?.description.contains("/bin/false") == true)
    }

    @Test("one worker is started before READY, the others after it")
    func firstWorker() throws {
        let broker = try broker()
        try wait(meanwhile: { try broker.loop.turn(atMost: 20_000_000) }, until: { broker.pool.hasReadyWorker })
        #expect(broker.pool.workers.count == 1 && broker.pool.places.count > 1)
        try turn(broker) { broker.pool.workers.count == broker.pool.places.count }
    }

    @Test("names of namespaces that come when they no longer matter do not keep the loop awake")
    func unwatched() throws {
        let broker = try broker("[namespaces]\nnamed=yes\n")
        broker.namespaces = try NamespaceScan(watching: folder.path)
        let poller = try Poller()
        try poller.add(broker.namespaces.number, token: 1, interest: .read)
        broker.upcalls.isOpen = true
        func isAwake() throws -> Bool {
            try Data().write(to: URL(filePath: path(UUID().uuidString)))
            let isTold = try !poller.wait(timeout: 0).isEmpty
            broker.upcalls.scan(0)
            #expect(try poller.wait(timeout: 0).isEmpty)
            return isTold
        }
        broker.upcalls.scan(0)
        #expect(try isAwake())
        try Data().write(to: URL(filePath: try #require(broker.options.configuration)))
        broker.reload.look(force: true)
        _ = try isAwake()
        #expect(try !isAwake())
    }

    @Test("a loop that cannot go on answers what is under way before it ends")
    func broken() throws {
        let broker = try broker()
        try ready(broker)
        let peer = try upcall.ask(client)
        broker.upcalls.drainAll()
        #expect(broker.handshakes.table.count == 1)
        // In the place of epoll's.
        let other = unsafe open("/dev/null", O_RDONLY)
        #expect(dup2(other, broker.loop.number) == broker.loop.number)
        close(other)
        #expect(throws: SystemError.self) { try broker.serve() }
        #expect(upcall.answers.map(\.status) == [FailureReason.shuttingDown.row.status])
        #expect(upcall.isRetired && broker.isIdle && broker.reaper.dying.isEmpty)
        peer.close()
    }

    @Test("SIGTERM before there is a worker ends the start, and nobody is told that it serves")
    func stoppedEarly() throws {
        let broker = try broker()
        pthread_kill(pthread_self(), SIGTERM)
        try broker.run()
        #expect(!broker.upcalls.isOpen && broker.pool.workers.isEmpty)
    }

    @Test("SIGTERM lets handshakes go on for two seconds, no longer")
    func patience() throws {
        let broker = try broker()
        try ready(broker)
        let peer = try upcall.ask(client)
        try turn(broker) { !broker.handshakes.table.isEmpty && broker.handshakes.table.waiting.isEmpty }
        clock.stop()
        pthread_kill(pthread_self(), SIGTERM)
        try turn(broker) { broker.lifecycle.isStopping }
        clock.pass(1_999_999_999)
        try broker.loop.turn(atMost: 0)
        #expect(!broker.lifecycle.isCancelling)
        clock.pass(1)
        try turn(broker) { broker.lifecycle.isCancelling }
        try conclude(broker)
        #expect(upcall.answers.map(\.status) == [.timedOut])
        peer.close()
    }

    @Test("SIGTERM lets handshakes finish; a second one gives them up")
    func stopping() throws {
        let broker = try broker()
        try ready(broker)
        let peer = try upcall.ask(client)
        try turn(broker) { !broker.handshakes.table.isEmpty && broker.handshakes.table.waiting.isEmpty }
        pthread_kill(pthread_self(), SIGTERM)
        try turn(broker) { broker.lifecycle.isStopping }
        #expect(upcall.answers.isEmpty)
        #expect(upcall.isRetired, "consumers are not left to wait for who takes nothing any more")
        pthread_kill(pthread_self(), SIGTERM)
        try turn(broker) { broker.isIdle }
        #expect(upcall.answers.map(\.status) == [.timedOut])
        peer.close()
    }
}

/// A descriptor in a box, for arrays.
private final class Held {
    let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }
}
