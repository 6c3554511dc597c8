import Testing
import Wire

@testable import TLS
@testable import Worker

@Suite("Secrets that a worker keeps")
struct KeptSessionsTests {
    private let second: UInt64 = 1_000_000_000

    private func keep(_ kept: inout KeptSessions, _ session: UInt64, for seconds: Int, now: UInt64 = 0) throws {
        kept.keep(try TrafficSecrets(), of: session, cipherSuite: "suite", for: .seconds(seconds), now: now)
    }

    @Test("each is kept for its time, anew after an update, and gone to the moment")
    func lifetime() throws {
        var kept = KeptSessions()
        try keep(&kept, 1, for: 5)
        try keep(&kept, 2, for: 3)
        #expect(kept.nextExpiry == 3 * second)
        kept.renew(2, for: .seconds(3), now: second * 5 / 2)
        #expect(kept.nextExpiry == 5 * second)
        kept.expire(5 * second - 1)
        #expect(kept.count == 2)
        kept.expire(5 * second)
        #expect(kept.count == 1)
        let gone = kept.find(2, now: second * 11 / 2)
        #expect(gone == nil)
        #expect(kept.nextExpiry == nil)
    }

    @Test(
        "an update's order says for how long from then on: settings that changed in between count, longer and shorter")
    func renewedLifetime() throws {
        var kept = KeptSessions()
        try keep(&kept, 1, for: 3600)
        kept.renew(1, for: .seconds(10), now: 100 * second)
        #expect(kept.nextExpiry == 110 * second)
        kept.renew(1, for: .seconds(7200), now: 105 * second)
        #expect(kept.nextExpiry == 7305 * second)
    }

    @Test("the secrets' memory is given back when they go: by time, by word, or to make room")
    func release() throws {
        var kept = KeptSessions()
        weak var first: TrafficSecrets?
        do {
            let secrets = try TrafficSecrets()
            first = secrets
            kept.keep(secrets, of: 1, cipherSuite: "suite", for: .seconds(1), now: 0)
        }
        #expect(first != nil)
        kept.forget(1)
        #expect(first == nil)
        for session in 1...UInt64(MessageLimit.keptSessions) + 10 {
            try keep(&kept, session, for: 60, now: session)
        }
        #expect(kept.count == MessageLimit.keptSessions)
        let oldest = kept.find(10, now: 0)
        let next = kept.find(11, now: 0)
        #expect(oldest == nil)
        #expect(next?.cipherSuite == "suite")
    }
}
