package import Handshake

/// Limits of concurrent handshakes; `[limits]` in tlshd.conf(5).
package struct AdmissionLimits: Sendable, Equatable {
    /// Limit for the whole daemon. Each handshake uses two descriptors, and up to 25 kB until its key exchange, 130 kB
    /// after.
    package var total = 4096
    /// Limit per network namespace.
    package var perNamespace = 3072
    /// Limit per peer: an IPv4 address, or an IPv6 /64, which a single host may have to itself. A host opens one
    /// connection per processor and NVMe controller, and many clients may share an address.
    package var perPeer = 256
    /// Addresses that are exempt from penalties.
    package var penaltyExempt: [NetworkPrefix] = []

    package init() {}
}

/// Limits concurrent handshakes, so that a flooding peer cannot starve others. Pure bookkeeping: it starts and ends
/// nothing.
///
/// When a limit is reached, the largest group within it loses a handshake: the oldest whose peer has not sent a byte,
/// or the oldest of all if every peer has sent one, because a byte costs an attacker no more than silence. Handshakes
/// younger than `reportingDelay` are never evicted: until then it is unknown whether the peer has sent anything, and a
/// normal handshake ends sooner. A group smaller than that of the new handshake loses nothing to it. If nothing can be
/// evicted, the new handshake is refused.
package struct Admission: Sendable {
    /// Age at which workers report that the peer of a handshake has sent its first byte, in nanoseconds.
    package static let reportingDelay = FirstByteReport.delay

    /// A limit, by its key in `[limits]`.
    package enum Scope: String, Sendable, CaseIterable {
        case peer = "handshakes_per_peer"
        case namespace = "handshakes_per_namespace"
        case total = "handshakes"
    }

    /// Effects of a limit since the start.
    package struct Cost: Sendable, Equatable {
        /// Handshakes in progress that were evicted.
        package var evicted = 0
        /// New handshakes that were refused.
        package var refused = 0
    }

    /// Outcome for a new handshake.
    package struct Decision: Sendable, Equatable {
        /// Evicted handshakes, oldest first. They are no longer counted.
        package var evicted: [UInt64] = []
        /// The limit that refuses it; `nil` if it is admitted.
        package var refusal: Scope?
    }

    private struct Entry: Sendable {
        let job: UInt64
        /// CLOCK_MONOTONIC nanoseconds.
        let since: UInt64
        var isSilent = true
    }

    /// Unit of comparison for the limits per namespace and in total.
    private struct Group: Sendable, Hashable {
        /// The same address in two namespaces may belong to two hosts.
        let namespace: NamespaceName?
        let network: String
    }

    private struct Members: Sendable {
        var count = 0
        /// Handshakes per peer, oldest first.
        var peers: [PeerGroup: [Entry]] = [:]
    }

    private struct Key: Sendable {
        let group: Group
        let peer: PeerGroup
    }

    private var groups: [Group: Members] = [:]
    private var keys: [UInt64: Key] = [:]
    private var namespaces: [NamespaceName?: Int] = [:]
    /// Effects of each limit that was reached.
    package private(set) var costs: [Scope: Cost] = [:]

    package init() {}

    package var count: Int { keys.count }

    /// Counts a new handshake.
    ///
    /// - Parameters:
    ///   - job: a number higher than all before; the lowest is the oldest.
    ///   - namespace: its network namespace; `nil` for the initial one.
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

    /// Records that the peer of a handshake has sent its first byte.
    ///
    /// - Returns: `false` if this was recorded before.
    @discardableResult
    package mutating func noteFirstByte(_ job: UInt64) -> Bool {
        guard let key = keys[job], let index = index(of: job, key) else { return true }
        let wasSilent = groups[key.group]?.peers[key.peer]?[index].isSilent ?? true
        groups[key.group]?.peers[key.peer]?[index].isSilent = false
        return wasSilent
    }

    /// Resets a handshake that starts again with another worker, which reports the peer's first byte anew.
    package mutating func restart(_ job: UInt64) {
        guard let key = keys[job], let index = index(of: job, key) else { return }
        groups[key.group]?.peers[key.peer]?[index].isSilent = true
    }

    /// Returns `true` if the peer of a counted handshake has sent something.
    package func hasReceived(_ job: UInt64) -> Bool {
        guard let key = keys[job], let index = index(of: job, key) else { return false }
        return groups[key.group]?.peers[key.peer]?[index].isSilent == false
    }

    /// Removes a handshake that has ended. Does nothing if it was evicted or refused.
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

    /// Selects the handshake to evict for a new one. Linear in the number of peers, but needed only while a limit is
    /// reached, and limits are a few thousand.
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
    /// The address, or the first 64 bits of an IPv6 address with its zone.
    private let text: String
    /// An IPv4 address, or the first 48 bits of an IPv6 address with its zone: a single site may have a /48 (RFC 6177
    /// §2).
    package let network: String

    /// - Parameter socketAddress: numeric address and port: `192.0.2.1:2049`, `[2001:db8::1]:4420`,
    ///   `[fe80::1%eth0]:4420`. Any other text is a group of its own.
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

    /// The groups of an IPv6 address. `::` may replace zeros once (RFC 5952 §4.2).
    private static func groups(of address: Substring) -> [Substring] {
        let groups = address.split(separator: ":", omittingEmptySubsequences: false)
        guard let gap = groups.firstIndex(where: \.isEmpty) else { return groups }
        let head = groups[..<gap].filter { !$0.isEmpty }
        let tail = groups[gap...].filter { !$0.isEmpty }
        let zeros = Array(repeating: Substring("0"), count: max(0, 8 - head.count - tail.count))
        return head + zeros + tail
    }
}
