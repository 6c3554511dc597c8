internal import Handshake
internal import KernelWire
internal import Keyrings
internal import Policy
internal import Settings
internal import System
internal import Unconfined
internal import Upcall
internal import Wire

/// The life of a handshake in the broker, from the request of ACCEPT to the answer of DONE:
///
///     take -> dispatch -> (a worker runs it) -> settle -> finish -> [its connection ends] -> conclude
///
/// In every other event (a deadline, the end of a worker, the end of the daemon) the handshake reaches `finish` exactly
/// once (`HandshakeTable`), and `conclude` after it.
final class Handshakes {
    private(set) var table = HandshakeTable()
    private(set) var admission = Admission()
    /// Handshakes with a worker of their own, by role.
    private var isolated: [Role: Admission] = [:]
    /// Failed handshakes that the kernel has not been answered for.
    private var endings = Endings()
    /// Connections of the NFS client that the kernel has not taken over yet.
    private var takeovers = Takeovers()
    var sessions: SessionTable
    let connections: ConnectionHistory
    private let peerPenalties: PeerPenalties
    /// Limits the log lines about failed handshakes with clients of our servers.
    private var failureThrottle = LogThrottle<FailingPeer>(most: 20, mostInAll: 200)

    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }
    private var settings: DaemonSettings { broker.configuration.settings }

    /// Time after a worker's deadline until the broker answers itself, in nanoseconds.
    private static let backstopMargin: UInt64 = 250_000_000

    init(_ broker: Broker, keptSessions: Int) {
        self.broker = broker
        sessions = SessionTable(instance: .random(in: 1...(.max)), limit: keptSessions)
        connections = ConnectionHistory(log: broker.log)
        peerPenalties = PeerPenalties(log: broker.log)
    }

    /// True if every accepted request is answered.
    var isIdle: Bool { table.isEmpty && endings.isEmpty }

    /// Adds the deadlines of handshakes to the loop.
    func addSchedules(to loop: EventLoop) {
        loop.schedule({ [unowned self] in table.nextDue }) { [unowned self] now in settleDue(now) }
        loop.schedule({ [unowned self] in endings.nextLook }) { [unowned self] now in
            for end in endings.look(now) { conclude(end.handshake, end.result) }
        }
        loop.schedule({ [unowned self] in takeovers.nextLook }) { [unowned self] now in
            for end in takeovers.look(now) { report(end) }
        }
        loop.schedule({ [unowned self] in failureThrottle.nextDue }) { [unowned self] now in summarise(now) }
    }

    // MARK: A request

    /// Processes a request that was accepted from the kernel.
    ///
    /// - Parameter keyring: the consumer's keyring, which ACCEPT linked for this thread.
    func take(_ accepted: AcceptedHandshake, keyring: KeySerial?, from upcall: any Upcall, in namespace: NamespaceName?)
    {
        var request: HandshakeRequest
        do {
            request = try accepted.request.get()
        } catch {
            return refuse(accepted, error, from: upcall)
        }
        request.keyring = request.keyring ?? keyring
        request.namespace = namespace
        if let update = request.keyUpdate { return take(update, accepted, from: upcall) }
        let handshake = table.accept(accepted, request, from: upcall, margin: Self.backstopMargin)
        log.debug(
            "\(accepted.peerAddress): \(request.role) handshake, \(request.authentication)"
                + (request.namespace.map { ", namespace \($0)" } ?? ""))
        do {
            handshake.profile = try broker.reload.chooseProfile(for: handshake)
            try request.validate()
            try peerPenalties.check(handshake, now: broker.loop.now)
            try admit(handshake)
            dispatch(handshake)
        } catch {
            fail(handshake, error)
        }
    }

    /// Enforces the limits of concurrent handshakes: others are evicted, or this one is refused.
    private func admit(_ handshake: Handshake) throws(HandshakeFailure) {
        let limits = settings.limits
        let decision = admission.admit(
            handshake.id, peer: handshake.peers, namespace: handshake.request.namespace, limits: limits,
            now: broker.loop.now)
        for loser in decision.evicted.compactMap({ table[$0] }) { cancel(loser, .overloaded) }
        guard let bound = decision.refusal else { return try admitIsolated(handshake) }
        let reached =
            switch bound {
            case .peer: "\(limits.perPeer) with this peer"
            case .namespace: "\(limits.perNamespace) in its network namespace"
            case .total: "\(limits.total)"
            }
        throw HandshakeFailure(.overloaded, "\(reached), [limits] \(bound.rawValue)")
    }

    /// Enforces the limit of handshakes with a worker of their own, in the same way.
    private func admitIsolated(_ handshake: Handshake) throws(HandshakeFailure) {
        guard broker.reload.profiles.isolation(of: handshake.profile.number) == .handshake else { return }
        let most = WorkerPool.mostIsolated - WorkerPool.count(processors: broker.surroundings.processors)
        var limits = AdmissionLimits()
        limits.total = max(most, 1)
        limits.perNamespace = limits.total
        limits.perPeer = min(settings.limits.perPeer, limits.total)
        let decision = isolated[handshake.request.role, default: Admission()].admit(
            handshake.id, peer: handshake.peers, namespace: handshake.request.namespace, limits: limits,
            now: broker.loop.now)
        for loser in decision.evicted.compactMap({ table[$0] }) { cancel(loser, .overloaded) }
        guard decision.refusal != nil else { return }
        throw HandshakeFailure(.overloaded, "\(limits.total) that have a worker of their own")
    }

    /// Answers a request that is malformed or can never be served.
    private func refuse(_ accepted: AcceptedHandshake, _ failure: HandshakeFailure, from upcall: any Upcall) {
        let connection = accepted.stream
        connection.shutDownSending()
        _ = connection.discard(Endings.mostBytes)
        log.result(
            LogLine(refused: failure, of: accepted.peerAddress),
            historic: historicLines == nil ? nil : HistoricLine.refused)
        sendDone(accepted, failure.reason.row.status, nil, through: upcall)
    }

    // MARK: Dispatch

    /// Dispatches waiting handshakes to the workers that are ready now.
    func dispatchWaiting() {
        for handshake in table.waiting { dispatch(handshake) }
    }

    /// Handshakes that wait although a worker has room.
    var neglected: [UInt64] {
        table.waiting.filter { handshake in
            guard case .waiting(let lack) = handshake.state, handshake.request.keyUpdate == nil else { return false }
            return [.noWorkerReady, .overloaded].contains(lack.reason) && !broker.pool.free(for: handshake).isEmpty
        }.map(\.id)
    }

    /// Dispatches a handshake to the least loaded worker that takes it. It waits if there is none.
    private func dispatch(_ handshake: Handshake) {
        if let update = handshake.request.keyUpdate { return dispatch(update, of: handshake) }
        guard broker.credentials.settings(of: handshake.owner) != nil else {
            return fail(handshake, Self.lackingProfile(handshake))
        }
        broker.pool.demand(for: handshake)
        // A worker that refuses the job has a full queue or has just ended, and is not chosen again.
        while case .waiting = handshake.state {
            guard let worker = chooseWorker(for: handshake) else {
                let lack =
                    broker.pool.hasReadyWorker(for: handshake)
                    ? HandshakeFailure(.overloaded, "all workers are busy") : .init(.noWorkerReady)
                return table.note(handshake, waitsFor: lack)
            }
            if let lack = lackingKey(handshake) { return table.note(handshake, waitsFor: lack) }
            if offer(handshake, to: worker) { return }
        }
    }

    private static func lackingProfile(_ handshake: Handshake) -> HandshakeFailure {
        HandshakeFailure(.noProfile, "profile \(handshake.profile.name ?? "") has gone from the settings")
    }

    /// Prepares the job of a handshake and sends it to a worker.
    ///
    /// - Returns: `false` if the worker, or a signer, does not take it.
    private func offer(_ handshake: Handshake, to worker: WorkerID) -> Bool {
        defer { broker.secrets.reset() }
        do {
            var job = try prepare(handshake)
            guard try permit(&job, of: handshake, for: worker),
                try broker.pool.offer(job, socket: handshake.accepted.number, to: worker)
            else {
                revokePermits(of: handshake)
                return false
            }
            table.dispatch(handshake, to: worker)
            handshake.worker = worker
        } catch {
            fail(handshake, error)
        }
        return true
    }

    /// The least loaded worker. All handshakes with keys on tokens run on the newest worker, and others run there only
    /// while it has none of these: a worker waits while a token signs, and a token does one operation at a time.
    private func chooseWorker(for handshake: Handshake) -> WorkerID? {
        let free = broker.pool.free(for: handshake)
        let slow = broker.signer(.tokens).process != nil ? free.max { $0.number < $1.number } : nil
        if let slow, usesToken(handshake) { return slow }
        let isWaiting = slow.map { table.running(on: $0).contains(where: usesToken) } == true
        func cost(_ worker: WorkerID) -> (Int, Int, Int) {
            (isWaiting && worker == slow ? 1 : 0, table.load(of: worker), worker.number)
        }
        return free.min { cost($0) < cost($1) }
    }

    private func usesToken(_ handshake: Handshake) -> Bool {
        signers(for: handshake).contains(.tokens)
    }

    /// The signers with keys that a handshake's worker may use.
    private func signers(for handshake: Handshake) -> [SignerKind] {
        guard handshake.request.authentication == .x509 else { return [] }
        if handshake.request.certificate != nil { return [.files] }
        return broker.credentials[handshake.owner]?.signers ?? []
    }

    /// Reason why a handshake must wait for its credentials: the files are being read for the first time, the keys are
    /// being opened, or a signer cannot sign now. `nil` if it need not wait.
    private func lackingKey(_ handshake: Handshake) -> HandshakeFailure? {
        let request = handshake.request
        guard request.authentication != .preSharedKey else { return nil }
        let state = broker.credentials[handshake.owner]
        if state?.awaitsFiles == true {
            return HandshakeFailure(.roleNotConfigured, "the role's files did not answer in time")
        }
        guard request.authentication == .x509 else { return nil }
        if state?.awaitsSigner == true {
            return HandshakeFailure(.signerUnavailable, "it did not open the role's keys in time")
        }
        if request.certificate != nil { broker.signer(.files).demand() }
        for signer in signers(for: handshake) {
            if let lack = broker.signer(signer).lack(broker.loop.now) { return lack }
        }
        return nil
    }

    /// Lets a worker use the keys of a handshake, before it has the job. The private key of a request goes to the
    /// signer instead of the worker.
    ///
    /// A worker may have credentials of the role that the broker has dropped, because another one refused them. So each
    /// signer gets a permit for the role's keys, but the handshake waits only for room in the queue of one that has the
    /// keys in force.
    ///
    /// - Returns: `false` while there is none.
    private func permit(
        _ job: inout HandshakeJob, of handshake: Handshake, for worker: WorkerID
    ) throws(HandshakeFailure) -> Bool {
        let key = job.privateKey, needed = signers(for: handshake)
        job.privateKey = SecretRange()
        guard handshake.request.authentication == .x509 else { return true }
        guard key.count == 0 || broker.signer(.files).process != nil else {
            throw HandshakeFailure(.signerUnavailable, "it does not run")
        }
        for signer in SignerKind.allCases where key.count == 0 || signer == .files {
            if broker.signer(signer).permit(handshake, for: worker, key: key) {
                handshake.permits.append(signer)
            } else if needed.contains(signer) {
                return false
            }
        }
        return true
    }

    private func revokePermits(of handshake: Handshake) {
        for signer in handshake.permits { broker.signer(signer).forget(handshake.id) }
        handshake.permits = []
    }

    /// Prepares the worker's job. Keys that the request names are read now, because PSKs are never kept.
    private func prepare(_ handshake: Handshake) throws(HandshakeFailure) -> HandshakeJob {
        let request = handshake.request
        guard let settings = broker.credentials.settings(of: handshake.owner) else {
            throw Self.lackingProfile(handshake)
        }
        var job = HandshakeJob(
            id: handshake.id, transport: request.transport, profile: handshake.profile.number, role: request.role,
            authentication: request.authentication, deadline: handshake.deadline, peerName: request.peerName,
            priorities: request.priorities, limits: settings.limits)
        job.keepFor =
            broker.reload.profiles.isolation(of: handshake.profile.number) == .handshake
            ? 0 : secondsToKeep(for: request)
        handshake.keepFor = job.keepFor
        if request.role == .client, request.authentication == .preSharedKey {
            let keys = try offers(for: handshake)
            job.preSharedKeys = keys.map(\.field)
            for key in keys { handshake.pskSerials[key.field.identity] = key.serial }
        }
        if request.authentication == .x509, let certificate = request.certificate {
            let scope = handshake.profile.keyrings
            job.certificate = try broker.keys.certificate(certificate, of: request.keyring, scope: scope)
            guard let serial = request.privateKey else {
                throw HandshakeFailure(.privateKeyUnreadable, "the request names a certificate but no private key")
            }
            job.privateKey = try broker.keys.privateKey(
                serial, of: request.keyring, scope: scope, into: &broker.secrets)
        }
        return job
    }

    /// The PSKs that a client offers. Keyrings are created by modules, immediately before the first request, so they
    /// are refreshed before a lookup fails.
    private func offers(for handshake: Handshake) throws(HandshakeFailure) -> [KeyStore.Offer] {
        let request = handshake.request, scope = handshake.profile.keyrings
        do throws(HandshakeFailure) {
            return try broker.keys.offers(for: request, scope: scope, into: &broker.secrets)
        } catch {
            broker.secrets.reset()
            broker.reload.refreshKeys()
            return try broker.keys.offers(for: request, scope: scope, into: &broker.secrets)
        }
    }

    // MARK: Messages of workers

    /// Answers a worker that looks up the key of an identity that a peer offered. Permitted for its own server-side PSK
    /// handshakes, and a limited number of times for each.
    ///
    /// - Parameter reply: receives the answer and the buffer that contains the key.
    func lookUp(
        _ lookup: KeyLookup, from worker: WorkerID,
        reply: (KeyAnswer, borrowing SecretBuffer) throws(ChannelFault) -> Void
    ) throws(ChannelFault) {
        let handshake = try table.find(lookup.job, runningOn: worker, for: "a key lookup for")
        let request = handshake.request
        guard request.role == .server, request.authentication == .preSharedKey, request.keyUpdate == nil else {
            throw .brokeProtocol("a key lookup for a handshake without PSKs")
        }
        guard handshake.lookups < MessageLimit.lookups else { throw .brokeProtocol("too many key lookups") }
        handshake.lookups += 1
        defer { broker.keys.forget() }
        var answer = KeyAnswer.unknown
        do throws(HandshakeFailure) {
            if let found = try key(of: lookup.identity, for: handshake) {
                handshake.pskSerials[lookup.identity] = found.serial
                answer = .key(SecretRange(count: found.length))
            }
        } catch {
            answer = .unusable(error.detail)
        }
        if case .key = answer { try broker.pool.note(lookup.identity, givenTo: worker) }
        try reply(answer, broker.keys.buffer)
    }

    /// The key of an identity for a server. Refreshes the keyrings before it reports that there is none.
    private func key(of identity: [UInt8], for handshake: Handshake) throws(HandshakeFailure) -> KeyStore.Found? {
        let keyring = handshake.request.keyring, scope = handshake.profile.keyrings
        if let found = try broker.keys.find(identity, keyring: keyring, scope: scope) { return found }
        // The number of lookups is chosen by peers, and each refresh reads all of /proc/keys.
        guard broker.reload.refreshKeysIfDue() else { return nil }
        return try broker.keys.find(identity, keyring: keyring, scope: scope)
    }

    /// Records that a peer has sent its first byte. Its handshake is no longer the first to be evicted.
    func hear(_ id: UInt64, from worker: WorkerID) throws(ChannelFault) {
        _ = try table.find(id, runningOn: worker, for: "the first byte of")
        admission.noteFirstByte(id)
        for role in Role.allCases { isolated[role]?.noteFirstByte(id) }
    }

    /// Processes a worker's result. The answer may be delayed for debugging.
    func settle(_ id: UInt64, _ result: HandshakeResult, from worker: WorkerID) throws(ChannelFault) {
        if case .failure(let failure) = result.outcome, failure.reason == .signerUnavailable {
            for signer in table[id].map(signers) ?? [] { broker.signer(signer).suspect(by: worker) }
        }
        let isLast = broker.pool.runsSingleHandshake(worker)
        if let ended = try table.finish(
            id, with: result, from: worker, heldBackUntil: heldBackUntil, awaitsExit: isLast)
        {
            finish(ended)
        } else if isLast {
            broker.pool.leave(worker)
        }
    }

    /// Ends the handshake that was the only one of a worker that has ended.
    func conclude(after worker: WorkerID) {
        if let ended = table.exited(worker, heldBackUntil: heldBackUntil) { finish(ended) }
    }

    /// Time until which an answer is delayed, for `[debug]`; `nil` for no delay.
    private var heldBackUntil: UInt64? {
        let delay = settings.debug.delayDone.value
        return delay > .zero ? broker.loop.now + Clock.nanoseconds(of: delay) : nil
    }

    // MARK: Other endings

    /// Ends the handshakes that are due. A worker that exceeded the deadline of one is considered hung.
    private func settleDue(_ now: UInt64) {
        // A result that was sent in time counts even if the broker reads it late.
        for worker in table.overdueWorkers(at: now) { broker.pool.receive(from: worker) }
        let due = table.due(at: now)
        // Determined before the handshakes are answered and removed.
        let suspects = due.overrun.map { (worker: $0, handshake: inHand(of: $0, among: due.ended)) }
        for ended in due.ended { finish(ended) }
        for (worker, suspect) in suspects { broker.pool.dismiss(worker, "it did not end a handshake in time", suspect) }
    }

    /// Ends a handshake with a failure of the broker.
    func fail(_ handshake: Handshake, _ failure: HandshakeFailure) {
        if let ended = table.fail(handshake, failure) { finish(ended) }
    }

    /// Cancels a handshake. A worker that runs it sends the alert and reports the result.
    func cancel(_ handshake: Handshake, _ reason: CancelReason) {
        // Its worker was killed, and the result is about to be told.
        if case .awaitingExit = handshake.state { return }
        guard case .running(let worker) = handshake.state else { return fail(handshake, reason.failure) }
        broker.pool.send(.cancel(job: handshake.id, reason: reason), to: worker)
    }

    /// Cancels all handshakes. Their status tells consumers to try again.
    func cancelAll() {
        for handshake in table.all { cancel(handshake, .shuttingDown) }
    }

    /// Fails all handshakes without the workers, because the loop cannot continue.
    func failAll() {
        for handshake in table.all { fail(handshake, HandshakeFailure(.shuttingDown)) }
    }

    /// Answers at once for all handshakes that only wait for the end of their connections.
    func cutEndingsShort() {
        for end in endings.cutShort() { conclude(end.handshake, end.result) }
        takeovers.releaseAll()
    }

    /// The handshake that a worker is computing, or was computing when it ended, according to the worker.
    func inHand(of worker: WorkerID) -> Handshake? { inHand(of: worker, among: []) }

    private func inHand(of worker: WorkerID, among ended: [HandshakeTable.Ended]) -> Handshake? {
        guard let id = broker.pool.step(of: worker) else { return nil }
        let handshake = table[id] ?? ended.first { $0.handshake.id == id }?.handshake
        return handshake?.worker == worker ? handshake : nil
    }

    /// Handles the end of a worker: handshakes that it had not begun run on other workers, all others fail.
    ///
    /// - Parameters:
    ///   - suspect: the handshake that the worker was computing. It is never run again.
    ///   - spares: true to run handshakes again that the worker had not begun. If it is unknown which handshake ended
    ///     the worker, none is run again.
    func lose(_ worker: WorkerID, _ why: String, _ suspect: Handshake?, spares: Bool) {
        sessions.lose(worker)
        if spares, !broker.lifecycle.isCancelling {
            for handshake in table.running(on: worker) where handshake !== suspect && handshake.canRunAgain {
                rerun(handshake)
            }
        }
        for ended in table.lose(worker, why) { finish(ended) }
    }

    private func rerun(_ handshake: Handshake) {
        table.requeue(handshake)
        admission.restart(handshake.id)
        isolated[handshake.request.role]?.restart(handshake.id)
        revokePermits(of: handshake)
        handshake.prepareRerun()
    }

    /// Penalises the peer of a handshake whose worker was killed.
    func punish(_ handshake: Handshake, for offence: Penalties.Offence) {
        peerPenalties.punish(handshake, for: offence, exempt: settings.limits.penaltyExempt, now: broker.loop.now)
    }

    // MARK: The answer

    /// Handles the end of a handshake in its worker. The kernel is answered at once for a success, and after the end of
    /// the connection for a failure.
    private func finish(_ ended: HandshakeTable.Ended) {
        let handshake = ended.handshake
        admission.leave(handshake.id)
        isolated[handshake.request.role]?.leave(handshake.id)
        broker.pool.noteEnd(on: handshake.worker)
        revokePermits(of: handshake)
        var result = ended.result
        let elapsed = Duration.nanoseconds(Int64(clamping: broker.loop.now - handshake.accepted.acceptedAt))
        // The times in a worker's result are added to statistics and may be false.
        if result.elapsed == .zero || result.elapsed > elapsed { result.elapsed = elapsed }
        result.processorTime = min(result.processorTime, elapsed)
        let outcome = handshake.explainTimeout(handshake.checkConnection(handshake.judge(result)))
        result.outcome = withOwnDetail(outcome, of: handshake)
        noteSession(of: handshake, result)
        // Only known tags are reported: a worker cannot invent any, and removed ones are dropped.
        result.tags = result.tags.filter(broker.tags.names.contains)
        guard case .failure = result.outcome, handshake.needsEnding else { return conclude(handshake, result) }
        let timer = handshake.accepted.acceptedAt + Clock.nanoseconds(of: handshake.request.allowance * 1.05)
        endings.begin(handshake, result, by: timer, now: broker.loop.now)
    }

    /// Sends DONE, then logs the result.
    private func conclude(_ handshake: Handshake, _ result: HandshakeResult) {
        FaultInjection.pause()
        let identity = handshake.remoteIdentity(for: result, marker: broker.keys.marker)
        var result = result
        if let remark = connections.note(handshake, result, now: broker.loop.now) { result.remarks.append(remark) }
        takeovers.begin(handshake, hasFailed: result.status != .success, now: broker.loop.now)
        sendDone(handshake.accepted, result.status, identity, tags: result.tags, through: handshake.upcall)
        noteTags(of: handshake, result)
        let line = LogLine(result, of: handshake.request, with: handshake.peer, profile: handshake.profile.name)
        broker.control.note(line, of: handshake.request, result)
        if isWritten(of: handshake, result) {
            log.result(
                line,
                historic: handshake.request.keyUpdate == nil
                    ? historicLines?.text(succeeded: line.succeeded, with: handshake.peer) : nil)
        }
        peerPenalties.noteCost(of: handshake, result, exempt: settings.limits.penaltyExempt, now: broker.loop.now)
    }

    func sendDone(
        _ accepted: AcceptedHandshake, _ status: Status, _ identity: KeySerial?, tags: [String] = [],
        through upcall: any Upcall
    ) {
        do {
            try upcall.answer(accepted, status: status, remoteIdentity: identity, tags: tags)
        } catch .rejected(_, .ebusy, _) {
            log.info("\(accepted.peerAddress): the consumer had given up before the result came")
        } catch {
            log.error("\(accepted.peerAddress): DONE failed: \(error.description)")
        }
    }

    /// Logs the tags that did not fit into DONE.
    func noteTags(of handshake: Handshake, _ result: HandshakeResult) {
        guard handshake.upcall.takesTags, case .success = result.outcome else { return }
        let leftOut = handshake.accepted.divide(result.tags).leftOut
        guard !leftOut.isEmpty else { return }
        log.notice(
            "\(LogLine.consumer(of: handshake.request)): the kernel was not given these session tags of "
                + "\(LogLine.describe(handshake.peer)): \(leftOut.map(LogLine.printable).joined(separator: " ")): it takes "
                + "\(handshake.accepted.mostTags) of up to \(HandshakeFamily.longestTag) bytes; remedy: let fewer or shorter tags "
                + "match one certificate")
    }

    /// Logs that a connection was shut down after DONE.
    private func report(_ end: Takeovers.ShutDown) {
        let connection =
            "\(LogLine.consumer(of: end.handshake.request)): connection with \(LogLine.describe(end.handshake.peer))"
        switch end.reason {
        case .failed: log.warning("\(connection) shut down: the kernel used it though the handshake had failed")
        case .closedByPeer:
            log.warning(
                "\(connection) shut down: the server closed it before the kernel took it over; remedy: see the server's log "
                    + "for its reason")
        case .ended: log.info("\(connection) has ended right after the handshake")
        }
    }

    /// Returns `true` if the NFS client may still be about to take a connection over.
    func delayEnd(_ now: UInt64) -> Bool { takeovers.delayEnd(now) }

    private var historicLines: HistoricLine? { settings.debug.historicLines.value }

    /// Adds the reason why a role is not configured, which the worker does not know.
    private func withOwnDetail(
        _ outcome: HandshakeResult.Outcome, of handshake: Handshake
    ) -> HandshakeResult.Outcome {
        guard case .failure(let failure) = outcome, failure.reason == .roleNotConfigured,
            let problem = broker.credentials[handshake.owner]?.problem, !problem.isEmpty
        else { return outcome }
        return .failure(HandshakeFailure(.roleNotConfigured, problem))
    }

    /// Returns `true` if the line of a failed handshake is to be logged. Unauthenticated clients can fail at a server
    /// as often as they like.
    private func isWritten(of handshake: Handshake, _ result: HandshakeResult) -> Bool {
        let request = handshake.request
        guard case .failure(let failure) = result.outcome, request.role == .server, request.keyUpdate == nil,
            log.level == 0
        else { return true }
        let sender = FailingPeer(consumer: LogLine.consumer(of: request), peer: handshake.peers)
        return failureThrottle.admits(sender, about: failure.reason.row.explanation, now: broker.loop.now)
    }

    /// Logs the number of lines that were omitted in the last minute.
    func summarise(_ now: UInt64) {
        for summary in failureThrottle.summaries(at: now) {
            let consumer = summary.sender.map { $0.consumer } ?? "servers"
            let peer = summary.sender.map { "with \($0.peer)" } ?? "with other peers"
            log.warning(
                "\(consumer): \(summary.count.counted("more handshake")) \(peer) failed in the last minute, the last: \(summary.last); "
                    + "tlshctl metrics counts them all", .failuresSummarised)
        }
    }

    // MARK: Key updates

    /// Lifetime of a connection's secrets in seconds; 0 if they are not kept.
    private func secondsToKeep(for request: HandshakeRequest) -> UInt32 {
        guard request.wantsSession, broker.kernelTLS.rekeys else { return 0 }
        return UInt32(clamping: settings.listener.keyUpdateLifetime.value)
    }

    /// Processes a request to update the traffic keys of a connection. The worker that made the keys has kept the
    /// secrets. The log line names the peer of the connection's handshake.
    private func take(_ update: KeyUpdate, _ accepted: AcceptedHandshake, from upcall: any Upcall) {
        broker.reload.refreshSettings()
        func enter(_ original: HandshakeRequest) -> Handshake {
            var request = original
            request.keyUpdate = update
            return table.accept(accepted, request, from: upcall, margin: Self.backstopMargin)
        }
        do throws(HandshakeFailure) {
            let session = try find(update, accepted)
            let handshake = enter(session.request)
            handshake.worker = session.worker
            handshake.keepFor = secondsToKeep(for: session.request)
            dispatch(update, of: handshake)
        } catch {
            fail(enter(HandshakeRequest(transport: .listener, role: .client, authentication: .x509)), error)
        }
    }

    private func find(
        _ update: KeyUpdate, _ accepted: AcceptedHandshake
    ) throws(HandshakeFailure) -> SessionTable.Session {
        guard settings.listener.keyUpdateLifetime.value > 0 else {
            throw HandshakeFailure(.keyUpdatesOff, "[listener] key_update_lifetime is 0")
        }
        guard broker.kernelTLS.rekeys else {
            throw HandshakeFailure(.keyUpdatesOff, "this kernel's TLS cannot replace keys")
        }
        return try sessions.find(update.session, socket: try cookie(of: accepted), now: broker.loop.now)
    }

    private func cookie(of accepted: AcceptedHandshake) throws(HandshakeFailure) -> UInt64 {
        try HandshakeFailure.of(.socketUnsupported, try accepted.stream.cookie())
    }

    /// Sends the update to the worker that has the secrets. It waits while that worker's queue is full.
    private func dispatch(_ update: KeyUpdate, of handshake: Handshake) {
        guard let worker = handshake.worker, broker.pool.serves(worker) else {
            return fail(handshake, HandshakeFailure(.sessionUnknown, "the worker that kept them has ended"))
        }
        let job = KeyUpdateJob(
            id: handshake.id, session: update.session.session, steps: update.steps, deadline: handshake.deadline,
            keepFor: handshake.keepFor)
        if broker.pool.offer(job, socket: handshake.accepted.number, to: worker) {
            table.dispatch(handshake, to: worker)
        }
    }

    /// Updates the table of kept secrets before DONE.
    private func noteSession(of handshake: Handshake, _ result: HandshakeResult) {
        let now = broker.loop.now
        // The lifetime that the worker was given: the settings may have changed since.
        let lifetime = Clock.nanoseconds(of: .seconds(Int64(handshake.keepFor)))
        switch (result.outcome, handshake.request.keyUpdate) {
        case (.success, let update?): sessions.renew(update.session.session, until: now + lifetime)
        case (.failure, let update?):
            // A refused update did not reach the worker, which still has the secrets.
            if handshake.worker != nil { sessions.forget(update.session.session) }
        case (.success, nil):
            guard handshake.keepFor > 0, let worker = handshake.worker,
                let socket = try? cookie(of: handshake.accepted)
            else { return }
            let session = SessionTable.Session(
                worker: worker, socket: socket, request: handshake.request, until: now + lifetime)
            handshake.accepted.sessionReference = sessions.keep(handshake.id, session, now: now)
        case (.failure, nil): return
        }
    }

    // MARK: For reports

    /// Penalties in force, and the number of handshakes that they refused.
    func penalties(_ now: UInt64) -> (current: [Penalties.Penalty], refused: Int) {
        (peerPenalties.penalties.current(now), peerPenalties.penalties.refused)
    }
}

/// Key of failures that are summarised together.
private struct FailingPeer: Hashable, Sendable {
    let consumer: String
    let peer: PeerGroup
}
