internal import Handshake
internal import KernelWire
internal import Keyrings
internal import Policy
internal import Settings
internal import System
internal import Unconfined
internal import Upcall
internal import Wire

/// The life of a handshake in the broker, from the request that ACCEPT brought to the answer that DONE takes:
///
///     take -> dispatch -> (a worker runs it) -> settle -> finish -> [its connection ends] -> conclude
///
/// Whatever happens meanwhile (time runs out, a worker dies, the daemon stops), each comes to `finish` once
/// (`HandshakeTable`) and from there to `conclude`.
final class Handshakes {
    private(set) var table = HandshakeTable()
    private(set) var admission = Admission()
    /// Failed handshakes whose kernel is not yet told.
    private var endings = Endings()
    /// Connections of the NFS client that the kernel has not taken over yet.
    private var takeovers = Takeovers()
    var sessions: SessionTable
    let connections: ConnectionHistory
    /// All were cancelled, and none is run again.
    private var isGivingUp = false
    private let offenders: Offenders
    /// Lines about handshakes that strangers let fail at our servers.
    private var strangers = LogThrottle<FailingPeer>(most: 20, mostInAll: 200)

    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }
    private var settings: DaemonSettings { broker.configuration.settings }

    /// How much longer than the worker the broker waits, in nanoseconds.
    private static let backstopMargin: UInt64 = 250_000_000

    init(_ broker: Broker, keptSessions: Int) {
        self.broker = broker
        sessions = SessionTable(instance: .random(in: 1...(.max)), limit: keptSessions)
        connections = ConnectionHistory(log: broker.log)
        offenders = Offenders(log: broker.log)
    }

    /// Whether every request that was taken is answered.
    var isIdle: Bool { table.isEmpty && endings.isEmpty }

    /// Adds what is due by the clock to the loop.
    func addSchedules(to loop: EventLoop<StartFailure>) {
        loop.schedule({ [unowned self] in table.nextDue }) { [unowned self] now in settleDue(now) }
        loop.schedule({ [unowned self] in endings.nextLook }) { [unowned self] now in
            for end in endings.look(now) { conclude(end.handshake, end.result) }
        }
        loop.schedule({ [unowned self] in takeovers.nextLook }) { [unowned self] now in
            for end in takeovers.look(now) { report(end) }
        }
        loop.schedule({ [unowned self] in strangers.nextDue }) { [unowned self] now in summarise(now) }
    }

    // MARK: A request

    /// A request that the kernel has handed over.
    ///
    /// - Parameter keyring: the consumer's, as this thread got it with ACCEPT.
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
            try offenders.check(handshake, now: broker.loop.now)
            try admit(handshake)
            dispatch(handshake)
        } catch {
            fail(handshake, error)
        }
    }

    /// Sees to it that not too many handshakes are under way: others go, or this one is refused.
    private func admit(_ handshake: Handshake) throws(HandshakeFailure) {
        let limits = settings.limits
        let decision = admission.admit(
            handshake.id, peer: handshake.peers, namespace: handshake.request.namespace, limits: limits,
            now: broker.loop.now)
        for loser in decision.evicted.compactMap({ table[$0] }) { cancel(loser, .overloaded) }
        guard let bound = decision.refusal else { return }
        let reached =
            switch bound {
            case .peer: "\(limits.perPeer) with this peer"
            case .namespace: "\(limits.perNamespace) in its network namespace"
            case .total: "\(limits.total)"
            }
        throw HandshakeFailure(.overloaded, "\(reached), [limits] \(bound.rawValue)")
    }

    /// Answers what is no request that could be served or described.
    private func refuse(_ accepted: AcceptedHandshake, _ failure: HandshakeFailure, from upcall: any Upcall) {
        let connection = accepted.stream
        connection.shutDownSending()
        _ = connection.discard(Endings.mostBytes)
        log.result(
            LogLine(refused: failure, of: accepted.peerAddress),
            historic: historicLines == nil ? nil : HistoricLine.refused)
        tellKernel(accepted, failure.reason.row.status, nil, through: upcall)
    }

    // MARK: To a worker

    /// Hands those that found no worker to the workers that there are now.
    func dispatchWaiting() {
        for handshake in table.waiting { dispatch(handshake) }
    }

    /// Those that wait for a worker although one takes handshakes.
    var neglected: [UInt64] {
        table.waiting.filter { handshake in
            guard case .waiting(let lack) = handshake.state, handshake.request.keyUpdate == nil else { return false }
            return [.noWorkerReady, .overloaded].contains(lack.reason) && !broker.pool.free.isEmpty
        }.map(\.id)
    }

    /// Hands a handshake to the least loaded worker that takes it; without one it waits.
    private func dispatch(_ handshake: Handshake) {
        if let update = handshake.request.keyUpdate { return dispatch(update, of: handshake) }
        // A worker that refuses it has a full queue or has just ended, and is not chosen again.
        while case .waiting = handshake.state {
            guard let worker = chooseWorker(for: handshake) else {
                let lack =
                    broker.pool.hasReadyWorker
                    ? HandshakeFailure(.overloaded, "all workers' queues are full") : .init(.noWorkerReady)
                return table.note(handshake, waitsFor: lack)
            }
            if let lack = lackingKey(handshake) { return table.note(handshake, waitsFor: lack) }
            if offer(handshake, to: worker) { return }
        }
    }

    /// Prepares a handshake for a worker, and hands it over.
    ///
    /// - Returns: `false` if the worker does not take it.
    private func offer(_ handshake: Handshake, to worker: WorkerID) -> Bool {
        defer { broker.secrets.reset() }
        do {
            var job = try prepare(handshake)
            try hold(&job, of: handshake, for: worker)
            guard try broker.pool.offer(job, socket: handshake.accepted.number, to: worker) else { return false }
            table.dispatch(handshake, to: worker)
            handshake.worker = worker
        } catch {
            fail(handshake, error)
        }
        return true
    }

    /// The least loaded worker. Handshakes with a key on a token all go to the newest, and others to it only while it
    /// has none of those: it waits with all that it runs while the token signs, which does one thing at a time anyway.
    private func chooseWorker(for handshake: Handshake) -> WorkerID? {
        let free = broker.pool.free
        let slow = broker.signer.opensTokens ? free.max { $0.number < $1.number } : nil
        if let slow, usesToken(handshake) { return slow }
        let isWaiting = slow.map { table.running(on: $0).contains(where: usesToken) } == true
        func cost(_ worker: WorkerID) -> (Int, Int, Int) {
            (isWaiting && worker == slow ? 1 : 0, table.load(of: worker), worker.number)
        }
        return free.min { cost($0) < cost($1) }
    }

    private func usesToken(_ handshake: Handshake) -> Bool {
        handshake.request.authentication == .x509
            && broker.credentials[owner(of: handshake)]?.usesTokens == true
    }

    private func owner(of handshake: Handshake) -> CredentialsOwner {
        CredentialsOwner(handshake.profile.number, handshake.request.role)
    }

    /// Why a handshake must wait for its credentials: files are still being read for the first time, keys are still
    /// being opened, the signer may be hung, or there is none yet to hold the key that the request brings; `nil` where
    /// it need not wait.
    private func lackingKey(_ handshake: Handshake) -> HandshakeFailure? {
        let request = handshake.request
        guard request.authentication != .preSharedKey else { return nil }
        let state = broker.credentials[owner(of: handshake)]
        if state?.awaitsFiles == true {
            return HandshakeFailure(.roleNotConfigured, "the role's files did not answer in time")
        }
        guard request.authentication == .x509 else { return nil }
        if request.certificate != nil {
            broker.signer.demand()
            // One that keeps dying is not waited for.
            if broker.signer.isStarting { return HandshakeFailure(.signerUnavailable, "it did not start in time") }
        }
        if state?.awaitsSigner == true {
            return HandshakeFailure(.signerUnavailable, "it did not open the role's keys in time")
        }
        guard request.certificate != nil || state?.inForce?.keys != nil else { return nil }
        return broker.signer.lack
    }

    /// Gives the private key that a request named to the signer instead of the worker.
    private func hold(
        _ job: inout HandshakeJob, of handshake: Handshake, for worker: WorkerID
    ) throws(HandshakeFailure) {
        guard job.privateKey.count > 0 else { return }
        let key = job.privateKey
        job.privateKey = SecretRange()
        guard broker.signer.hold(job.id, for: worker, key) else {
            throw HandshakeFailure(.signerUnavailable, "it takes no key now")
        }
        handshake.heldKey = true
    }

    /// Makes the worker's job, with the keys that the request names, read this moment: PSKs are never kept.
    private func prepare(_ handshake: Handshake) throws(HandshakeFailure) -> HandshakeJob {
        let request = handshake.request
        guard let settings = broker.credentials.settings(of: owner(of: handshake)) else {
            throw HandshakeFailure(.noProfile, "profile \(handshake.profile.name ?? "") has gone from the settings")
        }
        var job = HandshakeJob(
            id: handshake.id, transport: request.transport, profile: handshake.profile.number, role: request.role,
            authentication: request.authentication, deadline: handshake.deadline, peerName: request.peerName,
            priorities: request.priorities, limits: settings.limits)
        job.keepFor = secondsToKeep(for: request)
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

    /// The PSKs that a client offers. Keyrings come with modules, and the first request right behind: before one fails,
    /// they are looked at.
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

    // MARK: What workers say

    /// A worker asks for the key of the identity that a peer has offered: allowed for its own server-side PSK
    /// handshakes, a few times each.
    ///
    /// - Parameter reply: gets the answer and the buffer that holds the key.
    func lookUp(
        _ lookup: KeyLookup, from worker: WorkerID,
        reply: (KeyAnswer, borrowing SecretBuffer) throws(ChannelFault) -> Void
    ) throws(ChannelFault) {
        let handshake = try find(lookup.job, runningOn: worker, or: "a key lookup for a handshake that is not its own")
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
        try reply(answer, broker.keys.buffer)
    }

    /// The key of an identity, for a server; looks at the keyrings before it says that there is none.
    private func key(of identity: [UInt8], for handshake: Handshake) throws(HandshakeFailure) -> KeyStore.Found? {
        let keyring = handshake.request.keyring, scope = handshake.profile.keyrings
        if let found = try broker.keys.find(identity, keyring: keyring, scope: scope) { return found }
        // Strangers choose how many identities are looked up, and a look reads the whole of /proc/keys.
        guard broker.reload.refreshKeysIfDue() else { return nil }
        return try broker.keys.find(identity, keyring: keyring, scope: scope)
    }

    /// A peer has sent its first byte: its handshake is no longer the first to go when there are too many.
    func hear(_ id: UInt64, from worker: WorkerID) throws(ChannelFault) {
        _ = try find(id, runningOn: worker, or: "word of a peer whose handshake is not its own")
        admission.noteFirstByte(id)
    }

    private func find(
        _ id: UInt64, runningOn worker: WorkerID, or violation: String
    ) throws(ChannelFault) -> Handshake {
        do {
            return try table.find(id, runningOn: worker)
        } catch {
            throw .brokeProtocol(violation)
        }
    }

    /// A worker's result, which may be held back for debugging.
    func settle(_ id: UInt64, _ result: HandshakeResult, from worker: WorkerID) throws(ChannelFault) {
        let delay = settings.debug.delayDone.value
        let until = delay > .zero ? broker.loop.now + Clock.nanoseconds(of: delay) : nil
        if case .failure(let failure) = result.outcome, failure.reason == .signerUnavailable {
            broker.signer.suspect(by: worker)
        }
        do {
            if let ended = try table.finish(id, with: result, from: worker, heldBackUntil: until) { finish(ended) }
        } catch {
            throw .brokeProtocol("a result for a handshake that is not its own")
        }
    }

    // MARK: What ends it otherwise

    /// Ends what is due by the clock; a worker that overran it is hung.
    private func settleDue(_ now: UInt64) {
        // What a worker has sent in time counts, though the broker was late to read it.
        for worker in table.overdueWorkers(at: now) { broker.pool.receive(from: worker) }
        let due = table.due(at: now)
        // Before that handshake is answered, and forgotten.
        let suspects = due.overrun.map { (worker: $0, handshake: inHand(of: $0, among: due.ended)) }
        for ended in due.ended { finish(ended) }
        for (worker, suspect) in suspects { broker.pool.dismiss(worker, "it did not end a handshake in time", suspect) }
    }

    /// Ends a handshake on our own account.
    func fail(_ handshake: Handshake, _ failure: HandshakeFailure) {
        if let ended = table.fail(handshake, failure) { finish(ended) }
    }

    /// Gives a handshake up; a worker that runs it tells the peer and reports.
    func cancel(_ handshake: Handshake, _ reason: CancelReason) {
        guard case .running(let worker) = handshake.state else { return fail(handshake, reason.failure) }
        broker.pool.send(.cancel(job: handshake.id, reason: reason), to: worker)
    }

    /// Ends what is still under way; consumers are told to try again.
    func cancelAll() {
        isGivingUp = true
        for handshake in table.all { cancel(handshake, .shuttingDown) }
    }

    /// The same without the workers' help, as the loop cannot go on.
    func failAll() {
        for handshake in table.all { fail(handshake, HandshakeFailure(.shuttingDown)) }
    }

    /// Answers at once what is only waiting for its connection to end.
    func cutEndingsShort() {
        for end in endings.cutShort() { conclude(end.handshake, end.result) }
        takeovers.releaseAll()
    }

    /// The handshake that a worker computes for at this moment, or did when it ended. It is the worker's word.
    func inHand(of worker: WorkerID) -> Handshake? { inHand(of: worker, among: []) }

    private func inHand(of worker: WorkerID, among ended: [HandshakeTable.Ended]) -> Handshake? {
        guard let id = broker.pool.step(of: worker) else { return nil }
        let handshake = table[id] ?? ended.first { $0.handshake.id == id }?.handshake
        return handshake?.worker == worker ? handshake : nil
    }

    /// A worker has ended: others run what it had not begun with, the rest is answered.
    ///
    /// - Parameters:
    ///   - suspect: the handshake that it computed for, which is not tried again, whatever ended the worker.
    ///   - spares: whether another worker runs what this one had not begun with. Where nobody knows which of its
    ///     handshakes made it end, none is tried again.
    func lose(_ worker: WorkerID, _ why: String, _ suspect: Handshake?, spares: Bool) {
        sessions.lose(worker)
        if spares, !isGivingUp {
            for handshake in table.running(on: worker) where handshake !== suspect && handshake.canRunAgain {
                rerun(handshake)
            }
        }
        for ended in table.lose(worker, why) { finish(ended) }
    }

    private func rerun(_ handshake: Handshake) {
        table.requeue(handshake)
        admission.restart(handshake.id)
        if handshake.heldKey { broker.signer.forget(handshake.id) }
        handshake.prepareRerun()
    }

    /// A worker has been killed while it computed for this handshake.
    func punish(_ handshake: Handshake, for offence: Penalties.Offence) {
        offenders.punish(handshake, for: offence, exempt: settings.limits.penaltyExempt, now: broker.loop.now)
    }

    // MARK: The answer

    /// A handshake is over for its worker. The kernel is told of a success at once, and of a failure when its
    /// connection has ended.
    private func finish(_ ended: HandshakeTable.Ended) {
        let handshake = ended.handshake
        admission.leave(handshake.id)
        if handshake.heldKey { broker.signer.forget(handshake.id) }
        var result = ended.result
        let elapsed = Duration.nanoseconds(Int64(clamping: broker.loop.now - handshake.accepted.acceptedAt))
        // What a worker says is summed up, and may be made up.
        if result.elapsed == .zero || result.elapsed > elapsed { result.elapsed = elapsed }
        result.processorTime = min(result.processorTime, elapsed)
        result.outcome = withOwnDetail(handshake.checkConnection(handshake.judge(result)), of: handshake)
        noteSession(of: handshake, result)
        // A worker cannot make any up, and those that are no more are told to nobody.
        result.tags = result.tags.filter(broker.tags.names.contains)
        guard case .failure = result.outcome, handshake.needsEnding else { return conclude(handshake, result) }
        let timer = handshake.accepted.acceptedAt + Clock.nanoseconds(of: handshake.request.allowance * 1.05)
        endings.begin(handshake, result, by: timer, now: broker.loop.now)
    }

    /// Tells the kernel, then the log.
    private func conclude(_ handshake: Handshake, _ result: HandshakeResult) {
        FaultInjection.pause()
        let identity = handshake.remoteIdentity(for: result, marker: broker.keys.marker)
        var result = result
        if let remark = connections.note(handshake, result, now: broker.loop.now) { result.remarks.append(remark) }
        takeovers.begin(handshake, hasFailed: result.status != .success, now: broker.loop.now)
        tellKernel(handshake.accepted, result.status, identity, tags: result.tags, through: handshake.upcall)
        noteTags(of: handshake, result)
        let line = LogLine(result, of: handshake.request, with: handshake.peer, profile: handshake.profile.name)
        broker.control.note(line, of: handshake.request, result)
        if isWritten(of: handshake, result) {
            log.result(
                line,
                historic: handshake.request.keyUpdate == nil
                    ? historicLines?.text(succeeded: line.succeeded, with: handshake.peer) : nil)
        }
        offenders.noteCost(of: handshake, result, exempt: settings.limits.penaltyExempt, now: broker.loop.now)
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

    /// Says which tags the kernel was not told, where it takes any.
    func noteTags(of handshake: Handshake, _ result: HandshakeResult) {
        guard handshake.upcall.takesTags, case .success = result.outcome else { return }
        let leftOut = handshake.accepted.divide(result.tags).leftOut
        guard !leftOut.isEmpty else { return }
        log.notice(
            "\(LogLine.consumer(of: handshake.request)): of the session tags of \(LogLine.describe(handshake.peer)) the kernel is not told "
                + "\(leftOut.map(LogLine.printable).joined(separator: " ")): it takes \(handshake.accepted.mostTags) of up to "
                + "\(HandshakeFamily.longestTag) bytes; remedy: let fewer or shorter tags fit one certificate")
    }

    /// Says that a connection was shut down after the kernel had been answered.
    private func report(_ end: Takeovers.ShutDown) {
        let connection =
            "\(LogLine.consumer(of: end.handshake.request)): connection with \(LogLine.describe(end.handshake.peer))"
        log.warning(
            end.hasFailed
                ? "\(connection) shut down: the kernel used it though the handshake had failed"
                : "\(connection) shut down: it had ended before the kernel took it over; remedy: see the peer's log for its "
                    + "reason")
    }

    private var historicLines: HistoricLine? { settings.debug.historicLines.value }

    /// The worker knows that a role is not configured, the broker knows why.
    private func withOwnDetail(
        _ outcome: HandshakeResult.Outcome, of handshake: Handshake
    ) -> HandshakeResult.Outcome {
        guard case .failure(let failure) = outcome, failure.reason == .roleNotConfigured,
            let problem = broker.credentials[owner(of: handshake)]?.problem, !problem.isEmpty
        else { return outcome }
        return .failure(HandshakeFailure(.roleNotConfigured, problem))
    }

    /// Whether the line of a failed handshake is to be written. Strangers can fail at a server as often as they like.
    private func isWritten(of handshake: Handshake, _ result: HandshakeResult) -> Bool {
        let request = handshake.request
        guard case .failure(let failure) = result.outcome, request.role == .server, request.keyUpdate == nil,
            log.level == 0
        else { return true }
        let sender = FailingPeer(consumer: LogLine.consumer(of: request), peer: handshake.peers)
        return strangers.admits(sender, about: failure.reason.row.explanation, now: broker.loop.now)
    }

    /// Says how many lines were left out in a minute that is over.
    func summarise(_ now: UInt64) {
        for summary in strangers.summaries(at: now) {
            let consumer = summary.sender.map { $0.consumer } ?? "servers"
            let peer = summary.sender.map { "with \($0.peer)" } ?? "with other peers"
            log.warning(
                "\(consumer): \(summary.count) more handshakes \(peer) failed in the last minute, the last: \(summary.last); "
                    + "tlshctl metrics counts them all", .failuresSummarised)
        }
    }

    // MARK: Key updates

    /// Seconds for which a connection's secrets are to be kept.
    private func secondsToKeep(for request: HandshakeRequest) -> UInt32 {
        guard request.wantsSession, broker.kernelTLS.rekeys else { return 0 }
        return UInt32(clamping: settings.listener.keyUpdateLifetime.value)
    }

    /// A consumer's request to update the traffic keys of a connection: it goes to the worker that made them and kept
    /// the secrets, in the name of the connection's handshake.
    private func take(_ update: KeyUpdate, _ accepted: AcceptedHandshake, from upcall: any Upcall) {
        broker.reload.refreshSettings()
        func enter(_ shaken: HandshakeRequest) -> Handshake {
            var request = shaken
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
        do throws(SystemError) {
            return try accepted.stream.cookie()
        } catch {
            throw HandshakeFailure(.socketUnsupported, error.description)
        }
    }

    /// Hands it to the one worker that can do it; while its queue is full, it waits.
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

    /// Before the kernel is answered: notes whose secrets are kept from now on, or longer, or no more.
    private func noteSession(of handshake: Handshake, _ result: HandshakeResult) {
        let now = broker.loop.now
        // What the worker was told: the settings may have changed since.
        let lifetime = Clock.nanoseconds(of: .seconds(Int64(handshake.keepFor)))
        switch (result.outcome, handshake.request.keyUpdate) {
        case (.success, let update?): sessions.renew(update.session.session, until: now + lifetime)
        case (.failure, let update?):
            // What was refused here was not even begun.
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

    /// Penalties in force, and how many handshakes they have kept out.
    func penalties(_ now: UInt64) -> (current: [Penalties.Penalty], refused: Int) {
        (offenders.penalties.current(now), offenders.penalties.refused)
    }
}

/// Whose failures are summed up together.
private struct FailingPeer: Hashable, Sendable {
    let consumer: String
    let peer: PeerGroup
}
