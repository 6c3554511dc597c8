internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import Upcall
internal import Wire

/// One of the two signers: started when the first of its private keys is to be used, told what it needs, watched, and
/// replaced when it ends or hangs: at once after one that served long, ever later otherwise.
final class SignerService: SupervisorUser {
    let kind: SignerKind
    private lazy var supervisor = Supervisor(
        self, broker, backOff: BackOff(forgiven: 1, countsEveryDeath: true))
    /// Number of signers that died, were killed or could not be started.
    private(set) var deaths = 0
    /// Workers that got no answer from this one.
    private(set) var suspectedBy: Set<WorkerID> = []

    /// True once a key was needed; before, no signer is started.
    private var isNeeded = false
    private var starts = 0
    /// Generations that handshakes under way may still use, and until when.
    private var outgoing: [(due: UInt64, owner: CredentialsOwner, generation: UInt32)] = []
    /// The layers of its sandbox.
    private(set) var confinement = Confinement()

    private let program: String
    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    /// Maximum time to open a role's keys, in nanoseconds; some tokens take seconds.
    private static let openingPatience: UInt64 = 20_000_000_000
    /// Maximum time to answer a ping, in nanoseconds: as long as workers wait for a signature.
    private static let answerPatience: UInt64 = 2_000_000_000
    /// Idle time after which the signer is pinged, in nanoseconds: one that hangs is to be found before a handshake
    /// finds it.
    private static let silence: UInt64 = 5_000_000_000
    /// Longer than any handshake may take, in nanoseconds.
    private static let keyAfterlife: UInt64 = 60_000_000_000

    init(_ broker: Broker, _ kind: SignerKind, program: String) {
        self.broker = broker
        self.kind = kind
        self.program = program
    }

    func addSchedules(to loop: EventLoop) {
        loop.schedule({ [unowned self] in nextCheck }) { [unowned self] now in check(now) }
        loop.schedule({ [unowned self] in nextStart }) { [unowned self] now in start(now) }
    }

    var process: SignerProcess? { supervisor.process }

    // MARK: What handshakes need of it

    /// A key is to be used: there must be a signer.
    func demand() { isNeeded = true }

    /// The reason why a handshake that needs one of its keys must wait; `nil` if it may go now. A worker that asked
    /// nevertheless would wait, and all its handshakes with it. A signer that keeps dying is not waited for.
    func lack(_ now: UInt64) -> HandshakeFailure? {
        guard let process, process.isReady else {
            guard process != nil || canStart(now) else { return nil }
            return HandshakeFailure(.signerUnavailable, "it did not start in time")
        }
        if process.isOpening { return HandshakeFailure(.signerUnavailable, "it is still opening keys") }
        if process.isCongested { return HandshakeFailure(.signerUnavailable, "its queue is full") }
        return suspectedBy.isEmpty ? nil : HandshakeFailure(.signerUnavailable, "it does not answer")
    }

    /// Lets the worker that is to run a handshake use its key once. If no signer runs, a later one is told by
    /// `introduce`, when the handshake runs.
    ///
    /// - Parameter key: the key of the request, if it has one.
    /// - Returns: `false` if this must be done again: its queue was full, or another signer has taken its place.
    func permit(_ handshake: Handshake, for worker: WorkerID, key: SecretRange) -> Bool {
        let before = process
        var isCongested = false
        attempt { process throws(ChannelFault) in
            isCongested = try !process.permit(permission(of: handshake, for: worker), key, in: broker.secrets)
        }
        return !isCongested && process === before
    }

    private func permission(of handshake: Handshake, for worker: WorkerID) -> SigningPermit {
        SigningPermit(
            job: handshake.id, worker: worker.channelNumber, owner: handshake.owner,
            isForRequestKey: handshake.request.certificate != nil, isReported: log.level > 0)
    }

    /// A handshake is over, or another worker is to run it.
    func forget(_ job: UInt64) { send(.forget(job: job)) }

    /// A worker got no answer: it gets a new channel as soon as the signer shows that it lives.
    func suspect(by worker: WorkerID) {
        guard let process, suspectedBy.insert(worker).inserted, process.isReady else { return }
        send(.ping)
    }

    /// The signer lives: workers that had given up waiting for it get new channels.
    private func reconnect() {
        for worker in suspectedBy.sorted(by: { $0.number < $1.number }) { introduce(worker) }
        suspectedBy = []
        broker.handshakes.dispatchWaiting()
    }

    /// Has the keys of a set opened.
    func present(_ set: CredentialSet) {
        isNeeded = true
        if process == nil {
            start(broker.loop.now)
        } else {
            load(set)
        }
    }

    /// Has the signer forget keys that were replaced or refused, when handshakes that began with them are over.
    func release(_ keys: SignerKeys) {
        outgoing.append((broker.loop.now + Self.keyAfterlife, keys.owner, keys.generation))
    }

    // MARK: Start

    /// True if the next turn starts a signer.
    private func canStart(_ now: UInt64) -> Bool { isNeeded && supervisor.canStart(now) }

    /// When the next can be started; `nil` where none is wanted.
    private var nextStart: UInt64? { isNeeded ? supervisor.nextStart : nil }

    /// Starts one where it is needed and none runs.
    private func start(_ now: UInt64) {
        if isNeeded { supervisor.start(now) }
    }

    func makeProcess() throws(SystemError) -> SignerProcess {
        starts += 1
        return try SignerProcess(
            number: starts, program: program, environment: WorkerProgram.environment(of: kind),
            starter: broker.surroundings.programs, clock: broker.surroundings.clock)
    }

    func startFailed(_ error: SystemError) {
        log.error("\(kind.name) cannot be started: \(error.description)", .signerNotStarted)
        suspectedBy = []
        deaths += 1
    }

    func watchOtherChannels(of process: SignerProcess) throws(SystemError) -> [BrokerSource] { [] }

    /// Tells a new signer what it must know: set-up, the keys, the permits of handshakes that run, then the channels to
    /// the workers. It cannot know which of the handshakes have been signed, and has the keys of no requests.
    func introduce(_ process: SignerProcess) {
        let settings = broker.configuration.settings
        send(
            .setUp(
                kind, libraryLogLevel: UInt8(clamping: settings.debug.tls.value),
                memoryLimit: settings.memoryLimits.signer(kind)))
        for set in broker.credentials.sets(for: kind) { load(set) }
        for handshake in broker.handshakes.table.all where handshake.permits.contains(kind) {
            guard case .running(let worker) = handshake.state else { continue }
            send(.permit(permission(of: handshake, for: worker)))
        }
        suspectedBy = []
        for worker in broker.pool.workers where worker.isReady { introduce(worker.id) }
    }

    /// Makes the channel between a worker and the signer.
    func introduce(_ id: WorkerID) {
        guard broker.pool.place(of: id) != nil, process != nil else { return }
        var pair: MessageChannelPair
        do {
            pair = try MessageChannel.pair()
        } catch {
            return log.error("a worker gets no channel to \(kind.name): \(error.description)")
        }
        let ends = ChannelEnds(pair.takeFirst(), pair.takeSecond())
        attempt { process throws(ChannelFault) in
            try process.send(.connect(worker: id.channelNumber), descriptors: [ends.signers], keeper: ends)
        }
        broker.pool.connect(id, to: kind, ends)
    }

    /// Has the signer open a set's keys, where it has any.
    private func load(_ set: CredentialSet) {
        guard let keys = set.keys else { return }
        attempt { process throws(ChannelFault) in
            try process.send(.load(keys), descriptors: set.keyDescriptors, keeper: set)
        }
    }

    // MARK: What it is told and says

    private func send(_ order: SignerOrder) {
        attempt { process throws(ChannelFault) in try process.send(order) }
    }

    private func attempt(_ body: (SignerProcess) throws(ChannelFault) -> Void) { supervisor.attempt(body) }

    func name(of process: SignerProcess) -> String { kind.name }

    func hasRoom(_ process: SignerProcess) { broker.handshakes.dispatchWaiting() }

    func handle(_ report: SignerReport, from process: SignerProcess) throws(ChannelFault) {
        switch report {
        case .ready(let reported):
            confinement.note(reported, "\(kind.name) is less confined than it could be", log)
            reconnect()
        case .loaded(let verdict): try broker.credentials.judge(verdict)
        case .alive: reconnect()
        case .misbehaved(let worker, let text):
            broker.pool.dismiss(WorkerID(Int(worker)), "it broke the protocol towards \(kind.name): \(text)")
        case .signed(let job, let worker, let text):
            let peer = broker.handshakes.table[job].map { "\($0.accepted.peerAddress): " } ?? ""
            log.debug("\(peer)\(kind.name) has signed handshake \(job) for worker \(worker) with \(text)")
        }
    }

    // MARK: Its end

    func ended(_ process: SignerProcess, _ end: ChildEnd) { lose(process, end.text) }

    func dismiss(_ process: SignerProcess, _ why: String) { lose(process, "is killed: \(why)") }

    /// Ends what is left of a signer, and says when the next comes.
    private func lose(_ process: SignerProcess, _ why: String) {
        broker.outputs.relay(process.process, isLast: true)
        let now = broker.loop.now
        let pause = supervisor.vacate(served: process.isReady, now: now).pause
        suspectedBy = []
        deaths += 1
        log.error(
            "\(kind.name) \(why); handshakes that need its private keys wait until it is started again, in \(pause / 1_000_000) ms",
            .signerEnded)
        start(now)
    }

    /// Closes its channel, at which it ends.
    func hangUp() { supervisor.hangUp() }

    /// Writes to the log what it has written to its standard error.
    func relayOutput() { supervisor.relayOutput() }

    // MARK: Supervision

    /// When `check` has something to do.
    private var nextCheck: UInt64? {
        let limit = process.map { process in
            process.owesSince.map { $0 + Self.patience(with: process) } ?? (process.heardAt + Self.silence)
        }
        return ([limit] + outgoing.map(\.due)).compactMap(\.self).min()
    }

    private static func patience(with process: SignerProcess) -> UInt64 {
        process.isOpening ? openingPatience : answerPatience
    }

    /// Runs what is due: a signer that owes an answer for too long is killed, one that is silent is pinged; keys
    /// that no handshake uses any more are released.
    func check(_ now: UInt64) {
        if let process {
            let patience = Self.patience(with: process)
            if let since = process.owesSince {
                if now >= since + patience {
                    // The next would hang with the same keys, and serve no others meanwhile.
                    if let (owner, generation) = process.opening {
                        broker.credentials.setAside(generation, of: owner)
                    }
                    lose(process, "is killed: it did not answer for \(patience / 1_000_000_000) s")
                }
            } else if now >= process.heardAt + Self.silence {
                send(.ping)
            }
        }
        let due = outgoing.filter { $0.due <= now }
        outgoing.removeAll { $0.due <= now }
        for entry in due { send(.release(owner: entry.owner, generation: entry.generation)) }
    }
}

/// Both ends of a channel that others are to have: ours go when both have been sent.
final class ChannelEnds {
    private let first: MessageChannel
    private let second: MessageChannel

    init(_ first: consuming MessageChannel, _ second: consuming MessageChannel) {
        self.first = first
        self.second = second
    }

    var signers: Int32 { first.number }
    var workers: Int32 { second.number }
}

/// A signer as the broker sees it: its channel, and where it stands in the protocol.
final class SignerProcess: ServiceProcess {
    /// Grows with each start.
    let number: Int
    let process: SupervisedProcess
    private let control: ProcessChannel<SignerOrder, SignerReport>
    /// Since when it owes an answer; CLOCK_MONOTONIC nanoseconds.
    private(set) var owesSince: UInt64?
    /// Channels to workers that it was given.
    private(set) var connections = 0
    /// When it was last heard of, or started; CLOCK_MONOTONIC nanoseconds.
    private(set) var heardAt: UInt64
    private let clock: () -> UInt64

    init(
        number: Int, program: String, environment: [String], starter: ProgramStarter, clock: @escaping () -> UInt64
    ) throws(SystemError) {
        self.clock = clock
        heardAt = clock()
        self.number = number
        var pair = try MessageChannel.pair(room: starter.channelRoom)
        control = try ProcessChannel(pair.takeFirst())
        let end = pair.takeSecond()
        process = try SupervisedProcess(
            "signer", program: program, environment: environment,
            descriptors: [(source: end.number, target: SignerDescriptor.control)], starter: starter)
    }

    var controlNumber: Int32 { control.number }
    var isCongested: Bool { control.isCongested }
    var isReady: Bool { control.state == .ready }
    /// True while it starts or opens keys, which may take long.
    var isOpening: Bool { !isReady || control.oldestUnanswered(.load) != nil }

    /// Credentials whose keys it is opening.
    var opening: (owner: CredentialsOwner, generation: UInt32)? {
        guard isReady, case .credentials(let owner, let generation)? = control.oldestUnanswered(.load) else {
            return nil
        }
        return (owner, generation)
    }

    /// Sends an order, or keeps it until there is room.
    ///
    /// - Parameter keeper: keeps the descriptors open as long as they may be needed.
    func send(_ order: SignerOrder, descriptors: [Int32] = [], keeper: AnyObject? = nil) throws(ChannelFault) {
        try control.send(order, descriptors: descriptors, keeper: keeper)
        if case .connect = order { connections += 1 }
        switch order {
        case .setUp, .load, .ping: owe()
        case .release, .permit, .forget, .connect: break
        }
    }

    /// Sends a permit, with the key of the request.
    ///
    /// - Returns: `false` when its queue is full.
    func permit(
        _ permit: SigningPermit, _ key: SecretRange, in secrets: borrowing JobSecrets
    ) throws(ChannelFault) -> Bool {
        var permit = permit
        permit.key = SecretRange(count: key.count)
        return try control.offer(.permit(permit)) { placed, buffer in
            if case .permit(let placed) = placed { secrets.copy(key, into: &buffer, at: placed.key.range) }
        }
    }

    /// Reads its next report; `nil` when there is none for now.
    func receive() throws(ChannelFault) -> SignerReport? {
        guard let report = try control.receive() else { return nil }
        owesSince = nil
        heardAt = clock()
        if control.oldestUnanswered(.load) != nil || control.oldestUnanswered(.ping) != nil { owe() }
        return report
    }

    /// Tells it to end, as closing the channel does.
    func hangUp() { control.hangUp() }

    /// Its channel is writable again: sends what was kept.
    func relieve() throws(ChannelFault) { try control.relieve() }

    private func owe() {
        owesSince = owesSince ?? clock()
    }
}
