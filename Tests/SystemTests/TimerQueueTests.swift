import System
import Testing

@Suite("Timer queue")
struct TimerQueueTests {
    @Test("tokens come out in the order of their deadlines, none before its time")
    func order() {
        var queue = TimerQueue()
        for (token, deadline) in [(1, 50), (2, 10), (3, 30), (4, 20), (5, 40)] as [(UInt64, UInt64)] {
            queue.schedule(token, at: deadline)
        }
        #expect(queue.timeout(now: 4) == 6)
        #expect(queue.popExpired(now: 9) == nil)
        var order: [UInt64] = []
        while let token = queue.popExpired(now: 35) { order.append(token) }
        #expect(order == [2, 4, 3])
        #expect(queue.count == 2)
        #expect(queue.timeout(now: 60) == 0)
    }

    @Test("a second deadline replaces the first, earlier or later, and cancelling ends it")
    func replace() {
        var queue = TimerQueue()
        queue.schedule(1, at: 100)
        queue.schedule(1, at: 20)
        #expect(queue.timeout(now: 0) == 20)
        queue.schedule(1, at: 200)
        #expect(queue.timeout(now: 0) == 200)
        #expect(queue.popExpired(now: 150) == nil)
        #expect(queue.popExpired(now: 200) == 1)
        #expect(queue.popExpired(now: 1000) == nil)
        queue.schedule(2, at: 5)
        queue.cancel(2)
        #expect(queue.timeout(now: 0) == nil && queue.isEmpty)
    }

    @Test("it agrees with a sorted list over many random operations")
    func model() {
        var queue = TimerQueue()
        var model: [UInt64: UInt64] = [:]
        var generator = SystemRandomNumberGenerator()
        for now in 0..<5000 as Range<UInt64> {
            let token = UInt64.random(in: 0..<50, using: &generator)
            switch UInt8.random(in: 0..<3, using: &generator) {
            case 0:
                queue.cancel(token)
                model[token] = nil
            default:
                let deadline = now + UInt64.random(in: 1..<200, using: &generator)
                queue.schedule(token, at: deadline)
                model[token] = deadline
            }
            #expect(queue.timeout(now: now) == model.values.min().map { $0 > now ? $0 - now : 0 })
            while let expired = queue.popExpired(now: now) {
                #expect(model.removeValue(forKey: expired).map { $0 <= now } == true)
            }
            #expect(!model.values.contains { $0 <= now })
            #expect(queue.count == model.count)
        }
    }
}
