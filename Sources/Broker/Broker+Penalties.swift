internal import Handshake
internal import Settings
internal import System
internal import Upcall
internal import Wire

/// What becomes of peers that cost others too much, and of handshakes that a peer of theirs took along.
extension Broker {
    /// Refuses a peer that has cost too much, without any work.
    func checkPenalty(of job: Job) throws(HandshakeFailure) {
        let now = Clock.monotonicNanoseconds()
        guard let penalty = penalties.refuse(job.peers, in: job.request.namespace, now: now) else { return }
        let seconds = (penalty.until - now) / 1_000_000_000 + 1
        throw HandshakeFailure(
            .peerPenalised, "\(penalty.peer), for \(seconds) s more: \(Self.describe(penalty.offence))")
    }

    /// Names the peer of a failed handshake that took more processor time than it may.
    func noteCost(of job: Job, _ result: HandshakeResult) {
        guard job.request.keyUpdate == nil, processorBudget.exceeds(result) else { return }
        log.warning(
            "\(LogLine.consumer(of: job.request)): the handshake with \(LogLine.describe(job.peer)) took "
                + "\(LogLine.milliseconds(result.processorTime)) ms of processor time, more than the "
                + "\(LogLine.milliseconds(processorBudget.limit)) ms that a handshake may cost here; remedy: if this goes on, keep the address away by a packet filter",
            .handshakeOverBudget)
        punish(job, for: .overBudget)
    }

    /// Refuses a client for a time, unless the settings say that it never is. A server is one that this host's own
    /// mounts want.
    func punish(_ job: Job, for offence: Penalties.Offence) {
        guard job.request.role == .server else { return }
        let exempt = configuration.settings.limits.penaltyExempt
        let address = NetworkAddress(ofSocketAddress: job.accepted.peerAddress)
        if let address, exempt.contains(where: { $0.contains(address) }) { return }
        let time = penalties.punish(
            job.peers, in: job.request.namespace, for: offence, now: Clock.monotonicNanoseconds())
        guard time > 0 else { return }
        log.warning(
            "\(LogLine.consumer(of: job.request)): \(job.peers) is refused for \(time / 1_000_000_000) s: "
                + "\(Self.describe(offence)) with \(LogLine.describe(job.peer)); remedy: list the address in penalty_exempt of "
                + "[limits] if others share it", .peerRefused)
    }

    private static func describe(_ offence: Penalties.Offence) -> String {
        switch offence {
        case .workerKilled: "a worker died in the middle of a handshake"
        case .overBudget: "again too much processor time for a handshake"
        }
    }

    /// The handshake that a worker computes for at this moment, or did when it ended. It is the worker's word.
    func jobInHand(of id: WorkerID) -> Job? {
        guard let worker = workers[id], let job = jobs[worker.step.job], job.keeper == id else { return nil }
        return job
    }

    /// A worker has ended: others run what it had not begun with, but for the handshake that it ended in.
    func rerunUntouched(of worker: WorkerID, but suspect: Job?) {
        for id in table.running(on: worker) {
            guard let job = jobs[id], job !== suspect, job.request.keyUpdate == nil, job.reruns < Job.mostReruns,
                isUntouched(job)
            else { continue }
            rerun(id, job)
        }
    }

    /// Whether nothing was read from its socket, or written to it, since we have it.
    private func isUntouched(_ job: Job) -> Bool {
        job.progress != nil && StreamProgress(of: job.accepted.number) == job.progress
    }

    private func rerun(_ id: UInt64, _ job: Job) {
        table.requeue(id)
        admission.restart(id)
        if job.heldKey { order { process throws(WorkerFault) in try process.send(.forget(job: id)) } }
        job.heldKey = false
        job.lookups = 0
        job.pskSerials = [:]
        job.keeper = nil
        job.reruns += 1
    }
}
