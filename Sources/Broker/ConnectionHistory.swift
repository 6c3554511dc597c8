internal import Handshake
internal import KernelWire
internal import Policy
internal import System
internal import Upcall

/// Says so where connections end right after their handshakes: one side drops them though TLS succeeded.
final class ConnectionHistory {
    private var former = FormerConnections()
    private var reconnections = Reconnections()
    private let log: DaemonLog

    init(log: DaemonLog) { self.log = log }

    /// Notes a connection whose handshake has succeeded, before the kernel is told.
    ///
    /// - Parameter now: CLOCK_MONOTONIC nanoseconds.
    /// - Returns: what is to be said of the one before it with the same peer; `nil` where that stands, or nobody knows.
    func note(_ handshake: Handshake, _ result: HandshakeResult, now: UInt64) -> String? {
        guard case .success = result.outcome, handshake.request.keyUpdate == nil,
            let connection = handshake.upcall.connection(of: handshake.accepted)
        else { return nil }
        let pair = Reconnections.Pair(
            consumer: LogLine.consumer(of: handshake.request), peer: handshake.peers, pskIdentity: result.pskIdentity)
        let previous = former.ended(pair, now: now)
        former.note(
            pair,
            FormerConnections.Former(
                upcall: handshake.upcall, connection: connection, upAt: now, peer: handshake.peer))
        guard let previous else { return nil }
        if !previous.isSettled { noteEarlyEnd(pair, previous) }
        return
            "the previous connection with it ended after at most \((now - previous.upAt + 999_999_999) / 1_000_000_000) s"
    }

    /// Looks after the connections whose first seconds are over.
    func refresh(_ now: UInt64) {
        for (pair, connection) in former.diedYoung(now: now) { noteEarlyEnd(pair, connection) }
    }

    /// Looks whether a connection that ended within seconds of its handshake is one of too many, and says so.
    private func noteEarlyEnd(_ pair: Reconnections.Pair, _ connection: FormerConnections.Former) {
        guard let found = reconnections.note(pair, now: connection.upAt) else { return }
        log.warning(
            "\(pair.consumer): \(found.handshakes) connections with \(LogLine.describe(connection.peer)) ended within about 2 s of "
                + "their handshakes in the last minute, in \(found.rounds) rounds: one side drops them after success; remedy: "
                + "look for why in the kernel's log of both hosts", .consumerReconnects)
    }
}

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
            former.upcall.isEstablished(former.connection) == false
        else { return nil }
        return former
    }

    /// Those that have ended since they came up, of all whose youth is over. Each is told once.
    mutating func diedYoung(now: UInt64) -> [(pair: Reconnections.Pair, former: Former)] {
        var found: [(Reconnections.Pair, Former)] = []
        for (pair, former) in formers where !former.isSettled && now - former.upAt >= Self.youth {
            formers[pair]?.isSettled = true
            if former.upcall.isEstablished(former.connection) == false { found.append((pair, former)) }
        }
        return found
    }
}
