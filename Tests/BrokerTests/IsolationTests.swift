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

/// A bench whose requests come from any network namespace.
class IsolationBench: BrokerBench {
    func request(_ role: Role, in namespace: String? = nil) -> HandshakeRequest {
        var request = HandshakeRequest(
            transport: .netlink, role: role, authentication: role == .client ? .unauthenticated : .preSharedKey,
            timeout: .seconds(600))
        request.namespace = namespace.flatMap { NamespaceName($0) }
        if role == .client { request.peerName = "nfs1.example" }
        return request
    }

    /// Takes a request up, as from that namespace.
    func take(_ request: HandshakeRequest, _ broker: Broker) throws -> OwnedDescriptor {
        let connection = try LoopbackConnection()
        let accepted = AcceptedHandshake(
            socket: try connection.client.duplicate(), request: .success(request), acceptedAt: clock.now())
        broker.handshakes.take(accepted, keyring: nil, from: upcall, in: request.namespace)
        return try connection.server.duplicate()
    }
}

/// What keeps a fallen worker from the connections and keys that are not its own (docs/threat-model.md).
@Suite("Isolation of handshakes", .serialized)
final class IsolationTests: IsolationBench {
    /// Runs a handshake to its end.
    ///
    /// - Returns: its worker.
    private func run(_ request: HandshakeRequest, _ broker: Broker) throws -> WorkerID {
        let answers = upcall.answers.count
        let peer = try take(request, broker)
        let handshake = try #require(broker.handshakes.table.all.last)
        var worker: WorkerID?
        try turn(broker) {
            worker = worker ?? handshake.worker
            return broker.handshakes.table.isEmpty
        }
        try conclude(broker)
        #expect(upcall.answers.count == answers + 1)
        peer.close()
        return try #require(worker ?? handshake.worker)
    }

    private func process(of worker: WorkerID, _ broker: Broker) throws -> Int32 {
        try #require(broker.pool.place(of: worker)?.worker).process.identifier
    }

    private func isAlive(_ process: Int32) -> Bool { kill(process, 0) == 0 }

    @Test("a server's handshakes and a client's never share a worker")
    func roles() throws {
        let broker = try broker(of: "honest")
        try ready(broker)
        var workers: [Role: Set<WorkerID>] = [:]
        for role in [Role.client, .server, .client, .server, .server, .client] {
            workers[role, default: []].insert(try run(request(role), broker))
        }
        #expect(workers[.client]?.isEmpty == false && workers[.server]?.isEmpty == false)
        #expect(workers[.client]?.isDisjoint(with: workers[.server] ?? []) == true)
    }

    @Test("workers have the credentials of their own role only")
    func credentials() throws {
        try Data().write(to: URL(filePath: path("ca.pem")))
        let broker = try broker(
            of: "honest", configuration: "[authenticate.server]\nx509.truststore=\(path("ca.pem"))\n")
        try ready(broker, using: .client)
        let owner = CredentialsOwner(.standard, .server)
        try turn(broker) { broker.credentials[owner]?.inForce != nil }
        let servers = Set(broker.pool.places.filter { $0.duty.role == .server }.compactMap { $0.worker?.id })
        #expect(broker.credentials[owner]?.workers == servers)
    }

    @Test("a worker is replaced after as many handshakes as the settings say, its successor is ready first")
    func count() throws {
        let broker = try broker(of: "honest", configuration: "[workers]\nhandshakes=3\n")
        try ready(broker, using: .client)
        let first = Set(broker.pool.workers.map(\.id))
        var least = Int.max
        for _ in 1...20 {
            _ = try run(request(.client), broker)
            try turn(broker) {
                least = min(least, broker.pool.places.count { $0.duty.role == .client && $0.isOpen })
                return broker.pool.workers.allSatisfy { $0.handshakes < 3 }
            }
        }
        #expect(least >= 2, "each was replaced before it went")
        #expect(broker.pool.replacements >= 5 && broker.pool.deaths == 0)
        #expect(first.intersection(broker.pool.workers.map(\.id)).count == 2, "the server's, which were not used")
        try turn(broker) { broker.reaper.dying.isEmpty }
    }

    @Test("a worker that was used is replaced after the minutes of the settings, and one that was not is kept")
    func minutes() throws {
        let broker = try broker(of: "honest", configuration: "[workers]\nminutes=5\n")
        try ready(broker, using: .client)
        let used = try run(request(.client), broker)
        let others = Set(broker.pool.workers.map(\.id)).subtracting([used])
        clock.pass(299_000_000_000)
        try turn(broker) { true }
        #expect(broker.pool.place(of: used)?.isOpen == true)
        clock.pass(2_000_000_000)
        try turn(broker) { broker.pool.place(of: used) == nil }
        try ready(broker)
        #expect(others.isSubset(of: broker.pool.workers.map(\.id)))
        clock.pass(3_600_000_000_000)
        try turn(broker) { true }
        try ready(broker)
        #expect(others.isSubset(of: broker.pool.workers.map(\.id)))
    }

    @Test("sockets that a fallen worker keeps are gone when it is replaced")
    func hoard() throws {
        let broker = try broker(of: "hoard", configuration: "[workers]\nhandshakes=1\n")
        try ready(broker, using: .client)
        let peer = try upcall.ask(request(.client))
        broker.upcalls.drainAll()
        let worker = try #require(broker.handshakes.table.all.last?.worker)
        let process = try process(of: worker, broker)
        let socket = try #require(upcall.socketNames.last)
        func holds() -> Bool {
            let folder = "/proc/\(process)/fd"
            let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
            return names.contains {
                (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)")) == socket
            }
        }
        try turn(broker) { upcall.answers.count == 1 }
        try turn(broker) { !isAlive(process) }
        #expect(!holds() && broker.pool.deaths == 0)
        peer.close()
    }

    private static let namespaces = "[namespaces]\nnames=blue;green\n"

    @Test("isolation=profile gives a profile workers of its own in each namespace, which end when it is not used")
    func profiles() throws {
        let broker = try broker(
            of: "honest",
            configuration:
                "[workers]\nminutes=5\n[profile others]\nmatch.namespace=*\nisolation=profile\nx509.truststore=/none\n")
        try ready(broker)
        let own = try run(request(.client), broker)
        let blue = try run(request(.client, in: "blue"), broker)
        let green = try run(request(.client, in: "green"), broker)
        let again = try run(request(.client, in: "blue"), broker)
        #expect(Set([own, blue, green]).count == 3 && again == blue)
        let processes = try [blue, green].map { try process(of: $0, broker) }
        clock.pass(301_000_000_000)
        try turn(broker) { broker.pool.place(of: blue) == nil && broker.pool.place(of: green) == nil }
        try turn(broker) { !processes.contains(where: isAlive) }
        try turn(broker) { broker.pool.places.allSatisfy { $0.duty.scope == .shared } }
        #expect(broker.pool.deaths == 0)
    }

    @Test(
        "isolation=handshake: the worker has ended before the kernel is answered, whatever the result",
        arguments: ["honest", "hoard"])
    func handshakes(conduct: String) throws {
        let broker = try broker(of: conduct, configuration: "[workers]\nisolation=handshake\n")
        try ready(broker)
        var workers: Set<WorkerID> = []
        for _ in 1...5 {
            let peer = try take(request(.client), broker)
            var process: Int32?
            let answers = upcall.answers.count
            try turn(broker) {
                if let worker = broker.handshakes.table.all.last?.worker {
                    workers.insert(worker)
                    process = process ?? broker.pool.place(of: worker)?.worker?.process.identifier
                }
                return broker.handshakes.table.isEmpty
            }
            let ended = try #require(process)
            #expect(!isAlive(ended), "it has been waited for")
            try conclude(broker)
            #expect(upcall.answers.count == answers + 1)
            peer.close()
        }
        #expect(workers.count == 5 && broker.pool.deaths == 0)
        #expect(upcall.answers.allSatisfy { $0.status == (conduct == "hoard" ? .success : .accessDenied) })
    }

    @Test("isolation=handshake: more handshakes at once than workers wait for their own, and none is lost")
    func manyAtOnce() throws {
        let broker = try broker(of: "honest", configuration: "[workers]\nisolation=handshake\n")
        try ready(broker)
        let peers = try (0..<12).map { _ in try take(request(.client), broker).release() }
        try conclude(broker)
        #expect(upcall.answers.count == 12 && upcall.answers.allSatisfy { $0.status == .accessDenied })
        #expect(broker.pool.deaths == 0)
        for peer in peers { close(peer) }
    }

    @Test("isolation=handshake: a worker that dies in its handshake is a death, and its success does not count")
    func single() throws {
        let broker = try broker(of: "crash", configuration: "[workers]\nisolation=handshake\n")
        try ready(broker)
        let peer = try take(request(.client), broker)
        try conclude(broker)
        #expect(upcall.answers.map(\.status) == [.timedOut] && broker.pool.deaths == 1)
        peer.close()
    }

    @Test("isolation=handshake: a success of a worker that then breaks the protocol does not count")
    func singleTwice() throws {
        let broker = try broker(of: "twice", configuration: "[workers]\nisolation=handshake\n")
        try ready(broker)
        let peer = try take(request(.client), broker)
        try conclude(broker)
        #expect(upcall.answers.count == 1 && upcall.answers[0].status != .success)
        peer.close()
    }

    @Test("a handshake that waits follows the isolation of settings that change")
    func reload() throws {
        let broker = try broker(of: "mute", configuration: "[workers]\nisolation=handshake\n")
        try turn(broker) { broker.pool.workers.count == broker.pool.wanted }
        #expect(broker.pool.places.contains { $0.duty.scope == .handshake })
        let peer = try take(request(.client), broker)
        try Data("[workers]\nisolation=shared\n".utf8).write(to: URL(filePath: path("tlshd.conf")))
        broker.reload.refreshSettings(force: true, patience: patience)
        clock.pass(21_000_000_000)
        try turn(broker) { broker.pool.places.allSatisfy { $0.duty.scope == .shared } }
        #expect(broker.handshakes.table.count == 1)
        cancelAll(broker)
        try conclude(broker)
        peer.close()
    }

    @Test("one that asks for a second identity for a handshake is killed")
    func secondIdentity() throws {
        let broker = try broker(of: "lookupTwice")
        try ready(broker)
        let peer = try take(request(.server), broker)
        try turn(broker) { broker.pool.deaths == 1 }
        try conclude(broker)
        #expect(upcall.answers.map(\.status) == [.timedOut])
        peer.close()
    }

    @Test("a worker that was given the keys of 128 identities is replaced; an identity counts once")
    func identities() throws {
        let broker = try broker(of: "honest")
        try ready(broker, using: .server)
        let worker = try #require(broker.pool.places.first { $0.duty.role == .server }?.worker)
        for number in 0..<127 { try broker.pool.note([1, UInt8(number)], givenTo: worker.id) }
        for _ in 0..<50 { try broker.pool.note([1, 1], givenTo: worker.id) }
        try turn(broker) { true }
        try ready(broker)
        #expect(broker.pool.place(of: worker.id)?.isOpen == true)
        try broker.pool.note([2], givenTo: worker.id)
        try turn(broker) { broker.pool.place(of: worker.id) == nil }
        #expect(broker.pool.replacements == 1 && broker.pool.deaths == 0)
        #expect(broker.control.report().workers.identities == 128)
    }

    @Test("one that was given the keys of 1024 identities before it could be replaced gets no other")
    func collection() throws {
        let broker = try broker(of: "honest")
        try ready(broker, using: .server)
        let worker = try #require(broker.pool.places.first { $0.duty.role == .server }?.worker)
        for number in 0..<1024 {
            try broker.pool.note([UInt8(number / 256), UInt8(number % 256)], givenTo: worker.id)
        }
        try broker.pool.note([0, 0], givenTo: worker.id)
        #expect(throws: ChannelFault.self) { try broker.pool.note([9, 9], givenTo: worker.id) }
    }

    @Test("a worker whose verdict contradicts the others is replaced, and the log says so")
    func contradiction() throws {
        let directory = TemporaryDirectory()
        let receiver = JournalReceiver(in: directory)
        try Data().write(to: URL(filePath: path("ca.pem")))
        let broker = try broker(
            of: "refuse", configuration: "[authenticate.client]\nx509.truststore=\(path("ca.pem"))\n")
        broker.log.journal = Journal(.automatic, socketPath: receiver.path)
        try ready(broker, using: .client)
        let owner = CredentialsOwner(.standard, .client)
        try turn(broker) { broker.credentials[owner]?.inForce != nil }
        let before = Set(broker.pool.workers.map(\.id))
        try Data().write(to: URL(filePath: path("refuse.begin")))
        broker.credentials.refresh(owner, force: true, patience: patience)
        let renewed = try #require(broker.credentials[owner]?.candidate)
        var told = false
        func isTold() -> Bool {
            // The receiver's queue is short.
            told =
                told || receiver.lines().contains { $0["MESSAGE"]?.contains("workers contradict each other") == true }
            return told
        }
        try turn(broker) { isTold() && broker.pool.replacements > 0 }
        try ready(broker)
        try turn(broker) { broker.credentials[owner]?.currentSets.count == 1 }
        #expect(broker.credentials[owner]?.inForce === renewed)
        #expect(broker.credentials[owner]?.problem.isEmpty == true)
        #expect(Set(broker.pool.workers.map(\.id)) != before && broker.pool.deaths == 0)
    }
}
