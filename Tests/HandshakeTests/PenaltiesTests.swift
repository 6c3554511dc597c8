import Testing

@testable import Policy

@Suite("Peers that cost too much")
struct PenaltiesTests {
    private let second: UInt64 = 1_000_000_000
    private let mallory = PeerGroup(socketAddress: "192.0.2.66:700")
    private let alice = PeerGroup(socketAddress: "192.0.2.1:700")

    @Test("one in whose handshake a worker died is refused, ever longer, ten minutes at most, and nobody else is")
    func growing() {
        var penalties = Penalties()
        var now = second
        var times: [UInt64] = []
        for _ in 0..<8 {
            times.append(penalties.punish(mallory, for: .workerKilled, now: now))
            #expect(penalties.refuse(mallory, now: now + times[times.count - 1] - 1)?.offence == .workerKilled)
            #expect(penalties.refuse(alice, now: now) == nil)
            now += times[times.count - 1]
            #expect(penalties.refuse(mallory, now: now) == nil)
        }
        #expect(times == [30, 60, 120, 240, 480, 600, 600, 600].map { $0 * second })
        #expect(penalties.refused == 8)
        #expect(penalties.offences == [.workerKilled: 8])
    }

    @Test("who has the same address in another namespace is somebody else")
    func namespaces() throws {
        var penalties = Penalties()
        let blue = NamespaceName("blue")
        _ = penalties.punish(mallory, in: blue, for: .workerKilled, now: 0)
        #expect(penalties.refuse(mallory, in: blue, now: 1)?.namespace == blue)
        #expect(penalties.refuse(mallory, now: 1) == nil)
        #expect(penalties.refuse(mallory, in: NamespaceName("red"), now: 1) == nil)
    }

    @Test("a handshake over budget is forgiven once; one that kept quiet begins anew")
    func forgiven() {
        var penalties = Penalties()
        #expect(penalties.punish(mallory, for: .overBudget, now: 0) == 0)
        #expect(penalties.refuse(mallory, now: 0) == nil)
        #expect(penalties.punish(mallory, for: .overBudget, now: 1) == 5 * second)
        #expect(penalties.punish(mallory, for: .overBudget, now: 2) == 10 * second)
        #expect(penalties.current(3).map(\.peer) == [mallory])
        let later = 11 * second + Penalties.longest
        #expect(penalties.current(later).isEmpty)
        #expect(penalties.punish(mallory, for: .overBudget, now: later) == 0)
    }

    @Test("so many are remembered, and the next to be free goes for a new one")
    func bounded() {
        var penalties = Penalties()
        for number in 0..<(Penalties.limit + 100) {
            let peer = PeerGroup(socketAddress: "[2001:db8:\(String(number, radix: 16))::1]:700")
            _ = penalties.punish(peer, for: .workerKilled, now: UInt64(number))
        }
        let current = penalties.current(0)
        #expect(current.count == Penalties.limit)
        #expect(current.last?.until == 100 + 30 * second)
    }

    @Test(
        "a peer is called by its address or network",
        arguments: [
            ("192.0.2.66:700", "192.0.2.66"), ("[2001:db8:0:1::7]:700", "2001:db8:0:1::/64"), ("[::1]:7", "::/64"),
            ("[fe80::1%eth0]:1", "fe80::%eth0/64"), ("unknown", "unknown"),
        ])
    func names(socketAddress: String, name: String) {
        #expect(PeerGroup(socketAddress: socketAddress).description == name)
    }
}
