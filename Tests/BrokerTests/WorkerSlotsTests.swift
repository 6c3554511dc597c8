import Handshake
import Testing

@testable import Broker

@Suite("Places for workers")
struct WorkerSlotsTests {
    private let second: UInt64 = 1_000_000_000

    private func claim(_ slots: inout WorkerSlots, _ now: UInt64) throws -> WorkerID {
        let claimed = slots.claim(now: now)
        return try #require(claimed)
    }

    @Test("each place is claimed once, each worker has a name of its own")
    func claim() {
        var slots = WorkerSlots(count: 2)
        let names = [slots.claim(now: 0), slots.claim(now: 0)]
        #expect(names == [WorkerID(1), WorkerID(2)])
        #expect(slots.claim(now: .max) == nil)
        #expect(slots.nextStart == nil)
    }

    @Test("the place of a worker that served is free at once")
    func served() throws {
        var slots = WorkerSlots(count: 1)
        let worker = try claim(&slots, 0)
        slots.free(worker, served: true, now: 5)
        #expect(slots.nextStart == 5)
        #expect(slots.claim(now: 5) == WorkerID(2))
    }

    @Test("a place whose workers die unready is filled ever later, ten seconds at most")
    func backoff() throws {
        var slots = WorkerSlots(count: 1)
        var now: UInt64 = 0
        var pauses: [UInt64] = []
        for expected in 1...12 {
            let worker = try claim(&slots, now)
            #expect(slots.free(worker, served: false, now: now).failures == expected)
            let free = slots.nextStart
            let next = try #require(free)
            #expect(slots.claim(now: next - 1) == nil)
            pauses.append(next - now)
            now = next
        }
        #expect(pauses.first == second / 10)
        #expect(pauses == pauses.sorted())
        #expect(pauses.last == 10 * second)
    }

    @Test("a worker that becomes ready ends the back-off")
    func recovery() throws {
        var slots = WorkerSlots(count: 1)
        for _ in 0..<5 {
            let worker = try claim(&slots, .max / 2)
            slots.free(worker, served: false, now: 0)
        }
        let worker = try claim(&slots, .max / 2)
        slots.succeeded(worker)
        #expect(slots.free(worker, served: false, now: 0).failures == 1)
    }

    @Test(
        "workers that serve and die young are replaced at once three times, then ever later; one that lives ends that")
    func crashLoop() throws {
        var slots = WorkerSlots(count: 3)
        // Two others live.
        for _ in 0..<2 { _ = try claim(&slots, 0) }
        var now: UInt64 = 0
        var pauses: [UInt64] = []
        for death in 1...12 {
            let worker = try claim(&slots, now)
            slots.succeeded(worker)
            now += second
            let vacancy = slots.free(worker, served: true, now: now)
            #expect(vacancy.youngDeaths == death)
            #expect(slots.nextStart == now + vacancy.pause)
            pauses.append(vacancy.pause)
            now += vacancy.pause
        }
        #expect(pauses.prefix(4) == [0, 0, 0, second / 10])
        #expect(pauses == pauses.sorted())
        #expect(pauses.last == 10 * second)
        let survivor = try claim(&slots, now)
        slots.succeeded(survivor)
        #expect(slots.free(survivor, served: true, now: now + WorkerSlots.youth) == WorkerSlots.Vacancy())
    }

    @Test("a host has two places at least, and one for each processor")
    func least() {
        #expect([1, 2, 8].map { WorkerSlots(processors: $0).count } == [2, 2, 8])
    }

    @Test("of places whose workers all die young again and again, two are filled soon, however long that goes on")
    func storm() {
        var slots = WorkerSlots(processors: 4)
        var fewest = 4
        for round in UInt64(0)..<200 {
            let now = round * second / 10
            var alive: [WorkerID] = []
            while let worker = slots.claim(now: now) { alive.append(worker) }
            fewest = min(fewest, alive.count)
            for worker in alive { slots.free(worker, served: true, now: now) }
        }
        #expect(fewest == 2)
    }

    @Test("a place whose workers die before they serve is not filled sooner because others are empty, too")
    func broken() {
        var slots = WorkerSlots(processors: 1)
        var pause: UInt64 = 0
        for _ in 0..<20 {
            let claimed = slots.claim(now: .max)
            if let claimed { pause = slots.free(claimed, served: false, now: 0).pause }
        }
        #expect(pause == 10 * second)
    }
}
