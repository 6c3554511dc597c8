internal import Handshake
internal import Upcall
internal import Wire

/// The last connection of each consumer with each peer that came up lately, and whether it stands.
struct FormerConnections {
    struct Former {
        let upcall: any Upcall
        let connection: ConnectionDiagnostics
        /// CLOCK_MONOTONIC nanoseconds.
        let upAt: UInt64
        /// For the log.
        let peer: PeerAddress
        /// Whether it was seen to have ended, or to have outlived its first seconds.
        var isSettled = false
    }

    private var formers: [Reconnections.Pair: Former] = [:]

    /// Pairs that are remembered; strangers cannot fill it, since only handshakes that succeeded count.
    static let limit = 1024
    /// A connection that ends within this time has died young, in nanoseconds.
    static let youth: UInt64 = 2_000_000_000
    /// What ended longer ago is nobody's news, in nanoseconds.
    static let memory: UInt64 = 60_000_000_000

    /// Notes a connection that came up.
    mutating func note(_ pair: Reconnections.Pair, _ former: Former) {
        if formers[pair] == nil, formers.count >= Self.limit {
            formers = formers.filter { former.upAt - $0.value.upAt < Self.memory }
            guard formers.count < Self.limit else { return }
        }
        formers[pair] = former
    }

    /// The connection before the one that came up now, if it has ended; the kernel is asked.
    func ended(_ pair: Reconnections.Pair, now: UInt64) -> Former? {
        guard let former = formers[pair], now - former.upAt < Self.memory,
            former.upcall.stands(former.connection) == false
        else { return nil }
        return former
    }

    /// Those that have ended since they came up, of all whose youth is over. Each is told once.
    mutating func diedYoung(now: UInt64) -> [(pair: Reconnections.Pair, former: Former)] {
        var found: [(Reconnections.Pair, Former)] = []
        for (pair, former) in formers where !former.isSettled && now - former.upAt >= Self.youth {
            formers[pair]?.isSettled = true
            if former.upcall.stands(former.connection) == false { found.append((pair, former)) }
        }
        return found
    }
}
