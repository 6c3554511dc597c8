internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import Upcall
internal import Wire

/// The workers: tells them what they must know, takes what they say, and fails their handshakes when they end.
final class WorkerPool: SupervisorUser {
    /// The places for workers.
    private(set) var slots: [Supervisor<WorkerPool>] = []
    private var lastID = 0
    /// Parts of the workers' sandbox that this kernel lacks.
    private(set) var confinement = Confinement()
    /// Workers that died or were killed since the start.
    private(set) var deaths = 0
    /// Workers that died before they were ready, in a row.
    private(set) var startAttempts = 0
    /// The reason why the workers' library can serve nothing, such as a crypto policy that forbids everything.
    var startProblem: String?

    private let program: String
    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    /// Number of workers on every host, at least, so that the death of one does not end all handshakes.
    private static let least = 2

    /// Number of workers on a host with that many processors.
    static func count(processors: Int) -> Int { max(processors, least) }

    /// Young deaths in a row in one place after which a new worker is started at once.
    private static let forgivenDeaths = 3

    init(_ broker: Broker, program: String, processors: Int) {
        self.broker = broker
        self.program = program
        slots = (0..<Self.count(processors: processors)).map { _ in
            Supervisor(self, broker, backOff: BackOff(forgiven: Self.forgivenDeaths))
        }
    }

    func addSchedules(to loop: EventLoop) {
        loop.schedule({ [unowned self] in nextStart }) { [unowned self] now in start(now) }
    }

    // MARK: Which there are

    /// The workers in their places.
    var workers: [WorkerProcess] { slots.compactMap(\.process) }

    /// The place of a worker; `nil` if it has left it.
    func slot(of id: WorkerID) -> Supervisor<WorkerPool>? { slots.first { $0.process?.id == id } }

    var hasReadyWorker: Bool { slots.contains(where: \.isServing) }

    /// Those that take handshakes now.
    var free: [WorkerID] {
        slots.filter(\.isServing).compactMap(\.process).filter { !$0.isCongested }.map(\.id)
    }

    /// Returns `true` if a worker is ready and has not ended.
    func serves(_ id: WorkerID) -> Bool { slot(of: id)?.isServing == true }

    /// The handshake that a worker says it computes for; 0 for none.
    func step(of id: WorkerID) -> UInt64? { slot(of: id)?.process?.step.job }

    var processes: [Int32] { workers.map(\.process.identifier) }

    /// Writes to the log what they have written to their standard error.
    func relayOutputs() {
        for slot in slots { slot.relayOutput() }
    }

    // MARK: Start

    /// The places that may be filled: before READY one, because a single worker can serve the first requests.
    private var openSlots: ArraySlice<Supervisor<WorkerPool>> {
        slots.prefix(broker.lifecycle == .starting ? 1 : slots.count)
    }

    /// Time at which the next free place may be filled; `nil` if none is free.
    var nextStart: UInt64? { openSlots.compactMap(\.nextStart).min() }

    /// Fills one free place whose time has come; requests that wait are served before the next.
    func start(_ now: UInt64) {
        openSlots.first { $0.canStart(now) }?.start(now)
    }

    func makeProcess() throws(SystemError) -> WorkerProcess {
        lastID += 1
        return try WorkerProcess(
            id: WorkerID(lastID), program: program, environment: WorkerProgram.environment(),
            starter: broker.surroundings.programs)
    }

    func startFailed(_ error: SystemError) {
        log.error("a worker cannot be started: \(error.description)", .workerNotStarted)
        startAttempts += 1
    }

    func watchOtherChannels(of worker: WorkerProcess) throws(SystemError) -> [BrokerSource] {
        let id = worker.id
        return [try broker.loop.watch(worker.keyNumber) { [unowned self] _ in receiveLookups(from: id) }]
    }

    /// Tells a new worker what it must know: set-up, then each role's credentials.
    func introduce(_ worker: WorkerProcess) {
        let id = worker.id
        send(.setUp(setUp), to: id)
        if !broker.tags.names.isEmpty { send(.tags(broker.tags.tags), to: id) }
        for set in broker.credentials.currentSets where set.isComplete { send(set, to: id) }
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

    /// Sends every worker a message. One that starts meanwhile is told by `introduce`.
    func sendAll(_ message: BrokerMessage) {
        for worker in workers { send(message, to: worker.id) }
    }

    /// Sends every worker its set-up again, after log levels changed.
    func refreshSetUp() { sendAll(.setUp(setUp)) }

    /// Sends every worker a role's new credentials.
    func distribute(_ set: CredentialSet) {
        for worker in workers { send(set, to: worker.id) }
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

    private func attempt(_ id: WorkerID, _ body: (WorkerProcess) throws(ChannelFault) -> Void) {
        slot(of: id)?.attempt(body)
    }

    func name(of worker: WorkerProcess) -> String { worker.process.label }

    func hasRoom(_ worker: WorkerProcess) { broker.handshakes.dispatchWaiting() }

    // MARK: What they say

    /// Takes a worker's messages before its channel's turn comes.
    func receive(from id: WorkerID) { slot(of: id)?.receive() }

    /// docs/broker-protocol.md, the worker's messages.
    func handle(_ message: WorkerMessage, from worker: WorkerProcess) throws(ChannelFault) {
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
        startAttempts = 0
        startProblem = abilities.problem.isEmpty ? nil : abilities.problem
        if !abilities.problem.isEmpty {
            log.error("no handshake can be served: \(abilities.problem)", .cannotServe)
        }
        confinement.note(abilities.unconfined, "workers are less confined than they could be", log)
        log.debug(
            "\(worker.process.label): GnuTLS \(abilities.libraryVersion), \(abilities.cipherSuites), "
                + "PSKs with SHA-384 \(abilities.bindsSHA384 ? "work" : "do not work")")
        // Not before: until it is ready it may not ask the signer.
        broker.signer.introduce(worker.id)
        broker.handshakes.dispatchWaiting()
    }

    // MARK: Their end

    /// Kills a worker that cannot be used any longer; its end is told by its pidfd.
    ///
    /// - Parameter suspect: the handshake that made it so, where one did.
    func dismiss(_ id: WorkerID, _ why: String, _ suspect: Handshake? = nil) {
        guard let worker = slot(of: id)?.process else { return }
        log.error("\(worker.process.label) is killed: \(why)\(Self.blame(suspect))", .workerEnded)
        if let suspect { broker.handshakes.punish(suspect, for: .workerKilled) }
        remove(worker, "was killed: \(why)", suspect, spares: suspect != nil)
    }

    func dismiss(_ worker: WorkerProcess, _ why: String) { dismiss(worker.id, why) }

    private static func blame(_ suspect: Handshake?) -> String {
        suspect.map { "; it was at the handshake with \(LogLine.describe($0.peer))" } ?? ""
    }

    /// Fails the handshakes of a worker that has ended, and frees its place.
    func ended(_ worker: WorkerProcess, _ end: ChildEnd) {
        drainResults(of: worker)
        broker.outputs.relay(worker.process, isLast: true)
        let inHand = broker.handshakes.inHand(of: worker.id)
        log.error(
            "\(worker.process.label) \(end.text)\(Self.blame(end.isFault ? inHand : nil))", .workerEnded)
        if end.isFault, let inHand { broker.handshakes.punish(inHand, for: .workerKilled) }
        remove(worker, end.text, inHand, spares: inHand != nil || !end.isFault)
    }

    /// Takes the results that a dead worker had already sent.
    private func drainResults(of worker: WorkerProcess) {
        do throws(ChannelFault) {
            while let message = try worker.receive() { try handle(message, from: worker) }
        } catch {
            // Its channel has nothing more, or nothing that counts.
        }
    }

    /// See `Handshakes.lose` for the last two parameters.
    private func remove(_ worker: WorkerProcess, _ text: String, _ suspect: Handshake?, spares: Bool) {
        guard let slot = slot(of: worker.id) else { return }
        let now = broker.loop.now
        let others = slots.count { $0 !== slot && $0.process != nil }
        let vacancy = slot.vacate(served: worker.isReady, isScarce: others < Self.least, now: now)
        startAttempts += worker.isReady ? 0 : 1
        deaths += 1
        if vacancy.youngDeaths > Self.forgivenDeaths {
            log.error(
                "\(vacancy.youngDeaths) workers in a row died young, \(deaths) since the start: someone may send what kills them; the "
                    + "next starts in \(vacancy.pause / 1_000_000) ms, others go on; remedy: update GnuTLS, see the lines above",
                .workersDieYoung)
        }
        broker.handshakes.lose(worker.id, "\(worker.process.label) \(text)", suspect, spares: spares)
        start(now)
        broker.handshakes.dispatchWaiting()
    }

    /// Closes the channels of all, at which they end.
    func hangUp() {
        for slot in slots { slot.hangUp() }
    }
}

/// One worker process as the broker sees it: its two channels, and where it stands in the protocol.
final class WorkerProcess: ServiceProcess {
    let id: WorkerID
    let process: SupervisedProcess
    /// The job that it says it computes for.
    let step: WorkerStep
    private let control: ProcessChannel<BrokerMessage, WorkerMessage>
    private let keys: ProcessChannel<KeyAnswer, KeyLookup>

    /// Starts the program with its two channels.
    ///
    /// - Throws: when the process or its channels cannot be made.
    init(
        id: WorkerID, program: String, environment: [String], starter: ProgramStarter = ProgramStarter()
    ) throws(SystemError) {
        self.id = id
        step = try WorkerStep()
        var controlPair = try MessageChannel.pair(room: starter.channelRoom)
        var keyPair = try MessageChannel.pair()
        control = try ProcessChannel(controlPair.takeFirst())
        keys = try ProcessChannel(keyPair.takeFirst())
        let controlEnd = controlPair.takeSecond()
        let keyEnd = keyPair.takeSecond()
        process = try SupervisedProcess(
            "worker", program: program, environment: environment,
            descriptors: [
                (source: controlEnd.number, target: WorkerDescriptor.control),
                (source: keyEnd.number, target: WorkerDescriptor.keys),
                (source: step.fileNumber, target: WorkerDescriptor.step),
            ], starter: starter)
        step.closeFile()
    }

    var controlNumber: Int32 { control.number }
    var keyNumber: Int32 { keys.number }
    /// Before, it takes no handshakes.
    var isReady: Bool { control.state == .ready }
    /// Set when its queue was full; handshakes wait until it is writable again.
    var isCongested: Bool { control.isCongested }

    /// Sends a message without secrets, or keeps it until there is room.
    ///
    /// - Parameter keeper: keeps the descriptors open as long as they may be needed.
    func send(
        _ message: BrokerMessage, descriptors: [Int32] = [], keeper: AnyObject? = nil
    ) throws(ChannelFault) {
        try control.send(message, descriptors: descriptors, keeper: keeper)
    }

    /// Sends a handshake with its secrets.
    ///
    /// - Returns: `false` when the worker's queue is full: try again when its channel is writable.
    func offer(_ job: HandshakeJob, socket: Int32, secrets: borrowing JobSecrets) throws(ChannelFault) -> Bool {
        try control.offer(.handshake(job), descriptors: [socket]) { placed, buffer in
            if case .handshake(let placed) = placed { secrets.copy(of: job, into: &buffer, at: placed) }
        }
    }

    /// Sends a key update.
    ///
    /// - Returns: `false` when the worker's queue is full: try again when its channel is writable.
    func offer(_ job: KeyUpdateJob, socket: Int32) throws(ChannelFault) -> Bool {
        try control.offer(.keyUpdate(job), descriptors: [socket])
    }

    /// Reads the next message of the control channel; `nil` when there is none for now.
    func receive() throws(ChannelFault) -> WorkerMessage? { try control.receive() }

    /// Reads the next question of the key channel; `nil` when there is none for now.
    func receiveLookup() throws(ChannelFault) -> KeyLookup? { try keys.receive() }

    /// Answers the question that was read last, with the key at the start of `key` if the answer is one.
    func answer(_ answer: KeyAnswer, key: borrowing SecretBuffer) throws(ChannelFault) {
        let isSent = try keys.offer(answer) { placed, buffer in
            if case .key(let place) = placed { buffer.copy(0..<place.count, of: key, to: place.range.lowerBound) }
        }
        // Who waits for an answer reads it.
        guard isSent else { throw .unresponsive }
    }

    /// Tells it to end, as closing the channels does.
    func hangUp() {
        control.hangUp()
        keys.hangUp()
    }

    /// Its control channel is writable again: sends what was kept.
    func relieve() throws(ChannelFault) { try control.relieve() }
}
