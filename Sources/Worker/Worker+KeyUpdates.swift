internal import Confined
internal import Handshake
internal import System
internal import TLS
internal import Wire

/// Key updates: secrets that are kept, and the connections whose keys follow from them.
extension Worker {
    /// Keeps the secrets of a session whose keys the kernel has, where they are wanted.
    func keep(_ session: HandshakeSession, of handshake: ActiveHandshake) {
        guard handshake.keepFor > 0, case .finished(let negotiated) = session.step(),
            let secrets = session.takeTrafficSecrets()
        else { return }
        sessions.keep(
            secrets, of: handshake.job, cipherSuite: negotiated.cipherSuite,
            for: .seconds(Int64(handshake.keepFor)), now: loop.now)
    }

    func start(_ job: KeyUpdateJob, on socket: consuming OwnedDescriptor) throws(ProcessEnd) {
        guard let kept = sessions.find(job.session, now: loop.now) else {
            socket.close()
            return try report(
                job.id, HandshakeResult(outcome: .failure(HandshakeFailure(.sessionUnknown, "no longer kept"))))
        }
        let update = ActiveKeyUpdate(job, on: socket, kept.secrets, cipherSuite: kept.cipherSuite)
        update.timer = loop.timer { [unowned self, unowned update] () throws(ProcessEnd) in try advance(update) }
        keyUpdates[job.id] = update
        try advance(update)
    }

    /// - Returns: whether the job is a key update.
    func cancelKeyUpdate(_ job: UInt64, _ reason: CancelReason) throws(ProcessEnd) -> Bool {
        guard let update = keyUpdates[job] else { return false }
        try finish(update, .failure(reason.failure))
        return true
    }

    /// How often one that waits is looked at, in nanoseconds. On NFS client sockets free send space wakes no poller
    /// (net/sunrpc/xprtsock.c, xs_tcp_write_space calls no former callback).
    private static let keyUpdateGlance: UInt64 = 200_000_000

    private func advance(_ update: ActiveKeyUpdate) throws(ProcessEnd) {
        let isDone: Bool
        do throws(HandshakeFailure) {
            isDone = try update.step()
        } catch {
            return try finish(update, .failure(error))
        }
        let now = loop.now
        if isDone {
            sessions.renew(update.job.session, for: .seconds(Int64(update.job.keepFor)), now: now)
            let session = NegotiatedSession(
                cipherSuite: update.cipherSuite, group: "", applicationProtocol: "", peerAuthenticated: false)
            return try finish(update, .success(session))
        }
        guard now < update.job.deadline else {
            return try finish(update, .failure(HandshakeFailure(.deadlineExceeded, "the socket takes nothing")))
        }
        update.timer?.deadline = min(update.job.deadline, now + Self.keyUpdateGlance)
    }

    /// Lets go of the socket, then reports. What failed half-way cannot be gone on with: its secrets are wiped.
    private func finish(
        _ update: ActiveKeyUpdate, _ outcome: HandshakeResult.Outcome
    ) throws(ProcessEnd) {
        keyUpdates[update.job.id] = nil
        update.close()
        if case .failure = outcome { sessions.forget(update.job.session) }
        let elapsed = loop.now - update.startedAt
        try report(
            update.job.id, HandshakeResult(outcome: outcome, elapsed: .nanoseconds(Int64(clamping: elapsed))))
    }
}
