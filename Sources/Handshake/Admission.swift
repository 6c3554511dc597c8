/// How many handshakes may be under way at once; `[limits]` in tlshd.conf(5).
package struct AdmissionLimits: Sendable, Equatable {
    /// In all. Each costs two descriptors and up to 30 kB, so that this many that stall cost 120 MB at most.
    package var total = 4096
    /// In one network namespace.
    package var perNamespace = 3072
    /// With one peer: an IPv4 address, or an IPv6 network of 64 bits, which is what one host may well have to itself. A
    /// host opens a connection per processor and NVMe controller, and many clients may share an address.
    package var perPeer = 1024

    package init() {}
}

/// Who may have handshakes under way, so that a flood hurts whoever sends it and nobody else. A value; it starts and
/// ends nothing.
///
/// When a bound is reached, the oldest handshake within it whose peer has not sent a byte goes, since stalling costs a
/// stranger nothing; where all peers have spoken, the newcomer is refused.
package struct Admission: Sendable {
    /// What a bound counts, by its name in `[limits]`.
    package enum Scope: String, Sendable, CaseIterable {
        case peer = "handshakes_per_peer"
        case namespace = "handshakes_per_namespace"
        case total = "handshakes"
    }

    /// What a bound has cost since the start.
    package struct Cost: Sendable, Equatable {
        /// Handshakes that were under way, silent, and had to go.
        package var evicted = 0
        /// Newcomers that were kept out.
        package var refused = 0
    }

    /// What became of a newcomer.
    package struct Decision: Sendable, Equatable {
        /// Those that go, oldest first; they are no longer counted.
        package var evicted: [UInt64] = []
        /// The bound that keeps it out; `nil` when it is in.
        package var refusal: Scope?
    }

    private struct Entry: Sendable {
        let peer: PeerGroup
        let namespace: NamespaceName?
        var isSilent = true
    }

    private var entries: [UInt64: Entry] = [:]
    private var peers: [PeerGroup: Int] = [:]
    private var namespaces: [NamespaceName?: Int] = [:]
    /// For each bound that was reached.
    package private(set) var costs: [Scope: Cost] = [:]

    package init() {}

    package var count: Int { entries.count }

    /// A handshake begins.
    ///
    /// - Parameters:
    ///   - job: a number higher than all before, which tells who is oldest.
    ///   - namespace: its network namespace; `nil` for our own.
    package mutating func admit(
        _ job: UInt64, peer: PeerGroup, namespace: NamespaceName?, limits: AdmissionLimits
    ) -> Decision {
        var decision = Decision()
        let bounds: [(Scope, Int)] = [
            (.peer, limits.perPeer), (.namespace, limits.perNamespace), (.total, limits.total),
        ]
        for (scope, limit) in bounds {
            while count(scope, peer, namespace) >= max(1, limit) {
                guard let loser = oldestSilent(scope, peer, namespace) else {
                    decision.refusal = scope
                    costs[scope, default: Cost()].refused += 1
                    return decision
                }
                leave(loser)
                decision.evicted.append(loser)
                costs[scope, default: Cost()].evicted += 1
            }
        }
        entries[job] = Entry(peer: peer, namespace: namespace)
        peers[peer, default: 0] += 1
        namespaces[namespace, default: 0] += 1
        return decision
    }

    /// The peer of a handshake has sent its first byte.
    ///
    /// - Returns: `false` when it had before.
    @discardableResult
    package mutating func hear(_ job: UInt64) -> Bool {
        guard let entry = entries[job] else { return true }
        entries[job]?.isSilent = false
        return entry.isSilent
    }

    /// Whether the peer of a handshake that is counted has sent something.
    package func hasHeard(_ job: UInt64) -> Bool { entries[job].map { !$0.isSilent } ?? false }

    /// A handshake has ended. One that was evicted or refused is not counted any more, so that nothing happens.
    package mutating func leave(_ job: UInt64) {
        guard let entry = entries.removeValue(forKey: job) else { return }
        Self.decrement(&peers, entry.peer)
        Self.decrement(&namespaces, entry.namespace)
    }

    private func count(_ scope: Scope, _ peer: PeerGroup, _ namespace: NamespaceName?) -> Int {
        switch scope {
        case .peer: peers[peer, default: 0]
        case .namespace: namespaces[namespace, default: 0]
        case .total: entries.count
        }
    }

    /// Looks through all; needed only while a bound is reached, and bounds are some thousands.
    private func oldestSilent(_ scope: Scope, _ peer: PeerGroup, _ namespace: NamespaceName?) -> UInt64? {
        var oldest: UInt64?
        for (job, entry) in entries where entry.isSilent && job < oldest ?? .max {
            let isWithin =
                switch scope {
                case .peer: entry.peer == peer
                case .namespace: entry.namespace == namespace
                case .total: true
                }
            if isWithin { oldest = job }
        }
        return oldest
    }

    private static func decrement<Key: Hashable>(_ counts: inout [Key: Int], _ key: Key) {
        guard let count = counts[key] else { return }
        counts[key] = count > 1 ? count - 1 : nil
    }
}

/// Peers that are counted as one.
package struct PeerGroup: Sendable, Hashable {
    private let text: String

    /// - Parameter socketAddress: numeric address and port: `192.0.2.1:2049`, `[2001:db8::1]:4420`,
    ///   `[fe80::1%eth0]:4420`. What is neither is a group of its own.
    package init(socketAddress: String) {
        if let address = NetworkAddress(ofSocketAddress: socketAddress), address.isIPv4 {
            text = address.description
            return
        }
        guard socketAddress.hasPrefix("["), let end = socketAddress.lastIndex(of: "]") else {
            text = String(socketAddress[..<(socketAddress.lastIndex(of: ":") ?? socketAddress.endIndex)])
            return
        }
        let address = socketAddress[socketAddress.index(after: socketAddress.startIndex)..<end]
        let zone = address.drop { $0 != "%" }
        text = Self.network(of: address.prefix { $0 != "%" }) + zone
    }

    /// The first four groups of an IPv6 address, which may leave out zeros once (RFC 5952 §4.2).
    private static func network(of address: Substring) -> String {
        let groups = address.split(separator: ":", omittingEmptySubsequences: false)
        guard let gap = groups.firstIndex(where: \.isEmpty) else { return groups.prefix(4).joined(separator: ":") }
        let head = groups[..<gap].filter { !$0.isEmpty }
        let tail = groups[gap...].filter { !$0.isEmpty }
        let zeros = Array(repeating: Substring("0"), count: max(0, 8 - head.count - tail.count))
        return (head + zeros + tail).prefix(4).joined(separator: ":")
    }
}
