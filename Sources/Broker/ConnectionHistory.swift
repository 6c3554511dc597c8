internal import Handshake
internal import KernelWire
internal import Policy
internal import System
internal import Upcall

/// Reports connections that end right after their handshakes: one end drops them although TLS succeeded.
final class ConnectionHistory {
    private var former = FormerConnections()
    private var reconnections = Reconnections()
    private let log: DaemonLog

    init(log: DaemonLog) { self.log = log }

    /// Records a connection whose handshake has succeeded, before DONE.
    ///
    /// - Parameter now: CLOCK_MONOTONIC nanoseconds.
    /// - Returns: A remark on the previous connection with the same peer; `nil` if it still exists or its end is
    ///   unknown.
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

    /// Checks connections a few seconds after their handshakes.
    func refresh(_ now: UInt64) {
        for (pair, connection) in former.endedEarly(now: now) { noteEarlyEnd(pair, connection) }
    }

    /// Records a connection that ended within seconds of its handshake, and logs a repetition.
    private func noteEarlyEnd(_ pair: Reconnections.Pair, _ connection: FormerConnections.Former) {
        guard let found = reconnections.note(pair, now: connection.upAt) else { return }
        log.warning(
            "\(pair.consumer): \(found.handshakes) connections with \(LogLine.describe(connection.peer)) ended within about 2 s of "
                + "their handshakes in the last minute, in \(found.rounds) rounds: one side drops them after success; remedy: "
                + "look for why in the kernel's log of both hosts", .consumerReconnects)
    }
}

/// The last recent connection of each consumer with each peer.
struct FormerConnections {
    struct Former {
        let upcall: any Upcall
        let connection: ConnectionDiagnostics
        /// CLOCK_MONOTONIC nanoseconds.
        let upAt: UInt64
        /// For the log.
        let peer: PeerAddress
        /// True once it was seen to have ended, or to have lasted longer than `earlyPeriod`.
        var isSettled = false
    }

    private var entries: [Reconnections.Pair: Former] = [:]

    /// Maximum number of pairs. Unauthenticated peers cannot fill the table, because only successful handshakes count.
    static let limit = 1024
    /// Time after the handshake in which an end is reported as early, in nanoseconds.
    static let earlyPeriod: UInt64 = 2_000_000_000
    /// Age from which a connection is no longer mentioned, in nanoseconds.
    static let memory: UInt64 = 60_000_000_000

    /// Records a new connection.
    mutating func note(_ pair: Reconnections.Pair, _ former: Former) {
        if entries[pair] == nil, entries.count >= Self.limit {
            entries = entries.filter { former.upAt - $0.value.upAt < Self.memory }
            guard entries.count < Self.limit else { return }
        }
        entries[pair] = former
    }

    /// The previous connection of a pair, if the kernel reports that it has ended.
    func ended(_ pair: Reconnections.Pair, now: UInt64) -> Former? {
        guard let former = entries[pair], now - former.upAt < Self.memory,
            former.upcall.isEstablished(former.connection) == false
        else { return nil }
        return former
    }

    /// Connections that ended early, among those older than `earlyPeriod`. Each is returned once.
    mutating func endedEarly(now: UInt64) -> [(pair: Reconnections.Pair, former: Former)] {
        var found: [(Reconnections.Pair, Former)] = []
        for (pair, former) in entries where !former.isSettled && now - former.upAt >= Self.earlyPeriod {
            entries[pair]?.isSettled = true
            if former.upcall.isEstablished(former.connection) == false { found.append((pair, former)) }
        }
        return found
    }
}
