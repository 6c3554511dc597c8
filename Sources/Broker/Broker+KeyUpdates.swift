internal import Handshake
internal import Settings
internal import System
internal import Upcall
internal import Wire

/// Key updates: each goes to the worker that made the connection's keys and kept its secrets.
extension Broker {
    /// Says so when key updates are wanted and cannot be had.
    func noteKeyUpdateSupport() {
        guard configuration.settings.listener.keyUpdateLifetime.value > 0, !kernelTLS.rekeys else { return }
        log.notice("[listener] key_update_lifetime has no effect: this kernel's TLS cannot replace keys (Linux 6.14)")
    }

    /// Seconds for which a connection's secrets are to be kept.
    func secondsToKeep(for request: HandshakeRequest) -> UInt32 {
        guard request.wantsSession, kernelTLS.rekeys else { return 0 }
        return UInt32(clamping: configuration.settings.listener.keyUpdateLifetime.value)
    }

    func take(_ update: KeyUpdate, _ accepted: AcceptedHandshake, from upcall: any Upcall) {
        refreshSettings()
        do throws(HandshakeFailure) {
            let session = try find(update, accepted)
            let job = enter(update, session.request, accepted, upcall)
            jobs[job]?.keeper = session.worker
            jobs[job]?.keepFor = secondsToKeep(for: session.request)
            if let entered = jobs[job] { dispatch(update, of: entered, job) }
        } catch {
            let unknown = HandshakeRequest(transport: .listener, role: .client, authentication: .x509)
            fail(enter(update, unknown, accepted, upcall), error)
        }
    }

    private func find(
        _ update: KeyUpdate, _ accepted: AcceptedHandshake
    ) throws(HandshakeFailure) -> SessionTable.Session {
        guard configuration.settings.listener.keyUpdateLifetime.value > 0 else {
            throw HandshakeFailure(.keyUpdatesOff, "[listener] key_update_lifetime is 0")
        }
        guard kernelTLS.rekeys else {
            throw HandshakeFailure(.keyUpdatesOff, "this kernel's TLS cannot replace keys")
        }
        return try sessions.find(
            update.session, socket: try cookie(of: accepted), now: Clock.monotonicNanoseconds())
    }

    private func cookie(of accepted: AcceptedHandshake) throws(HandshakeFailure) -> UInt64 {
        do throws(SystemError) {
            return try SocketFacts.cookie(of: accepted.number)
        } catch {
            throw HandshakeFailure(.socketUnsupported, error.description)
        }
    }

    /// Makes a job of it, in the name of the connection's handshake.
    private func enter(
        _ update: KeyUpdate, _ shaken: HandshakeRequest, _ accepted: AcceptedHandshake, _ upcall: any Upcall
    ) -> UInt64 {
        var request = shaken
        request.keyUpdate = update
        let allowance = Clock.nanoseconds(of: request.allowance)
        let id = table.accept(backstop: accepted.acceptedAt + allowance + Self.backstopMargin)
        jobs[id] = Job(accepted, request, from: upcall)
        return id
    }

    /// Hands it to the one worker that can do it; while its queue is full, it waits.
    func dispatch(_ update: KeyUpdate, of job: Job, _ id: UInt64) {
        guard let worker = job.keeper.flatMap({ workers[$0] }), worker.isReady, !worker.isGone else {
            return fail(id, HandshakeFailure(.sessionUnknown, "the worker that kept them has ended"))
        }
        guard !worker.isCongested else { return }
        let deadline = job.accepted.acceptedAt + Clock.nanoseconds(of: job.request.allowance)
        let order = KeyUpdateJob(
            id: id, session: update.session.session, steps: update.steps, deadline: deadline, keepFor: job.keepFor)
        attempt(worker.id) { worker throws(WorkerFault) in
            if try worker.offer(order, socket: job.accepted.number) { table.dispatch(id, to: worker.id) }
        }
    }

    /// Before the kernel is answered: notes whose secrets are kept from now on, or longer, or no more.
    func noteSession(of job: Job, _ id: UInt64, _ result: HandshakeResult) {
        let now = Clock.monotonicNanoseconds()
        // What the worker was told: the settings may have changed since.
        let lifetime = Clock.nanoseconds(of: .seconds(Int64(job.keepFor)))
        switch (result.outcome, job.request.keyUpdate) {
        case (.success, let update?): sessions.renew(update.session.session, until: now + lifetime)
        case (.failure, let update?):
            // What was refused here was not even begun.
            if job.keeper != nil { sessions.forget(update.session.session) }
        case (.success, nil):
            guard job.keepFor > 0, let worker = job.keeper, let socket = try? cookie(of: job.accepted) else { return }
            let session = SessionTable.Session(
                worker: worker, socket: socket, request: job.request, until: now + lifetime)
            job.accepted.sessionReference = sessions.keep(id, session, now: now)
        case (.failure, nil): return
        }
    }
}
