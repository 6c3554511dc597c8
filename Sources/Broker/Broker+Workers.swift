internal import Glibc
internal import Handshake
internal import Settings
internal import System
internal import Upcall
internal import Wire

extension Broker {
    /// Fills the free places whose time has come.
    func startWorkers(_ now: UInt64) {
        while let id = slots.claim(now: now) {
            do {
                let worker = try WorkerProcess(id: id, program: workerProgram, environment: WorkerProgram.environment())
                workers[id] = worker
                worker.controlSource = try loop.watch(worker.controlNumber) { [unowned self] event in
                    serveControl(of: id, writable: event.isWritable)
                }
                worker.keySource = try loop.watch(worker.keyNumber) { [unowned self] _ in serveLookups(of: id) }
                worker.childSource = try loop.watch(worker.child.number) { [unowned self] _ in bury(id) }
            } catch {
                log.error("a worker cannot be started: \(error.description)", .workerNotStarted)
                if let worker = workers.removeValue(forKey: id) {
                    kill(worker)
                    graves.append(worker)
                }
                slots.free(id, served: false, now: now)
                startAttempts += 1
                continue
            }
            introduce(id)
        }
    }

    /// Tells a new worker what it must know: set-up, then each role's credentials.
    private func introduce(_ id: WorkerID) {
        attempt(id) { worker throws(WorkerFault) in
            try worker.send(.setUp(self.workerSetUp))
            if !self.tags.names.isEmpty { try worker.send(.tags(self.tags.tags)) }
        }
        for set in currentSets where set.isComplete { send(set, to: id) }
        introduceToSigner(id)
    }

    /// Every role's credentials, those in force before those that are to come.
    private var currentSets: [CredentialSet] {
        credentials.sorted { $0.key < $1.key }.flatMap(\.value.currentSets)
    }

    private func send(_ set: CredentialSet, to id: WorkerID) {
        attempt(id) { worker throws(WorkerFault) in
            try worker.send(.credentials(set.message), descriptors: set.descriptors, keeper: set)
        }
    }

    private var workerSetUp: WorkerSetUp {
        WorkerSetUp(
            kernelTLS: kernelTLS, logLevel: UInt8(clamping: log.level),
            libraryLogLevel: UInt8(clamping: configuration.settings.debug.tls.value),
            handshakeBytes: configuration.settings.handshakeBytes.value)
    }

    /// Sends every worker its set-up again, after log levels changed.
    func refreshSetUp() {
        for id in workers.keys {
            attempt(id) { worker throws(WorkerFault) in try worker.send(.setUp(self.workerSetUp)) }
        }
    }

    /// Sends every worker a role's new credentials.
    func distribute(_ set: CredentialSet) {
        for id in workers.keys { send(set, to: id) }
    }

    /// Tells every worker to forget a profile.
    func withdraw(_ profile: ProfileNumber) {
        for role in Role.allCases {
            let gone = credentials.removeValue(forKey: CredentialsOwner(profile, role))
            for set in gone?.sets ?? [] { release(set) }
        }
        for id in workers.keys {
            attempt(id) { worker throws(WorkerFault) in try worker.send(.withdraw(profile: profile)) }
        }
    }

    /// Does something with a worker; a fault ends it. Watches for room in its queue where that was full.
    func attempt(_ id: WorkerID, _ body: (WorkerProcess) throws(WorkerFault) -> Void) {
        guard let worker = workers[id] else { return }
        do {
            try body(worker)
            watch(worker)
        } catch {
            switch error {
            case .gone: abandon(worker)
            case .unsendable: log.error("worker \(worker.child.identifier) goes on without: \(error.description)")
            case .unresponsive, .brokeProtocol, .system: dismiss(id, error.description)
            }
        }
    }

    /// A worker has closed a channel, most likely because it is dying: its pidfd will tell of what, in a moment.
    private func abandon(_ worker: WorkerProcess) {
        worker.isGone = true
        worker.unwatchChannels()
        kill(worker)
    }

    private func kill(_ worker: WorkerProcess) {
        do {
            try worker.child.signal(SIGKILL)
        } catch {
            log.error(error.description)
        }
    }

    func serveControl(of id: WorkerID, writable: Bool) {
        attempt(id) { worker throws(WorkerFault) in
            if writable, worker.isCongested {
                try worker.relieve()
                dispatchWaiting()
            }
            for _ in 0..<Self.messagesPerTurn {
                guard let message = try worker.receive() else { return }
                try handle(message, from: worker)
            }
        }
    }

    /// Messages of one worker, or of the signer, before others get their turn, however fast it sends.
    static let messagesPerTurn = 16

    /// docs/broker-protocol.md, the worker's messages.
    private func handle(_ message: WorkerMessage, from worker: WorkerProcess) throws(WorkerFault) {
        switch message {
        case .ready(let abilities): welcome(worker, abilities)
        case .configured(let verdict):
            guard worker.takeVerdict(verdict) else { throw .brokeProtocol("a verdict that was not asked for") }
            judge(verdict)
        case .result(let job, let result): try settle(job, result, from: worker)
        case .heard(let job): try hear(job, from: worker)
        case .log(let level, let job, let text):
            guard worker.isReady, level > 0 else { throw .brokeProtocol("a log line that nobody asked for") }
            log.debug(label(job) + text, from: Int(level))
        }
    }

    /// A peer has sent its first byte: its handshake is no longer the first to go when there are too many.
    private func hear(_ job: UInt64, from worker: WorkerProcess) throws(WorkerFault) {
        do {
            try table.check(job, belongsTo: worker.id)
        } catch {
            throw .brokeProtocol("word of a peer whose handshake is not its own")
        }
        guard admission.hear(job) else { throw .brokeProtocol("the first byte of a peer twice") }
    }

    private func welcome(_ worker: WorkerProcess, _ abilities: WorkerAbilities) {
        slots.succeeded(worker.id)
        startAttempts = 0
        startProblem = abilities.problem.isEmpty ? nil : abilities.problem
        if !abilities.problem.isEmpty {
            log.error("no handshake can be served: \(abilities.problem)", .cannotServe)
        }
        if unconfined != abilities.unconfined {
            unconfined = abilities.unconfined
            if !unconfined.isEmpty {
                log.notice("workers are less confined than they could be: \(unconfined)", .lessConfined)
            }
        }
        log.debug(
            "worker \(worker.child.identifier): GnuTLS \(abilities.libraryVersion), \(abilities.cipherSuites), "
                + "PSKs with SHA-384 \(abilities.bindsSHA384 ? "work" : "do not work")")
        dispatchWaiting()
    }

    private func judge(_ verdict: CredentialsVerdict) {
        guard let line = credentials[verdict.owner]?.judge(verdict) else { return }
        let event = credentials[verdict.owner]?.inForce == nil ? nil : LogEvent.credentialsInForce
        if line.isError {
            log.error(line.text, .credentialsRefused)
        } else if verdict.isWarning {
            log.warning(line.text, event)
        } else {
            log.info(line.text, event)
        }
        if let warning = credentials[verdict.owner]?.takeWarning() { log.warning(warning) }
        for set in line.replaced { release(set) }
        dispatchWaiting()
    }

    private func watch(_ worker: WorkerProcess) {
        do {
            try worker.watch()
        } catch {
            log.error(error.description)
        }
    }

    /// Kills a worker that cannot be used any longer; its end is told by its pidfd.
    ///
    /// - Parameter suspect: the handshake that made it so, where one did.
    func dismiss(_ id: WorkerID, _ why: String, _ suspect: Job? = nil) {
        guard let worker = workers[id] else { return }
        log.error("worker \(worker.child.identifier) is killed: \(why)\(Self.blame(suspect))", .workerEnded)
        kill(worker)
        if let suspect { punish(suspect, for: .workerKilled) }
        remove(worker, "was killed: \(why)", suspect, spares: suspect != nil)
    }

    private static func blame(_ suspect: Job?) -> String {
        suspect.map { "; it was at the handshake with \(LogLine.describe($0.peer))" } ?? ""
    }

    /// A worker has ended: answers what it ran, and frees its place.
    func bury(_ id: WorkerID) {
        guard let worker = workers[id] else { return reap() }
        guard let end = end(of: worker.child) else { return }
        hearOut(worker)
        relayOutput(of: worker, isLast: true)
        let inHand = jobInHand(of: id)
        log.error(
            "worker \(worker.child.identifier) \(end.text)\(Self.blame(end.isFault ? inHand : nil))", .workerEnded)
        if end.isFault, let inHand { punish(inHand, for: .workerKilled) }
        remove(worker, end.text, inHand, spares: inHand != nil || !end.isFault)
    }

    /// Takes what a worker that has ended had sent before: of what it finished, consumers shall hear how it went.
    private func hearOut(_ worker: WorkerProcess) {
        worker.isGone = true
        do throws(WorkerFault) {
            while let message = try worker.receive() { try handle(message, from: worker) }
        } catch {
            // Its channel has nothing more, or nothing that counts.
        }
    }

    /// - Parameters:
    ///   - inHand: the handshake that it computed for, which is not tried again, whatever ended the worker.
    ///   - spares: whether another worker runs what this one had not begun with. Where nobody knows which of its
    ///     handshakes made it end, none is tried again.
    private func remove(_ worker: WorkerProcess, _ text: String, _ inHand: Job?, spares: Bool) {
        let now = Clock.monotonicNanoseconds()
        worker.unwatchChannels()
        workers[worker.id] = nil
        sessions.lose(worker.id)
        startAttempts += worker.isReady ? 0 : 1
        let vacancy = slots.free(worker.id, served: worker.isReady, now: now)
        deaths += 1
        if vacancy.youngDeaths > WorkerSlots.forgiven {
            log.error(
                "\(vacancy.youngDeaths) workers in a row died young, \(deaths) since the start: someone may send what kills them; the "
                    + "next starts in \(vacancy.pause / 1_000_000) ms, others go on; remedy: update GnuTLS, see the lines above",
                .workersDieYoung)
        }
        if spares { rerunUntouched(of: worker.id, but: inHand) }
        for answer in table.lose(worker.id, "worker \(worker.child.identifier) \(text)") { finish(answer) }
        graves.append(worker)
        reap()
        startWorkers(now)
        dispatchWaiting()
    }

    /// How a child of ours has ended; `nil` while it has not.
    func end(of child: borrowing ChildProcess) -> (text: String, isFault: Bool)? {
        do {
            guard let end = try child.reapIfEnded() else { return nil }
            let cause = end == .killed(signal: SIGSYS) ? ", for a system call that its sandbox forbids" : ""
            return (end.description + cause, end.isFault)
        } catch {
            log.error(error.description)
            return ("ended", false)
        }
    }

    /// Collects the exit statuses of killed workers and signers, so that none stays behind as a zombie. The loop
    /// tells when they have ended.
    func reap() {
        graves.removeAll { isGone($0.child, $0.childSource) }
        signerGraves.removeAll { isGone($0.child, $0.childSource) }
    }

    private func isGone(_ child: borrowing ChildProcess, _ source: BrokerSource?) -> Bool {
        do {
            guard try child.reapIfEnded() != nil else { return false }
        } catch {
            // It has been waited for already.
        }
        source?.cancel()
        return true
    }

    /// Answers what is not answered yet. Closes the channels of workers and signer and waits a moment for their end, so
    /// that none is left where the service manager looks; then kills those that hang.
    func endProcesses() {
        for one in endings.cutShort() { conclude(one.job, one.result) }
        graves += workers.values
        workers = [:]
        for worker in graves { worker.hangUp() }
        endSigner()
        awaitGraves()
        for worker in graves { try? worker.child.signal(SIGKILL) }
        for process in signerGraves { try? process.child.signal(SIGKILL) }
        awaitGraves()
    }

    private func awaitGraves() {
        let until = Clock.monotonicNanoseconds() + 500_000_000
        while !(graves.isEmpty && signerGraves.isEmpty), Clock.monotonicNanoseconds() < until {
            reap()
            // Their ends wake it.
            loop.waitIdly(atMost: 10_000_000)
        }
    }

    private func label(_ job: UInt64) -> String {
        jobs[job].map { "\($0.accepted.peerAddress): " } ?? ""
    }
}
