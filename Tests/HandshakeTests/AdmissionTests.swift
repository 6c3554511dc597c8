import Testing

@testable import Handshake

@Suite("Who may have handshakes under way")
struct AdmissionTests {
    private let alice = PeerGroup(socketAddress: "192.0.2.1:700")
    private let mallory = PeerGroup(socketAddress: "192.0.2.66:700")

    private func limits(total: Int = 100, perNamespace: Int = 100, perPeer: Int = 100) -> AdmissionLimits {
        var limits = AdmissionLimits()
        limits.total = total
        limits.perNamespace = perNamespace
        limits.perPeer = perPeer
        return limits
    }

    @Test("a flood from one address pushes out its own, and others come in")
    func flood() {
        var admission = Admission()
        let limits = limits(total: 20, perPeer: 5)
        #expect(admission.admit(1, peer: alice, namespace: nil, limits: limits) == Admission.Decision())
        for job in UInt64(2)...1001 {
            let decision = admission.admit(job, peer: mallory, namespace: nil, limits: limits)
            #expect(decision.refusal == nil)
            #expect(decision.evicted == (job > 6 ? [job - 5] : []))
        }
        #expect(admission.count == 6)
        #expect(admission.costs == [.peer: Admission.Cost(evicted: 995, refused: 0)])
        #expect(admission.admit(1002, peer: alice, namespace: nil, limits: limits) == Admission.Decision())
    }

    @Test("peers that have spoken stay; where all have, the newcomer is refused")
    func spoken() {
        var admission = Admission()
        let limits = limits(perPeer: 3)
        for job in UInt64(1)...3 { _ = admission.admit(job, peer: alice, namespace: nil, limits: limits) }
        #expect(admission.hear(1) == true)
        #expect(admission.admit(4, peer: alice, namespace: nil, limits: limits).evicted == [2])
        #expect(admission.hear(3) == true)
        #expect(admission.hear(4) == true)
        #expect(admission.admit(5, peer: alice, namespace: nil, limits: limits).refusal == .peer)
        #expect(admission.count == 3)
        admission.leave(1)
        #expect(admission.admit(6, peer: alice, namespace: nil, limits: limits) == Admission.Decision())
    }

    @Test("namespaces are bounded apart, our own among them, and so is the whole")
    func scopes() {
        var admission = Admission()
        let limits = limits(total: 4, perNamespace: 2)
        let (red, blue, green) = (NamespaceName.named("red"), NamespaceName.named("blue"), NamespaceName.named("green"))
        for (job, namespace) in [(1, nil), (2, nil), (3, red), (4, red)] as [(UInt64, NamespaceName?)] {
            #expect(admission.admit(job, peer: alice, namespace: namespace, limits: limits) == Admission.Decision())
        }
        #expect(admission.admit(5, peer: mallory, namespace: red, limits: limits).evicted == [3])
        #expect(admission.admit(6, peer: mallory, namespace: blue, limits: limits).evicted == [1])
        for job in [2, 4, 5, 6] as [UInt64] { admission.hear(job) }
        #expect(admission.admit(7, peer: mallory, namespace: green, limits: limits).refusal == .total)
        #expect(admission.admit(8, peer: mallory, namespace: red, limits: limits).refusal == .namespace)
        #expect(
            admission.costs == [
                .namespace: Admission.Cost(evicted: 1, refused: 1), .total: Admission.Cost(evicted: 1, refused: 1),
            ])
    }

    @Test("a peer speaks for the first time once; of one that went nothing is known")
    func once() {
        var admission = Admission()
        _ = admission.admit(1, peer: alice, namespace: nil, limits: limits())
        #expect(admission.hear(1) == true)
        #expect(admission.hear(1) == false)
        admission.leave(1)
        admission.leave(1)
        #expect(admission.hear(1) == true)
        #expect(admission.count == 0)
    }

    @Test("bounds that shrink take effect with the next newcomer")
    func shrink() {
        var admission = Admission()
        for job in UInt64(1)...10 { _ = admission.admit(job, peer: alice, namespace: nil, limits: limits()) }
        #expect(admission.admit(11, peer: alice, namespace: nil, limits: limits(perPeer: 3)).evicted == Array(1...8))
        #expect(admission.count == 3)
    }

    @Test(
        "an IPv4 address is one peer, and so is an IPv6 network of 64 bits",
        arguments: [
            ("192.0.2.1:700", "192.0.2.1:900", true),
            ("192.0.2.1:700", "192.0.2.10:700", false),
            ("192.0.2.1:700", "[::ffff:192.0.2.1]:900", true),
            ("[::ffff:192.0.2.1]:700", "[::ffff:192.0.2.2]:700", false),
            ("[2001:db8::1]:1", "[2001:db8::ffff:0:0:2]:2", true),
            ("[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1", false),
            ("[2001:db8:1:2:3:4:5:6]:1", "[2001:db8:1:2::]:1", true),
            ("[::1]:1", "[::2]:1", true),
            ("[fe80::1%eth0]:1", "[fe80::1%eth1]:1", false),
            ("unknown", "unknown", true),
        ])
    func groups(one: String, other: String, same: Bool) {
        #expect((PeerGroup(socketAddress: one) == PeerGroup(socketAddress: other)) == same)
    }
}
