import Testing

@testable import Broker

@Suite("Back-off")
struct BackOffTests {
    private let second: UInt64 = 1_000_000_000

    /// The rule of a place for a worker.
    private let worker = BackOff(forgiven: 3)

    @Test("the place of a worker that served is filled at once")
    func served() {
        var place = worker
        place.started(0)
        #expect(place.ended(served: true, now: 5).pause == 0)
        #expect(place.notBefore == 5)
    }

    @Test("a place whose workers die unready is filled ever later, ten seconds at most")
    func unready() {
        var place = worker
        var now: UInt64 = 0
        var pauses: [UInt64] = []
        for _ in 1...12 {
            place.started(now)
            let pause = place.ended(served: false, now: now).pause
            #expect(place.notBefore == now + pause)
            pauses.append(pause)
            now = place.notBefore
        }
        #expect(pauses.first == second / 10)
        #expect(pauses == pauses.sorted())
        #expect(pauses.last == 10 * second)
    }

    @Test("a worker that was ready ends the row of those that were not")
    func recovery() {
        var place = worker
        for _ in 0..<5 { place.ended(served: false, now: 0) }
        #expect(place.ended(served: true, now: 0) == BackOff.Vacancy(youngDeaths: 1))
        #expect(place.ended(served: false, now: 0).pause == second / 10)
    }

    @Test(
        "workers that serve and die young are replaced at once three times, then ever later; one that lives ends that")
    func crashLoop() {
        var place = worker
        var now: UInt64 = 0
        var pauses: [UInt64] = []
        for death in 1...12 {
            place.started(now)
            now += second
            let vacancy = place.ended(served: true, now: now)
            #expect(vacancy.youngDeaths == death)
            #expect(place.notBefore == now + vacancy.pause)
            pauses.append(vacancy.pause)
            now += vacancy.pause
        }
        #expect(pauses.prefix(4) == [0, 0, 0, second / 10])
        #expect(pauses == pauses.sorted())
        #expect(pauses.last == 10 * second)
        place.started(now)
        #expect(place.ended(served: true, now: now + BackOff.youth) == BackOff.Vacancy())
    }

    @Test("a host has two places at least, and one for each processor")
    func least() {
        #expect([1, 2, 8].map(WorkerPool.count) == [2, 2, 8])
    }

    @Test("of places whose workers all die young again and again, two are filled soon, however long that goes on")
    func storm() {
        var places = Array(repeating: worker, count: 4)
        var fewest = 4
        for round in UInt64(0)..<200 {
            let now = round * second / 10
            var filled = places.indices.filter { places[$0].notBefore <= now }
            fewest = min(fewest, filled.count)
            for place in filled { places[place].started(now) }
            while let place = filled.popLast() {
                places[place].ended(served: true, isScarce: filled.count < 2, now: now)
            }
        }
        #expect(fewest == 2)
    }

    @Test("a place whose workers die before they serve is not filled sooner because others are empty, too")
    func broken() {
        var place = worker
        var pause: UInt64 = 0
        for _ in 0..<20 { pause = place.ended(served: false, isScarce: true, now: 0).pause }
        #expect(pause == 10 * second)
    }

    @Test("signers that die young are started ever later, whether they were ready or not")
    func signer() {
        var place = BackOff(forgiven: 1, countsEveryDeath: true)
        var now: UInt64 = 0
        var pauses: [UInt64] = []
        for death in 1...12 {
            place.started(now)
            let pause = place.ended(served: death.isMultiple(of: 2), now: now).pause
            #expect(place.notBefore == now + pause)
            pauses.append(pause)
            now += pause
        }
        #expect(pauses.prefix(2) == [0, second / 10])
        #expect(pauses == pauses.sorted() && pauses.last == 10 * second)
        // One that lived long is replaced at once; it is the first of the next row.
        place.started(now)
        now += BackOff.youth
        #expect(place.ended(served: true, now: now).pause == 0)
        place.started(now)
        #expect(place.ended(served: true, now: now).pause == second / 10)
    }
}
