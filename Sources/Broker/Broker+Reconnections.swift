internal import Handshake
internal import System

extension Broker {
    /// Looks whether a handshake that succeeded is one of too many, and says so.
    ///
    /// - Parameter now: CLOCK_MONOTONIC nanoseconds.
    func noteReconnection(_ job: Job, _ result: HandshakeResult, now: UInt64 = Clock.monotonicNanoseconds()) {
        guard case .success = result.outcome, job.request.keyUpdate == nil else { return }
        let consumer = LogLine.consumer(of: job.request)
        let pair = Reconnections.Pair(
            consumer: consumer, peer: job.peers, pskIdentity: result.pskIdentity)
        guard let found = reconnections.note(pair, now: now) else { return }
        log.warning(
            "\(consumer): \(found.handshakes) handshakes with \(LogLine.describe(job.peer)) succeeded in the last minute, in "
                + "\(found.rounds) rounds: one side seems to drop its connections after success; remedy: look for why in the "
                + "kernel's log of both hosts", .consumerReconnects)
    }
}
