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

/// Replacement of workers in unfavourable order: several at once, while settings change, while the daemon ends.
@Suite("Replaced workers", .serialized)
final class WorkerReplacementTests: IsolationBench {
    private func finish(_ broker: Broker) {
        broker.handshakes.failAll()
        broker.handshakes.cutEndingsShort()
    }

    private func configure(_ text: String, _ broker: Broker) throws {
        try Data(text.utf8).write(to: URL(filePath: path("tlshd.conf")))
        broker.reload.refreshSettings(force: true, patience: BrokerBench.patience)
    }

    @Test("two workers that are due at about the same time are both replaced")
    func twoDue() throws {
        let broker = try broker(of: "honest", configuration: "[workers]\nminutes=5\n")
        try ready(broker, using: .client)
        let a = try take(request(.client), broker)
        let used1 = try #require(broker.handshakes.table.all.last?.worker)
        let b = try take(request(.client), broker)
        let used2 = try #require(broker.handshakes.table.all.last?.worker)
        #expect(used1 != used2)
        try conclude(broker)
        clock.pass(301_000_000_000)
        try turn(broker) { broker.pool.place(of: used1) == nil && broker.pool.place(of: used2) == nil }
        #expect(broker.pool.replacements == 2 && broker.pool.deaths == 0)
        a.close()
        b.close()
    }

    @Test("all distrusted workers are replaced")
    func twoDistrusted() throws {
        let broker = try broker(of: "honest")
        try ready(broker, using: .client)
        let ids = broker.pool.places.filter { $0.duty.role == .client }.compactMap { $0.worker?.id }
        for id in ids { broker.pool.distrust(id) }
        try turn(broker) { ids.allSatisfy { broker.pool.place(of: $0) == nil } }
        #expect(ids.count == 2 && broker.pool.deaths == 0)
    }

    @Test("isolation=handshake is turned off while a handshake runs: its success is told")
    func retiringAndLeaving() throws {
        let broker = try broker(of: "hoard", configuration: "[workers]\nisolation=handshake\n")
        try ready(broker)
        let peer = try take(request(.client), broker)
        let handshake = try #require(broker.handshakes.table.all.last)
        try configure("[workers]\nisolation=shared\n", broker)
        try turn(broker) {
            switch handshake.state {
            case .awaitingExit, .over: true
            case .waiting, .running, .heldBack: false
            }
        }
        broker.pool.noteProfiles()
        try turn(broker) { broker.handshakes.table.isEmpty }
        #expect(upcall.answers.map(\.status) == [.success])
        peer.close()
    }

    @Test("isolation=handshake is turned off while handshakes run, left to itself")
    func isolationEnds() throws {
        let broker = try broker(of: "hoard", configuration: "[workers]\nisolation=handshake\n")
        try ready(broker)
        let peers = try (0..<2).map { _ in try take(request(.client), broker).release() }
        try configure("[workers]\nisolation=shared\n", broker)
        try turn(broker) { broker.handshakes.table.isEmpty }
        #expect(upcall.answers.map(\.status) == [.success, .success], "\(broker.handshakes.table.all.map(\.state))")
        finish(broker)
        for peer in peers { close(peer) }
    }

    @Test("isolation=handshake is turned off while handshakes wait: they are served")
    func waitingAtReload() throws {
        let broker = try broker(of: "honest", configuration: "[workers]\nisolation=handshake\n")
        try ready(broker)
        let peers = try (0..<8).map { _ in try take(request(.client), broker).release() }
        try configure("[workers]\nisolation=shared\n", broker)
        try turn(broker) { broker.handshakes.table.isEmpty }
        try conclude(broker)
        #expect(upcall.answers.count == 8)
        finish(broker)
        for peer in peers { close(peer) }
    }

    @Test("a handshake that waits is answered before the next periodic check when its profile goes")
    func profileGoes() throws {
        let broker = try broker(
            of: "mute", configuration: "[profile others]\nmatch.namespace=*\nisolation=profile\nx509.truststore=/none\n"
        )
        try turn(broker) { broker.pool.workers.count == broker.pool.wanted }
        let peer = try take(request(.client, in: "blue"), broker)
        #expect(broker.handshakes.table.count == 1)
        try configure("[workers]\nisolation=shared\n", broker)
        for _ in 0..<20 { try broker.loop.turn(atMost: 0) }
        #expect(upcall.answers.map(\.status) == [.inputOutput])
        peer.close()
        finish(broker)
    }

    @Test("isolation=handshake: silent strangers keep nobody out")
    func silentStrangers() throws {
        let broker = try broker(of: "hang", configuration: "[workers]\nisolation=handshake\n")
        try ready(broker, using: .server)
        let count = WorkerPool.count(processors: broker.surroundings.processors)
        let peers = try (0..<count).map { _ in try take(request(.server), broker).release() }
        try turn(broker) { broker.runners.count == count }
        let last = try take(request(.server), broker)
        let victim = try #require(broker.handshakes.table.all.last)
        try turn(broker) { victim.worker != nil }
        #expect(broker.runners.count == count + 1)
        finish(broker)
        for peer in peers { close(peer) }
        last.close()
    }

    @Test("isolation=handshake: handshakes that wait when the daemon is replaced are served")
    func draining() throws {
        let broker = try broker(of: "honest", configuration: "[workers]\nisolation=handshake\n")
        try ready(broker)
        let peers = try (0..<6).map { _ in try take(request(.client), broker).release() }
        broker.become(.draining(until: nil, isHandedOver: true))
        try turn(broker) { broker.handshakes.table.isEmpty }
        #expect(broker.pool.deaths == 0)
        finish(broker)
        for peer in peers { close(peer) }
    }

    @Test("isolation=handshake: nothing is left of workers that are gone")
    func leak() throws {
        let broker = try broker(of: "honest", configuration: "[workers]\nisolation=handshake\n")
        try ready(broker)
        for _ in 1...30 {
            let peer = try take(request(.client), broker)
            try conclude(broker)
            peer.close()
        }
        let loads = Mirror(reflecting: broker.handshakes.table).children.first { $0.label == "loads" }?.value
        let count = (loads as? [WorkerID: Int])?.count
        #expect((count ?? 0) <= broker.pool.places.count, "\(count as Any) entries")
    }

    @Test("isolation=handshake: the back-off is kept for peers that make workers crash")
    func backOff() throws {
        let broker = try broker(of: "crashOdd", configuration: "[workers]\nisolation=handshake\n")
        try ready(broker)
        var longest: UInt64 = 0
        for _ in 1...40 {
            let peer = try take(request(.client), broker)
            try conclude(broker)
            let next = broker.pool.places.compactMap(\.supervisor.nextStart).max() ?? 0
            longest = max(longest, next > broker.loop.now ? next - broker.loop.now : 0)
            peer.close()
        }
        #expect(longest > 0)
    }

    @Test("isolation=handshake: a worker that is dismissed after its result: the handshake is answered soon")
    func dismissedWhileLeaving() throws {
        let broker = try broker(of: "hoard", configuration: "[workers]\nisolation=handshake\n")
        try ready(broker)
        let peer = try take(request(.client), broker)
        let handshake = try #require(broker.handshakes.table.all.last)
        let worker = try #require(handshake.worker)
        try turn(broker) { if case .awaitingExit = handshake.state { true } else { !upcall.answers.isEmpty } }
        broker.pool.dismiss(worker, "it broke the protocol towards the signer: as its report comes late")
        try turn(broker) { broker.handshakes.table.isEmpty }
        try conclude(broker)
        #expect(upcall.answers.count == 1)
        finish(broker)
        peer.close()
    }

    @Test("profiles: 70 profiles at once, each with a worker of its own: all are served, and none is started twice")
    func manyProfiles() throws {
        let profiles = (0..<70).map {
            "[profile p\($0)]\nmatch.peer_name=h\($0).example\nisolation=profile\nx509.truststore=/none\n"
        }.joined()
        let broker = try broker(of: "honest", configuration: profiles)
        try ready(broker)
        var peers: [Int32] = []
        for number in 0..<70 {
            var request = request(.client)
            request.peerName = "h\(number).example"
            peers.append(try take(request, broker).release())
        }
        var seen: Set<WorkerID> = []
        try turn(broker) {
            seen.formUnion(broker.pool.workers.map(\.id))
            return broker.handshakes.table.isEmpty
        }
        #expect(seen.count <= 75)
        finish(broker)
        for peer in peers { close(peer) }
    }
}
