internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import Upcall
internal import Wire

/// The workers: starts them, tells them what they must know, takes what they say, and replaces those that end.
final class WorkerPool {
    private(set) var workers: [WorkerID: WorkerProcess] = [:]
    private(set) var slots: WorkerSlots
    /// What the workers' sandbox lacks on this kernel, said once.
    private(set) var unconfined = ""
    /// Workers that died or were killed since the start.
    private(set) var deaths = 0
    /// Workers that died before they were ready, in a row.
    private(set) var startAttempts = 0
    /// Why the workers' library can serve nothing at all, such as a crypto policy that forbids everything.
    var startProblem: String?

    private let program: String
    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    /// Messages of one worker, or of the signer, before others get their turn, however fast it sends.
    static let messagesPerTurn = 16

    init(_ broker: Broker, program: String, slots: WorkerSlots) {
        self.broker = broker
        self.program = program
        self.slots = slots
    }

    func addSchedules(to loop: EventLoop<StartFailure>) {
        loop.schedule({ [unowned self] in slots.nextStart }) { [unowned self] now in start(now) }
    }

    // MARK: Which there are

    var hasReadyWorker: Bool { workers.values.contains { serves($0) } }

    /// Those that take handshakes now.
    var free: [WorkerID] { workers.values.filter { serves($0) && !$0.isCongested }.map(\.id) }

    /// Whether a worker is ready and has not ended.
    func serves(_ id: WorkerID) -> Bool { workers[id].map(serves) == true }

    private func serves(_ worker: WorkerProcess) -> Bool { worker.isReady && !worker.isGone }

    /// The handshake that a worker says it computes for; 0 for none.
    func step(of id: WorkerID) -> UInt64? { workers[id]?.step.job }

    var processes: [Int32] { workers.values.map { $0.process.identifier } }

    /// Writes to the log what they have written to their standard error.
    func relayOutputs() {
        for worker in workers.values { broker.outputs.relay(worker.process) }
    }

    // MARK: Start

    /// Fills the free places whose time has come.
    func start(_ now: UInt64) {
        while let id = slots.claim(now: now) {
            do {
                let worker = try WorkerProcess(
                    id: id, program: program, environment: WorkerProgram.environment(),
                    starter: broker.surroundings.programs)
                workers[id] = worker
                try watch(worker)
            } catch {
                log.error("a worker cannot be started: \(error.description)", .workerNotStarted)
                if let worker = workers.removeValue(forKey: id) {
                    worker.process.kill()
                    broker.reaper.add(worker.process)
                }
                slots.free(id, served: false, now: now)
                startAttempts += 1
                continue
            }
            introduce(id)
        }
    }

    private func watch(_ worker: WorkerProcess) throws(SystemError) {
        let id = worker.id
        worker.controlSource = try broker.loop.watch(worker.controlNumber) { [unowned self] event in
            receive(from: id, writable: event.isWritable)
        }
        worker.keySource = try broker.loop.watch(worker.keyNumber) { [unowned self] _ in receiveLookups(from: id) }
        try worker.process.watch(broker.loop) { [unowned self] in childChanged(id) }
    }

    /// Tells a new worker what it must know: set-up, then each role's credentials.
    private func introduce(_ id: WorkerID) {
        send(.setUp(setUp), to: id)
        if !broker.tags.names.isEmpty { send(.tags(broker.tags.tags), to: id) }
        for set in broker.credentials.currentSets where set.isComplete { send(set, to: id) }
        broker.signer.introduce(id)
    }

    private var setUp: WorkerSetUp {
        let settings = broker.configuration.settings
        return WorkerSetUp(
            kernelTLS: broker.kernelTLS, logLevel: UInt8(clamping: log.level),
            libraryLogLevel: UInt8(clamping: settings.debug.tls.value), handshakeBytes: settings.handshakeBytes.value)
    }

    // MARK: What they are told

    func send(_ message: BrokerMessage, to id: WorkerID) {
        attempt(id) { worker throws(ChannelFault) in try worker.send(message) }
    }

    private func send(_ set: CredentialSet, to id: WorkerID) {
        attempt(id) { worker throws(ChannelFault) in
            try worker.send(.credentials(set.message), descriptors: set.descriptors, keeper: set)
        }
    }

    /// Sends every worker a message, in no order.
    func sendAll(_ message: BrokerMessage) {
        for id in workers.keys { send(message, to: id) }
    }

    /// Sends every worker its set-up again, after log levels changed.
    func refreshSetUp() { sendAll(.setUp(setUp)) }

    /// Sends every worker a role's new credentials.
    func distribute(_ set: CredentialSet) {
        for id in workers.keys { send(set, to: id) }
    }

    /// Gives a worker its channel to the signer.
    func connectToSigner(_ id: WorkerID, _ ends: ChannelEnds) {
        attempt(id) { worker throws(ChannelFault) in
            try worker.send(.signer, descriptors: [ends.workers], keeper: ends)
        }
    }

    /// Hands a handshake to a worker.
    ///
    /// - Returns: `false` while its queue is full.
    /// - Throws: what is wrong with the request, where it fits into no message.
    func offer(_ job: HandshakeJob, socket: Int32, to id: WorkerID) throws(HandshakeFailure) -> Bool {
        var problem: WireError?
        var isSent = false
        attempt(id) { worker throws(ChannelFault) in
            do throws(ChannelFault) {
                isSent = try worker.offer(job, socket: socket, secrets: broker.secrets)
            } catch .unsendable(let error) {
                // The request's fault, not the worker's.
                problem = error
            }
        }
        if let problem { throw HandshakeFailure(.requestMalformed, problem.description) }
        return isSent
    }

    /// The same for a key update.
    func offer(_ job: KeyUpdateJob, socket: Int32, to id: WorkerID) -> Bool {
        var isSent = false
        attempt(id) { worker throws(ChannelFault) in isSent = try worker.offer(job, socket: socket) }
        return isSent
    }

    /// Does something with a worker; a fault ends it. Watches for room in its queue where that was full.
    private func attempt(_ id: WorkerID, _ body: (WorkerProcess) throws(ChannelFault) -> Void) {
        guard let worker = workers[id] else { return }
        do {
            try body(worker)
            do throws(SystemError) {
                try worker.watch()
            } catch {
                log.error(error.description)
            }
        } catch {
            switch error {
            case .gone: abandon(worker)
            case .unsendable: log.error("\(worker.process.label) goes on without: \(error.description)")
            case .unresponsive, .brokeProtocol, .system: dismiss(id, error.description)
            }
        }
    }

    // MARK: What they say

    func receive(from id: WorkerID, writable: Bool = false) {
        attempt(id) { worker throws(ChannelFault) in
            if writable, worker.isCongested {
                try worker.relieve()
                broker.handshakes.dispatchWaiting()
            }
            for _ in 0..<Self.messagesPerTurn {
                guard let message = try worker.receive() else { return }
                try handle(message, from: worker)
            }
        }
    }

    /// docs/broker-protocol.md, the worker's messages.
    private func handle(_ message: WorkerMessage, from worker: WorkerProcess) throws(ChannelFault) {
        switch message {
        case .ready(let abilities): welcome(worker, abilities)
        case .configured(let verdict): broker.credentials.judge(verdict)
        case .result(let job, let result): try broker.handshakes.settle(job, result, from: worker.id)
        case .heard(let job): try broker.handshakes.hear(job, from: worker.id)
        case .log(let level, let job, let text):
            let label = broker.handshakes.table[job].map { "\($0.accepted.peerAddress): " } ?? ""
            log.debug(label + text, from: Int(level))
        }
    }

    /// Answers a worker's questions for PSKs.
    func receiveLookups(from id: WorkerID) {
        attempt(id) { worker throws(ChannelFault) in
            while let lookup = try worker.receiveLookup() {
                try broker.handshakes.lookUp(lookup, from: id) { (answer, key) throws(ChannelFault) in
                    try worker.answer(answer, key: key)
                }
            }
        }
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
            "\(worker.process.label): GnuTLS \(abilities.libraryVersion), \(abilities.cipherSuites), "
                + "PSKs with SHA-384 \(abilities.bindsSHA384 ? "work" : "do not work")")
        broker.handshakes.dispatchWaiting()
    }

    // MARK: Their end

    /// A worker has closed a channel, most likely because it is dying; its pidfd will report the exit status.
    private func abandon(_ worker: WorkerProcess) {
        worker.isGone = true
        worker.unwatchChannels()
        worker.process.kill()
    }

    /// Kills a worker that cannot be used any longer; its end is told by its pidfd.
    ///
    /// - Parameter suspect: the handshake that made it so, where one did.
    func dismiss(_ id: WorkerID, _ why: String, _ suspect: Handshake? = nil) {
        guard let worker = workers[id] else { return }
        log.error("\(worker.process.label) is killed: \(why)\(Self.blame(suspect))", .workerEnded)
        worker.process.kill()
        if let suspect { broker.handshakes.punish(suspect, for: .workerKilled) }
        remove(worker, "was killed: \(why)", suspect, spares: suspect != nil)
    }

    private static func blame(_ suspect: Handshake?) -> String {
        suspect.map { "; it was at the handshake with \(LogLine.describe($0.peer))" } ?? ""
    }

    /// A worker's pidfd is readable: fails its handshakes and frees its slot once it has ended.
    func childChanged(_ id: WorkerID) {
        guard let worker = workers[id] else { return broker.reaper.reap() }
        guard let end = worker.process.end(log) else { return }
        drainResults(of: worker)
        broker.outputs.relay(worker.process, isLast: true)
        let inHand = broker.handshakes.inHand(of: id)
        log.error(
            "\(worker.process.label) \(end.text)\(Self.blame(end.isFault ? inHand : nil))", .workerEnded)
        if end.isFault, let inHand { broker.handshakes.punish(inHand, for: .workerKilled) }
        remove(worker, end.text, inHand, spares: inHand != nil || !end.isFault)
    }

    /// Takes the results that a dead worker had already sent.
    private func drainResults(of worker: WorkerProcess) {
        worker.isGone = true
        do throws(ChannelFault) {
            while let message = try worker.receive() { try handle(message, from: worker) }
        } catch {
            // Its channel has nothing more, or nothing that counts.
        }
    }

    /// See `Handshakes.lose` for the last two parameters.
    private func remove(_ worker: WorkerProcess, _ text: String, _ suspect: Handshake?, spares: Bool) {
        let now = broker.loop.now
        worker.unwatchChannels()
        workers[worker.id] = nil
        startAttempts += worker.isReady ? 0 : 1
        let vacancy = slots.free(worker.id, served: worker.isReady, now: now)
        deaths += 1
        if vacancy.youngDeaths > WorkerSlots.forgiven {
            log.error(
                "\(vacancy.youngDeaths) workers in a row died young, \(deaths) since the start: someone may send what kills them; the "
                    + "next starts in \(vacancy.pause / 1_000_000) ms, others go on; remedy: update GnuTLS, see the lines above",
                .workersDieYoung)
        }
        broker.handshakes.lose(worker.id, "\(worker.process.label) \(text)", suspect, spares: spares)
        broker.reaper.add(worker.process)
        start(now)
        broker.handshakes.dispatchWaiting()
    }

    /// Closes the channels of all, at which they end.
    func hangUp() {
        for worker in workers.values {
            worker.hangUp()
            broker.reaper.add(worker.process)
        }
        workers = [:]
    }
}
