internal import Handshake
internal import Keyrings
internal import Settings
internal import System
internal import Upcall
internal import Wire

extension Broker {
    /// Takes requests off an upcall until there are no more, and only then looks at them: the kernel refuses those that
    /// come while it keeps too many.
    func drain(_ way: WayIn) {
        var taken: [(accepted: AcceptedHandshake, keyring: KeySerial?)] = []
        let problems = way.upcall.drain { accepted in
            // Before the next ACCEPT, which adds its own.
            taken.append((accepted, consumerKeyring()))
            guard taken.count >= Self.batch else { return }
            for request in taken { take(request.accepted, request.keyring, from: way) }
            taken = []
        }
        for request in taken { take(request.accepted, request.keyring, from: way) }
        isBehind = isBehind || way.upcall.isBehind
        for problem in problems {
            log.error((way.namespace.map { "namespace \($0): " } ?? "") + problem.description)
        }
    }

    /// Takes more where the last turn left some.
    func catchUp() {
        isBehind = false
        for way in ways.values where way.upcall.isBehind { drain(way) }
    }

    /// Requests that are taken before the first of them gets its turn.
    private static let batch = 32

    private func take(_ accepted: AcceptedHandshake, _ keyring: KeySerial?, from way: WayIn) {
        let upcall = way.upcall
        var request: HandshakeRequest
        do {
            request = try accepted.request.get()
        } catch {
            return refuse(accepted, error, from: upcall)
        }
        request.keyring = request.keyring ?? keyring
        request.namespace = way.namespace
        if let update = request.keyUpdate { return take(update, accepted, from: upcall) }
        let allowance = Clock.nanoseconds(of: request.allowance)
        let id = table.accept(backstop: accepted.acceptedAt + allowance + Self.backstopMargin)
        let job = Job(accepted, request, from: upcall)
        jobs[id] = job
        log.debug(
            "\(accepted.peerAddress): \(request.role) handshake, \(request.authentication)"
                + (request.namespace.map { ", namespace \($0)" } ?? ""))
        do {
            job.profile = try chooseProfile(for: job)
            try request.validate()
            try checkPenalty(of: job)
            try admit(id, job)
            dispatch(id)
        } catch {
            fail(id, error)
        }
    }

    /// Sees to it that not too many handshakes are under way: others go, or this one is refused.
    private func admit(_ id: UInt64, _ job: Job) throws(HandshakeFailure) {
        let limits = configuration.settings.limits
        let decision = admission.admit(
            id, peer: job.peers, namespace: job.request.namespace, limits: limits, now: Clock.monotonicNanoseconds())
        for loser in decision.evicted { cancel(loser, .overloaded) }
        guard let bound = decision.refusal else { return }
        let reached =
            switch bound {
            case .peer: "\(limits.perPeer) with this peer"
            case .namespace: "\(limits.perNamespace) in its network namespace"
            case .total: "\(limits.total)"
            }
        throw HandshakeFailure(.overloaded, "\(reached), [limits] \(bound.rawValue)")
    }

    /// Looks at what may have changed for this request, and picks its profile.
    private func chooseProfile(for job: Job) throws(HandshakeFailure) -> ProfileTable.Choice {
        lookIfDue(nil) { refreshSettings() }
        let subject = ProfileSubject(
            job.request, peerAddress: job.accepted.peerAddress, localPort: job.accepted.localPort)
        guard let choice = profiles.choose(for: subject) else {
            throw HandshakeFailure(
                .noProfile, "namespace \(job.request.namespace?.description ?? "that tlshd was started in")")
        }
        let owner = CredentialsOwner(choice.number, job.request.role)
        switch job.request.authentication {
        case .unauthenticated, .x509: lookIfDue(owner) { refreshCredentials(owner) }
        case .preSharedKey: lookIfDue(nil, keyrings: true) { refreshKeys() }
        }
        return choice
    }

    /// Looks at files or keyrings for a request, not more often than twenty times a second. Where files answer late,
    /// that counts from when they have.
    ///
    /// - Returns: whether it looked.
    @discardableResult
    func lookIfDue(_ owner: CredentialsOwner?, keyrings: Bool = false, _ look: () -> Void) -> Bool {
        let last = keyrings ? keyringsLookedAt : lookedAt[owner] ?? 0
        guard Clock.monotonicNanoseconds() - last >= freshness else { return false }
        look()
        let now = Clock.monotonicNanoseconds()
        if keyrings { keyringsLookedAt = now } else { lookedAt[owner] = now }
        return true
    }

    private func consumerKeyring() -> KeySerial? {
        do {
            return try ConsumerKeyring.take()
        } catch {
            log.error("the consumer's keyring cannot be told apart: \(error.description)")
            return nil
        }
    }

    /// Answers what is no request that could be served or described.
    private func refuse(_ accepted: AcceptedHandshake, _ failure: HandshakeFailure, from upcall: any Upcall) {
        let connection = TCPConnection(accepted.number)
        connection.shutDownSending()
        _ = connection.discard(Endings.mostBytes)
        log.result(
            LogLine(refused: failure, of: accepted.peerAddress),
            historic: historicLines == nil ? nil : HistoricLine.refused)
        tellKernel(accepted, failure.reason.row.status, nil, through: upcall)
    }

    func tellKernel(
        _ accepted: AcceptedHandshake, _ status: Status, _ identity: KeySerial?, tags: [String] = [],
        through upcall: any Upcall
    ) {
        do {
            try upcall.answer(accepted, status: status, remoteIdentity: identity, tags: tags)
        } catch .rejected(_, SystemError.busy, _) {
            log.info("\(accepted.peerAddress): the consumer had given up before the result came")
        } catch {
            log.error("\(accepted.peerAddress): the kernel did not take the result: \(error.description)")
        }
    }

    /// How much longer than the worker the broker waits, in nanoseconds.
    static let backstopMargin: UInt64 = 250_000_000

    /// Hands the jobs that found no worker to those that there are now.
    func dispatchWaiting() {
        for id in table.waiting { dispatch(id) }
    }

    /// Prepares a job and hands it to the least loaded worker; without one it waits.
    private func dispatch(_ id: UInt64) {
        guard let job = jobs[id] else { return }
        if let update = job.request.keyUpdate { return dispatch(update, of: job, id) }
        guard let worker = chooseWorker(for: job) else {
            let isFull = workers.values.contains { $0.isReady && !$0.isGone }
            return table.note(
                id,
                lacks: isFull ? HandshakeFailure(.overloaded, "all workers' queues are full") : .init(.noWorkerReady))
        }
        if let lack = lackingKey(job) { return table.note(id, lacks: lack) }
        defer { secrets.reset() }
        do {
            var order = try prepare(job, id)
            try hold(&order, for: worker.id)
            try offer(order, of: job, to: worker.id)
        } catch {
            fail(id, error)
        }
    }

    /// Hands a job to a worker; while its queue is full, the job waits.
    private func offer(_ order: HandshakeJob, of job: Job, to id: WorkerID) throws(HandshakeFailure) {
        var problem: WireError?
        attempt(id) { worker throws(WorkerFault) in
            do throws(WorkerFault) {
                guard try worker.offer(order, socket: job.accepted.number, secrets: secrets) else { return }
                table.dispatch(order.id, to: id)
                job.keeper = id
            } catch .unsendable(let error) {
                // The request's fault, not the worker's.
                problem = error
            }
        }
        if let problem { throw HandshakeFailure(.requestMalformed, problem.description) }
    }

    /// Why a handshake must wait for its credentials: files are still being read for the first time, keys are still
    /// being opened, the signer may be hung, or there is none yet to hold the key that the request brings; `nil` where
    /// it need not wait.
    private func lackingKey(_ job: Job) -> HandshakeFailure? {
        guard job.request.authentication != .preSharedKey else { return nil }
        let state = credentials[CredentialsOwner(job.profile.number, job.request.role)]
        if state?.awaitsFiles == true {
            return HandshakeFailure(.roleNotConfigured, "the role's files did not answer in time")
        }
        guard job.request.authentication == .x509 else { return nil }
        if job.request.certificate != nil {
            signer.isNeeded = true
            // One that keeps dying is not waited for.
            if signer.process.map({ !$0.isReady }) ?? signer.canStart(Clock.monotonicNanoseconds()) {
                return HandshakeFailure(.signerUnavailable, "it did not start in time")
            }
        }
        if state?.awaitsSigner == true {
            return HandshakeFailure(.signerUnavailable, "it did not open the role's keys in time")
        }
        guard job.request.certificate != nil || state?.inForce?.keys != nil, let process = signer.process else {
            return nil
        }
        // A worker that asked it now would wait for it with all its handshakes.
        if process.isOpening { return HandshakeFailure(.signerUnavailable, "it is still opening keys") }
        return signer.suspectedBy.isEmpty ? nil : HandshakeFailure(.signerUnavailable, "it does not answer")
    }

    /// Gives the private key that a request named to the signer instead of the worker.
    private func hold(_ order: inout HandshakeJob, for worker: WorkerID) throws(HandshakeFailure) {
        guard order.privateKey.count > 0 else { return }
        let key = order.privateKey
        order.privateKey = SecretRange()
        var isHeld = false
        self.order { process throws(WorkerFault) in
            isHeld = try process.hold(job: order.id, for: worker, key, in: secrets)
        }
        guard isHeld else { throw HandshakeFailure(.signerUnavailable, "it takes no key now") }
        jobs[order.id]?.heldKey = true
    }

    /// The least loaded worker. Handshakes with a key on a token all go to the newest, and others to it only while it
    /// has none of those: it waits with all that it runs while the token signs, which does one thing at a time anyway.
    private func chooseWorker(for job: Job) -> WorkerProcess? {
        let free = workers.values.filter { $0.isReady && !$0.isCongested && !$0.isGone }
        let slow = signer.process?.opensTokens == true ? free.map(\.id.number).max() : nil
        if let slow, usesToken(job) { return workers[WorkerID(slow)] }
        let isWaiting = slow.map { number in
            table.running(on: WorkerID(number)).contains { jobs[$0].map(usesToken) == true }
        }
        func cost(_ worker: WorkerProcess) -> (Int, Int, Int) {
            let waits = isWaiting == true && worker.id.number == slow
            return (waits ? 1 : 0, table.load(of: worker.id), worker.id.number)
        }
        return free.min { cost($0) < cost($1) }
    }

    private func usesToken(_ job: Job) -> Bool {
        job.request.authentication == .x509
            && credentials[CredentialsOwner(job.profile.number, job.request.role)]?.usesTokens == true
    }

    /// Makes the worker's order, with the keys that the request names, read this moment: PSKs are never kept.
    private func prepare(_ job: Job, _ id: UInt64) throws(HandshakeFailure) -> HandshakeJob {
        let request = job.request
        guard let settings = roleSettings[CredentialsOwner(job.profile.number, request.role)] else {
            throw HandshakeFailure(.noProfile, "profile \(job.profile.name ?? "") has gone from the settings")
        }
        var order = HandshakeJob(
            id: id, transport: request.transport, profile: job.profile.number, role: request.role,
            authentication: request.authentication,
            deadline: job.accepted.acceptedAt + Clock.nanoseconds(of: request.allowance), peerName: request.peerName,
            priorities: request.priorities, limits: settings.limits)
        order.keepFor = secondsToKeep(for: request)
        job.keepFor = order.keepFor
        if request.role == .client, request.authentication == .preSharedKey {
            let keys = try offers(for: job)
            order.preSharedKeys = keys.map(\.field)
            for key in keys { job.pskSerials[key.field.identity] = key.serial }
        }
        if request.authentication == .x509, let certificate = request.certificate {
            order.certificate = try keys.certificate(certificate, of: request.keyring, scope: job.profile.keyrings)
            guard let serial = request.privateKey else {
                throw HandshakeFailure(.privateKeyUnreadable, "the request names a certificate but no private key")
            }
            order.privateKey = try keys.privateKey(
                serial, of: request.keyring, scope: job.profile.keyrings, into: &secrets)
        }
        return order
    }

    /// The PSKs that a client offers. Keyrings come with modules, and the first request right behind: before one fails,
    /// they are looked at.
    private func offers(for job: Job) throws(HandshakeFailure) -> [KeyStore.Offer] {
        do throws(HandshakeFailure) {
            return try keys.offers(for: job.request, scope: job.profile.keyrings, into: &secrets)
        } catch {
            secrets.reset()
            refreshKeys()
            return try keys.offers(for: job.request, scope: job.profile.keyrings, into: &secrets)
        }
    }

    /// A worker's result, which may be held back for debugging.
    func settle(_ job: UInt64, _ result: HandshakeResult, from worker: WorkerProcess) throws(WorkerFault) {
        let delay = configuration.settings.debug.delayDone.value
        let until = delay > .zero ? Clock.deadline(in: delay) : nil
        if case .failure(let failure) = result.outcome, failure.reason == .signerUnavailable {
            suspectSigner(worker.id)
        }
        do {
            if let answer = try table.finish(job, with: result, from: worker.id, heldBackUntil: until) {
                finish(answer)
            }
        } catch {
            throw .brokeProtocol("a result for a handshake that is not its own")
        }
    }

    /// Answers what is due by the clock; a worker that overran it is hung.
    func settleDue(_ now: UInt64) {
        guard let next = table.nextDue, next <= now else { return }
        // What a worker has sent in time counts, though the broker was late to read it.
        for id in table.overdueWorkers(at: now) { serveControl(of: id, writable: false) }
        let due = table.due(at: now)
        // Before that handshake is answered, and forgotten.
        let suspects = due.overrun.map { (worker: $0, job: jobInHand(of: $0)) }
        for answer in due.answers { finish(answer) }
        for (worker, job) in suspects { dismiss(worker, "it did not end a handshake in time", job) }
    }

    /// Ends a job on our own account.
    func fail(_ id: UInt64, _ failure: HandshakeFailure) {
        if let answer = table.fail(id, failure) { finish(answer) }
    }

    /// Gives a job up; a worker that runs it tells the peer and reports.
    func cancel(_ id: UInt64, _ reason: CancelReason) {
        guard case .running(let worker) = table.phase(of: id) else { return fail(id, reason.failure) }
        attempt(worker) { worker throws(WorkerFault) in try worker.send(.cancel(job: id, reason: reason)) }
    }

    /// A handshake is over for its worker. Called exactly once for each job; the table sees to it. The kernel is told
    /// of a success at once, and of a failure when its connection has ended.
    func finish(_ answer: JobTable.Answer) {
        guard let job = jobs.removeValue(forKey: answer.job) else { return }
        admission.leave(answer.job)
        if job.heldKey { order { process throws(WorkerFault) in try process.send(.forget(job: answer.job)) } }
        var result = answer.result
        let elapsed = Duration.nanoseconds(Int64(clamping: Clock.monotonicNanoseconds() - job.accepted.acceptedAt))
        // What a worker says is summed up, and may be made up.
        if result.elapsed == .zero || result.elapsed > elapsed { result.elapsed = elapsed }
        result.processorTime = min(result.processorTime, elapsed)
        result.outcome = withOwnDetail(job.checkConnection(job.judge(result)), of: job)
        noteSession(of: job, answer.job, result)
        // A worker cannot make any up, and those that are no more are told to nobody.
        result.tags = result.tags.filter(tags.names.contains)
        guard case .failure = result.outcome, job.needsEnding else { return conclude(job, result) }
        let timer = job.accepted.acceptedAt + Clock.nanoseconds(of: job.request.allowance * 1.05)
        endings.begin(answer.job, job, result, by: timer, now: Clock.monotonicNanoseconds())
    }

    /// Tells the kernel, then the log.
    func conclude(_ job: Job, _ result: HandshakeResult) {
        FaultInjection.pause()
        let identity = job.remoteIdentity(for: result, marker: keys.marker)
        var result = result
        if let remark = noteConnection(of: job, result) { result.remarks.append(remark) }
        tellKernel(job.accepted, result.status, identity, tags: result.tags, through: job.upcall)
        noteTags(of: job, result)
        let line = LogLine(result, of: job.request, with: job.peer, profile: job.profile.name)
        control.note(line, of: job.request, result)
        if isWritten(of: job, result) {
            log.result(
                line,
                historic: job.request.keyUpdate == nil
                    ? historicLines?.text(succeeded: line.succeeded, with: job.peer) : nil)
        }
        noteCost(of: job, result)
    }

    /// Says which tags the kernel was not told, where it takes any.
    func noteTags(of job: Job, _ result: HandshakeResult) {
        guard job.upcall.takesTags, case .success = result.outcome else { return }
        let leftOut = job.accepted.divide(result.tags).leftOut
        guard !leftOut.isEmpty else { return }
        log.notice(
            "\(LogLine.consumer(of: job.request)): of the session tags of \(LogLine.describe(job.peer)) the kernel is not told "
                + "\(leftOut.map(LogLine.printable).joined(separator: " ")): it takes \(job.accepted.mostTags) of up to "
                + "\(HandshakeFamily.longestTag) bytes; remedy: let fewer or shorter tags fit one certificate")
    }

    private var historicLines: HistoricLine? { configuration.settings.debug.historicLines.value }

    /// The worker knows that a role is not configured, the broker knows why.
    private func withOwnDetail(_ outcome: HandshakeResult.Outcome, of job: Job) -> HandshakeResult.Outcome {
        guard case .failure(let failure) = outcome, failure.reason == .roleNotConfigured,
            let problem = credentials[CredentialsOwner(job.profile.number, job.request.role)]?.problem, !problem.isEmpty
        else { return outcome }
        return .failure(HandshakeFailure(.roleNotConfigured, problem))
    }
}
