import Testing

@testable import Policy

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

    /// When a handshake begins that is the only one of its instant: each is old when the next comes.
    private func when(_ job: UInt64) -> UInt64 { job * Admission.reportingDelay }

    @Test("a flood from one address pushes out its own, and others come in")
    func flood() {
        var admission = Admission()
        let limits = limits(total: 20, perPeer: 5)
        #expect(admission.admit(1, peer: alice, namespace: nil, limits: limits, now: when(1)) == Admission.Decision())
        for job in UInt64(2)...1001 {
            let decision = admission.admit(job, peer: mallory, namespace: nil, limits: limits, now: when(job))
            #expect(decision.refusal == nil)
            #expect(decision.evicted == (job > 6 ? [job - 5] : []))
        }
        #expect(admission.count == 6)
        #expect(admission.costs == [.peer: Admission.Cost(evicted: 995, refused: 0)])
        let later = admission.admit(1002, peer: alice, namespace: nil, limits: limits, now: when(1002))
        #expect(later == Admission.Decision())
    }

    @Test("of one peer's the oldest that is silent goes, and where all have spoken, the oldest")
    func spoken() {
        var admission = Admission()
        let limits = limits(perPeer: 3)
        for job in UInt64(1)...3 {
            _ = admission.admit(job, peer: alice, namespace: nil, limits: limits, now: when(job))
        }
        #expect(admission.noteFirstByte(1) == true)
        #expect(admission.admit(4, peer: alice, namespace: nil, limits: limits, now: when(4)).evicted == [2])
        for job in [3, 4] as [UInt64] { #expect(admission.noteFirstByte(job) == true) }
        #expect(admission.admit(5, peer: alice, namespace: nil, limits: limits, now: when(5)).evicted == [1])
        #expect(admission.count == 3)
        #expect(admission.costs == [.peer: Admission.Cost(evicted: 2, refused: 0)])
    }

    @Test("a few addresses whose many handshakes have all sent a byte keep nobody out and push out nobody else")
    func oneByteEach() {
        var admission = Admission()
        let limits = limits(total: 30, perNamespace: 24, perPeer: 10)
        let crowd = ["198.51.100.1:1", "198.51.100.2:1", "198.51.100.3:1"].map(PeerGroup.init(socketAddress:))
        var job: UInt64 = 0
        for round in 0..<10 {
            for peer in crowd {
                job += 1
                _ = admission.admit(job, peer: peer, namespace: nil, limits: limits, now: UInt64(round))
                admission.noteFirstByte(job)
            }
        }
        #expect(admission.count == 24)
        // The crowd comes again and again, and honest hosts between, each with one that lasts.
        var now = Admission.reportingDelay * 2
        var honestJobs: Set<UInt64> = []
        for host in UInt8(1)...10 {
            let honest = PeerGroup(socketAddress: "192.0.2.\(host):700")
            job += 1
            let mine = job
            let decision = admission.admit(mine, peer: honest, namespace: nil, limits: limits, now: now)
            #expect(decision.refusal == nil)
            #expect(decision.evicted.count == 1 && honestJobs.isDisjoint(with: decision.evicted))
            honestJobs.insert(mine)
            for peer in crowd {
                job += 1
                let decision = admission.admit(job, peer: peer, namespace: nil, limits: limits, now: now)
                #expect(honestJobs.isDisjoint(with: decision.evicted))
                admission.noteFirstByte(job)
            }
            now += Admission.reportingDelay
        }
        for job in honestJobs {
            admission.noteFirstByte(job)
            #expect(admission.hasReceived(job), "it is there yet")
        }
    }

    @Test("nothing goes before it could be known whether its peer has spoken; the newcomer does")
    func young() {
        var admission = Admission()
        let limits = limits(total: 4, perNamespace: 4, perPeer: 2)
        for job in UInt64(1)...2 { _ = admission.admit(job, peer: mallory, namespace: nil, limits: limits, now: 0) }
        let last = Admission.reportingDelay - 1
        #expect(admission.admit(3, peer: mallory, namespace: nil, limits: limits, now: last).refusal == .peer)
        for (job, host) in [(4, 1), (5, 2)] as [(UInt64, Int)] {
            let honest = PeerGroup(socketAddress: "192.0.2.\(host):700")
            #expect(admission.admit(job, peer: honest, namespace: nil, limits: limits, now: last).refusal == nil)
        }
        #expect(
            admission.admit(
                6, peer: PeerGroup(socketAddress: "192.0.2.3:700"), namespace: nil, limits: limits, now: last
            )
            .refusal == .namespace)
        let decision = admission.admit(7, peer: mallory, namespace: nil, limits: limits, now: last + 1)
        #expect(decision == Admission.Decision(evicted: [1]))
    }

    @Test("a group loses nothing to one that is larger, however old what it has")
    func smaller() {
        var admission = Admission()
        let limits = limits(total: 4)
        _ = admission.admit(1, peer: alice, namespace: nil, limits: limits, now: 0)
        let now = Admission.reportingDelay
        for job in UInt64(2)...4 { _ = admission.admit(job, peer: mallory, namespace: nil, limits: limits, now: now) }
        #expect(admission.admit(5, peer: mallory, namespace: nil, limits: limits, now: now).refusal == .total)
        let other = PeerGroup(socketAddress: "192.0.2.9:700")
        #expect(admission.admit(6, peer: other, namespace: nil, limits: limits, now: now).evicted == [1])
    }

    @Test("many networks of one site are one group when it comes to the whole, and its largest loses first")
    func site() {
        var admission = Admission()
        let limits = limits(total: 6, perNamespace: 6)
        for job in UInt64(1)...2 {
            _ = admission.admit(job, peer: alice, namespace: nil, limits: limits, now: when(job))
        }
        for (job, network) in [(3, "a"), (4, "b"), (5, "c"), (6, "c")] as [(UInt64, String)] {
            let peer = PeerGroup(socketAddress: "[2001:db8:66:\(network)::1]:700")
            _ = admission.admit(job, peer: peer, namespace: nil, limits: limits, now: when(job))
        }
        let mallory = PeerGroup(socketAddress: "[2001:db8:66:d::1]:700")
        #expect(admission.admit(7, peer: mallory, namespace: nil, limits: limits, now: when(7)).evicted == [5])
        #expect(admission.admit(8, peer: alice, namespace: nil, limits: limits, now: when(8)).evicted == [3])
    }

    @Test("namespaces are bounded apart, our own among them, and so is the whole")
    func scopes() {
        var admission = Admission()
        let limits = limits(total: 4, perNamespace: 2)
        let (red, blue, green) = (NamespaceName.named("red"), NamespaceName.named("blue"), NamespaceName.named("green"))
        for (job, namespace) in [(1, nil), (2, nil), (3, red), (4, red)] as [(UInt64, NamespaceName?)] {
            let decision = admission.admit(job, peer: alice, namespace: namespace, limits: limits, now: when(job))
            #expect(decision == Admission.Decision())
        }
        #expect(admission.admit(5, peer: mallory, namespace: red, limits: limits, now: when(5)).evicted == [3])
        #expect(admission.admit(6, peer: mallory, namespace: blue, limits: limits, now: when(6)).evicted == [1])
        let soon = when(6) + 1
        for job in [2, 4, 5, 6] as [UInt64] { admission.leave(job) }
        for (job, namespace) in [(7, nil), (8, nil), (9, red), (10, red)] as [(UInt64, NamespaceName?)] {
            _ = admission.admit(job, peer: alice, namespace: namespace, limits: limits, now: soon)
        }
        #expect(admission.admit(11, peer: mallory, namespace: green, limits: limits, now: soon).refusal == .total)
        #expect(admission.admit(12, peer: mallory, namespace: red, limits: limits, now: soon).refusal == .namespace)
        #expect(
            admission.costs == [
                .namespace: Admission.Cost(evicted: 1, refused: 1), .total: Admission.Cost(evicted: 1, refused: 1),
            ])
    }

    @Test("a peer speaks for the first time once; of one that went nothing is known")
    func once() {
        var admission = Admission()
        _ = admission.admit(1, peer: alice, namespace: nil, limits: limits(), now: 0)
        #expect(admission.noteFirstByte(1) == true)
        #expect(admission.noteFirstByte(1) == false)
        admission.leave(1)
        admission.leave(1)
        #expect(admission.noteFirstByte(1) == true)
        #expect(admission.count == 0)
    }

    @Test("bounds that shrink take effect with the next newcomer")
    func shrink() {
        var admission = Admission()
        for job in UInt64(1)...10 {
            _ = admission.admit(job, peer: alice, namespace: nil, limits: limits(), now: when(job))
        }
        let decision = admission.admit(11, peer: alice, namespace: nil, limits: limits(perPeer: 3), now: when(11))
        #expect(decision.evicted == Array(1...8))
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

    @Test(
        "an IPv4 address is one network, and so is an IPv6 network of 48 bits",
        arguments: [
            ("192.0.2.1:700", "192.0.2.2:700", false),
            ("[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1", true),
            ("[2001:db8:1::1]:1", "[2001:db8:2::1]:1", false),
            ("[2001:db8:1:2:3:4:5:6]:1", "[2001:db8:1::]:1", true),
            ("[fe80::1%eth0]:1", "[fe80::1%eth1]:1", false),
        ])
    func networks(one: String, other: String, same: Bool) {
        #expect((PeerGroup(socketAddress: one).network == PeerGroup(socketAddress: other).network) == same)
    }
}
