/// How many handshakes may be under way at once; `[limits]` in tlshd.conf(5).
package struct AdmissionLimits: Sendable, Equatable {
    /// In all. Each costs two descriptors, and up to 25 kB while its peer has not completed a key exchange, 130 kB
    /// then.
    package var total = 4096
    /// In one network namespace.
    package var perNamespace = 3072
    /// With one peer: an IPv4 address, or an IPv6 network of 64 bits, which is what one host may well have to itself. A
    /// host opens a connection per processor and NVMe controller, and many clients may share an address.
    package var perPeer = 256
    /// Addresses that are never refused for what they have cost before.
    package var penaltyExempt: [NetworkPrefix] = []

    package init() {}
}

/// Limits concurrent handshakes, so that a flood hurts its sender and nobody else. Pure bookkeeping: it starts and ends
/// nothing.
///
/// When a bound is reached, the largest group within it loses a handshake: its oldest whose peer has not sent a byte,
/// or its oldest where all have, since a byte costs a stranger no more than silence. No handshake goes that is younger
/// than `reportingDelay`, for until then nobody knows whether its peer has spoken, and honest ones end before. A group
/// that is smaller than the newcomer's loses nothing to it. Where nothing is left to go, the newcomer is refused.
package struct Admission: Sendable {
    /// Workers report that a peer has sent its first byte when a handshake is this old, in nanoseconds.
    package static let reportingDelay: UInt64 = 100_000_000

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
        let job: UInt64
        /// CLOCK_MONOTONIC nanoseconds.
        let since: UInt64
        var isSilent = true
    }

    /// What is counted together when it comes to a namespace or the whole.
    private struct Group: Sendable, Hashable {
        /// Addresses of one namespace say nothing about another's.
        let namespace: NamespaceName?
        let network: String
    }

    private struct Members: Sendable {
        var count = 0
        /// Of each peer, the oldest first.
        var peers: [PeerGroup: [Entry]] = [:]
    }

    private struct Key: Sendable {
        let group: Group
        let peer: PeerGroup
    }

    private var groups: [Group: Members] = [:]
    private var keys: [UInt64: Key] = [:]
    private var namespaces: [NamespaceName?: Int] = [:]
    /// For each bound that was reached.
    package private(set) var costs: [Scope: Cost] = [:]

    package init() {}

    package var count: Int { keys.count }

    /// A handshake begins.
    ///
    /// - Parameters:
    ///   - job: a number higher than all before, which tells who is oldest.
    ///   - namespace: its network namespace; `nil` for our own.
    ///   - now: CLOCK_MONOTONIC nanoseconds.
    package mutating func admit(
        _ job: UInt64, peer: PeerGroup, namespace: NamespaceName?, limits: AdmissionLimits, now: UInt64
    ) -> Decision {
        let key = Key(group: Group(namespace: namespace, network: peer.network), peer: peer)
        var decision = Decision()
        let bounds: [(Scope, Int)] = [
            (.peer, limits.perPeer), (.namespace, limits.perNamespace), (.total, limits.total),
        ]
        for (scope, limit) in bounds {
            while count(scope, key) >= max(1, limit) {
                guard let loser = loser(scope, to: key, now) else {
                    decision.refusal = scope
                    costs[scope, default: Cost()].refused += 1
                    return decision
                }
                leave(loser)
                decision.evicted.append(loser)
                costs[scope, default: Cost()].evicted += 1
            }
        }
        keys[job] = key
        namespaces[namespace, default: 0] += 1
        groups[key.group, default: Members()].count += 1
        groups[key.group]?.peers[peer, default: []].append(Entry(job: job, since: now))
        return decision
    }

    /// The peer of a handshake has sent its first byte.
    ///
    /// - Returns: `false` when it had before.
    @discardableResult
    package mutating func hear(_ job: UInt64) -> Bool {
        guard let key = keys[job], let index = index(of: job, key) else { return true }
        let wasSilent = groups[key.group]?.peers[key.peer]?[index].isSilent ?? true
        groups[key.group]?.peers[key.peer]?[index].isSilent = false
        return wasSilent
    }

    /// The handshake begins anew, with a worker that will report its peer's first byte itself.
    package mutating func restart(_ job: UInt64) {
        guard let key = keys[job], let index = index(of: job, key) else { return }
        groups[key.group]?.peers[key.peer]?[index].isSilent = true
    }

    /// Whether the peer of a handshake that is counted has sent something.
    package func hasHeard(_ job: UInt64) -> Bool {
        guard let key = keys[job], let index = index(of: job, key) else { return false }
        return groups[key.group]?.peers[key.peer]?[index].isSilent == false
    }

    /// A handshake has ended. One that was evicted or refused is not counted any more, so that nothing happens.
    package mutating func leave(_ job: UInt64) {
        guard let key = keys[job], let index = index(of: job, key) else { return }
        keys[job] = nil
        groups[key.group]?.count -= 1
        groups[key.group]?.peers[key.peer]?.remove(at: index)
        if groups[key.group]?.peers[key.peer]?.isEmpty == true { groups[key.group]?.peers[key.peer] = nil }
        if groups[key.group]?.count == 0 { groups[key.group] = nil }
        let namespace = key.group.namespace
        namespaces[namespace, default: 1] -= 1
        if namespaces[namespace] == 0 { namespaces[namespace] = nil }
    }

    private func index(of job: UInt64, _ key: Key) -> Int? {
        groups[key.group]?.peers[key.peer]?.firstIndex { $0.job == job }
    }

    private func count(_ scope: Scope, _ key: Key) -> Int {
        switch scope {
        case .peer: groups[key.group]?.peers[key.peer]?.count ?? 0
        case .namespace: namespaces[key.group.namespace, default: 0]
        case .total: keys.count
        }
    }

    /// What goes so that a newcomer can come in. Looks through all peers; needed only while a bound is reached, and
    /// bounds are some thousands.
    private func loser(_ scope: Scope, to newcomer: Key, _ now: UInt64) -> UInt64? {
        if scope == .peer {
            return groups[newcomer.group]?.peers[newcomer.peer].flatMap { Self.loser(in: $0, now) }?.job
        }
        let least = (groups[newcomer.group]?.count ?? 0) + 1
        var best: (size: (Int, Int), entry: Entry)?
        for (group, members) in groups where scope == .total || group.namespace == newcomer.group.namespace {
            guard members.count >= least || group == newcomer.group else { continue }
            for entries in members.peers.values {
                let size = (members.count, entries.count)
                if let best, size < best.size { continue }
                guard let entry = Self.loser(in: entries, now) else { continue }
                if let best, size == best.size, !Self.goes(entry, before: best.entry) { continue }
                best = (size, entry)
            }
        }
        return best?.entry.job
    }

    /// The handshake that one peer loses.
    private static func loser(in entries: [Entry], _ now: UInt64) -> Entry? {
        let old = entries.prefix { $0.since + reportingDelay <= now }
        return old.first(where: \.isSilent) ?? old.first
    }

    private static func goes(_ one: Entry, before other: Entry) -> Bool {
        one.isSilent == other.isSilent ? one.job < other.job : one.isSilent
    }
}

/// Peers that are counted as one.
package struct PeerGroup: Sendable, Hashable, CustomStringConvertible {
    /// The address, or the first 64 bits of an IPv6 address, with its zone.
    private let text: String
    /// The same of an IPv4 address; the first 48 bits of an IPv6 address, which is what one site may have to itself
    /// (RFC 6177 §2), with its zone.
    package let network: String

    /// - Parameter socketAddress: numeric address and port: `192.0.2.1:2049`, `[2001:db8::1]:4420`,
    ///   `[fe80::1%eth0]:4420`. What is neither is a group of its own.
    package init(socketAddress: String) {
        if let address = NetworkAddress(ofSocketAddress: socketAddress), address.isIPv4 {
            text = address.description
            network = text
            return
        }
        guard socketAddress.hasPrefix("["), let end = socketAddress.lastIndex(of: "]") else {
            text = String(socketAddress[..<(socketAddress.lastIndex(of: ":") ?? socketAddress.endIndex)])
            network = text
            return
        }
        let address = socketAddress[socketAddress.index(after: socketAddress.startIndex)..<end]
        let zone = address.drop { $0 != "%" }
        let groups = Self.groups(of: address.prefix { $0 != "%" })
        text = groups.prefix(4).joined(separator: ":") + zone
        network = groups.prefix(3).joined(separator: ":") + "::" + zone
    }

    /// `192.0.2.1`, or `2001:db8:0:1::/64`, with its zone.
    package var description: String {
        let prefix = NetworkAddress(text.prefix { $0 != "%" } + "::").map { "\($0)" }
        return prefix.map { $0 + text.drop { $0 != "%" } + "/64" } ?? text
    }

    /// The groups of an IPv6 address, which may leave out zeros once (RFC 5952 §4.2).
    private static func groups(of address: Substring) -> [Substring] {
        let groups = address.split(separator: ":", omittingEmptySubsequences: false)
        guard let gap = groups.firstIndex(where: \.isEmpty) else { return groups }
        let head = groups[..<gap].filter { !$0.isEmpty }
        let tail = groups[gap...].filter { !$0.isEmpty }
        let zeros = Array(repeating: Substring("0"), count: max(0, 8 - head.count - tail.count))
        return head + zeros + tail
    }
}
