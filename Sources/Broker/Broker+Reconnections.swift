internal import Handshake
internal import System
internal import Upcall

extension Broker {
    /// Notes a connection whose handshake has succeeded, before the kernel is told.
    ///
    /// - Parameter now: CLOCK_MONOTONIC nanoseconds.
    /// - Returns: what is to be said of the one before it with the same peer; `nil` where that stands, or nobody knows.
    func noteConnection(
        of job: Job, _ result: HandshakeResult, now: UInt64 = Clock.monotonicNanoseconds()
    ) -> String? {
        guard case .success = result.outcome, job.request.keyUpdate == nil,
            let connection = job.upcall.connection(of: job.accepted)
        else { return nil }
        let pair = Reconnections.Pair(
            consumer: LogLine.consumer(of: job.request), peer: job.peers, pskIdentity: result.pskIdentity)
        let former = formerConnections.ended(pair, now: now)
        formerConnections.note(
            pair, FormerConnections.Former(upcall: job.upcall, connection: connection, upAt: now, peer: job.peer))
        guard let former else { return nil }
        if !former.isSettled { noteEarlyEnd(pair, former) }
        return
            "the previous connection with it ended after at most \((now - former.upAt + 999_999_999) / 1_000_000_000) s"
    }

    /// Looks after the connections whose first seconds are over.
    func lookAfterConnections(_ now: UInt64) {
        for (pair, former) in formerConnections.diedYoung(now: now) { noteEarlyEnd(pair, former) }
    }

    /// Looks whether a connection that ended within seconds of its handshake is one of too many, and says so.
    private func noteEarlyEnd(_ pair: Reconnections.Pair, _ former: FormerConnections.Former) {
        guard let found = reconnections.note(pair, now: former.upAt) else { return }
        log.warning(
            "\(pair.consumer): \(found.handshakes) connections with \(LogLine.describe(former.peer)) ended within about 2 s of "
                + "their handshakes in the last minute, in \(found.rounds) rounds: one side drops them after success; remedy: "
                + "look for why in the kernel's log of both hosts", .consumerReconnects)
    }
}
