import Testing

@testable import Policy

@Suite("Consumers that come back again and again")
struct ReconnectionsTests {
    private let second: UInt64 = 1_000_000_000

    private func pair(_ peer: String = "192.0.2.1:4420", identity: String? = "NVMe0R01 host subsystem")
        -> Reconnections.Pair
    {
        Reconnections.Pair(consumer: "NVMe host", peer: PeerGroup(socketAddress: peer), pskIdentity: identity)
    }

    @Test("five rounds of four queues in a minute are told once, and again after ten minutes")
    func rounds() {
        var reconnections = Reconnections()
        var findings: [(at: UInt64, what: Reconnections.Finding)] = []
        for round in UInt64(0)..<75 {
            for queue in UInt64(0)..<4 {
                let now = 100 * second + round * 10 * second + queue * second / 10
                if let found = reconnections.note(pair(), now: now) { findings.append((now / second, found)) }
            }
        }
        // The fifth round is found as it begins; ten minutes later the minute holds the six last rounds.
        #expect(findings.map(\.at) == [140, 740])
        #expect(findings.map(\.what.rounds) == [5, 6])
        #expect(findings.map(\.what.handshakes) == [17, 21])
    }

    @Test("a host that opens hundreds of connections at once, or one now and then, is left alone")
    func ordinary() {
        var reconnections = Reconnections()
        for queue in UInt64(0)..<400 {
            #expect(reconnections.note(pair(), now: 100 * second + queue * second / 100) == nil)
        }
        for mount in UInt64(1)..<100 {
            #expect(reconnections.note(pair(), now: 200 * second + mount * 16 * second) == nil)
        }
    }

    @Test("other peers, identities and consumers do not add up")
    func apart() {
        var reconnections = Reconnections()
        for round in UInt64(0)..<4 {
            let now = 100 * second + round * 10 * second
            #expect(reconnections.note(pair(), now: now) == nil)
            #expect(reconnections.note(pair("192.0.2.2:4420"), now: now) == nil)
            #expect(reconnections.note(pair(identity: "NVMe0R01 host other"), now: now) == nil)
        }
        // Only the port differs: the same peer.
        #expect(
            reconnections.note(pair("192.0.2.1:50000"), now: 140 * second)
                == Reconnections.Finding(handshakes: 5, rounds: 5))
    }

    @Test("more pairs than are remembered are left out, and room is made of those that were quiet")
    func bounded() {
        var reconnections = Reconnections()
        for number in 0..<Reconnections.limit {
            #expect(reconnections.note(pair(identity: "\(number)"), now: 100 * second) == nil)
        }
        for round in UInt64(0)..<8 {
            #expect(reconnections.note(pair(identity: "late"), now: 101 * second + round * 2 * second) == nil)
        }
        let findings = (UInt64(0)..<5).compactMap { round in
            reconnections.note(pair(identity: "later"), now: 170 * second + round * 2 * second)
        }
        #expect(findings == [Reconnections.Finding(handshakes: 5, rounds: 5)])
    }
}
