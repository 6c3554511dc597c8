internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import Wire

/// The signer: started when the first private key is to be used, told what it needs, watched, and replaced when it ends
/// or hangs: at once after one that served long, ever later otherwise.
final class SignerService {
    private(set) var process: SignerProcess?
    /// How many died, were killed or could not be started.
    private(set) var deaths = 0
    /// Workers that got no answer from this one.
    private(set) var suspectedBy: Set<WorkerID> = []

    /// Whether any key was ever to be used; without one no signer is started.
    private var isNeeded = false
    private var starts = 0
    private var backOff = BackOff()
    /// Generations that handshakes under way may still use, and until when.
    private var outgoing: [(due: UInt64, owner: CredentialsOwner, generation: UInt32)] = []
    /// What its sandbox lacks on this kernel, said once.
    private var unconfined = ""

    private let program: String
    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    /// How long the signer may take to open a role's keys, in nanoseconds; some tokens take seconds.
    private static let openingPatience: UInt64 = 20_000_000_000
    /// How long it may take to answer a ping, in nanoseconds: as long as workers wait for a signature.
    private static let answerPatience: UInt64 = 2_000_000_000
    /// Idle time after which the signer is pinged, in nanoseconds: one that hangs is to be found before a handshake
    /// finds it.
    private static let silence: UInt64 = 5_000_000_000
    /// Longer than any handshake may take, in nanoseconds.
    private static let keyAfterlife: UInt64 = 60_000_000_000

    init(_ broker: Broker, program: String) {
        self.broker = broker
        self.program = program
    }

    func addSchedules(to loop: EventLoop<StartFailure>) {
        loop.schedule({ [unowned self] in nextCheck }) { [unowned self] now in check(now) }
        loop.schedule({ [unowned self] in nextStart }) { [unowned self] now in start(now) }
    }

    // MARK: What handshakes need of it

    /// Whether the one that runs uses tokens.
    var opensTokens: Bool { process?.opensTokens == true }

    /// A key is to be used: there must be a signer.
    func demand() { isNeeded = true }

    /// Whether the signer is not ready and soon will be, unless it dies again.
    var isStarting: Bool { process.map { !$0.isReady } ?? canStart(broker.loop.now) }

    /// Why no signature can be had now; `nil` where one can. A worker that asked all the same would wait for it with
    /// all its handshakes.
    var lack: HandshakeFailure? {
        guard let process else { return nil }
        if process.isOpening { return HandshakeFailure(.signerUnavailable, "it is still opening keys") }
        return suspectedBy.isEmpty ? nil : HandshakeFailure(.signerUnavailable, "it does not answer")
    }

    /// Gives it the key that a request named.
    ///
    /// - Returns: whether it has it.
    func hold(_ job: UInt64, for worker: WorkerID, _ key: SecretRange) -> Bool {
        var isHeld = false
        attempt { process throws(ChannelFault) in
            isHeld = try process.hold(job: job, for: worker, key, in: broker.secrets)
        }
        return isHeld
    }

    /// A handshake is over: its key is not needed any longer.
    func forget(_ job: UInt64) { send(.forget(job: job)) }

    /// A worker got no answer: it gets a new channel as soon as the signer shows that it lives.
    func suspect(by worker: WorkerID) {
        guard process?.isReady == true, suspectedBy.insert(worker).inserted else { return }
        send(.ping)
    }

    /// Has the keys of a set loaded; a set without keys goes to the workers at once.
    func present(_ set: CredentialSet) {
        guard set.keys != nil else { return broker.pool.distribute(set) }
        isNeeded = true
        if set.usesTokens, process?.opensTokens == false {
            // One that was started without tokens has shut itself off from them.
            replace("a key on a token is to be used")
        } else if process == nil {
            start(broker.loop.now)
        } else {
            load(set)
        }
    }

    /// Has the signer forget keys that were replaced or refused, when handshakes that began with them are over.
    func release(_ set: CredentialSet?) {
        guard let keys = set?.keys else { return }
        outgoing.append((broker.loop.now + Self.keyAfterlife, keys.owner, keys.generation))
    }

    // MARK: Start

    /// Whether the next turn starts one.
    private func canStart(_ now: UInt64) -> Bool { isNeeded && process == nil && backOff.notBefore <= now }

    /// When the next can be started; `nil` where none is wanted.
    private var nextStart: UInt64? { isNeeded && process == nil ? backOff.notBefore : nil }

    /// Starts one where it is needed and none runs.
    private func start(_ now: UInt64) {
        guard canStart(now) else { return }
        starts += 1
        backOff.started(now)
        let number = starts, opensTokens = broker.credentials.useTokens
        do {
            let process = try SignerProcess(
                number: number, program: program, opensTokens: opensTokens,
                environment: WorkerProgram.signerEnvironment(opensTokens: opensTokens),
                starter: broker.surroundings.programs, clock: broker.surroundings.clock)
            self.process = process
            process.controlSource = try broker.loop.watch(process.controlNumber) { [unowned self] event in
                receive(from: number, writable: event.isWritable)
            }
            try process.process.watch(broker.loop) { [unowned self] in childChanged(number) }
        } catch {
            log.error("the signer cannot be started: \(error.description)", .signerNotStarted)
            if let process { retire(process) }
            _ = vacate(now: now)
            return
        }
        send(
            .setUp(
                opensTokens: opensTokens,
                libraryLogLevel: UInt8(clamping: broker.configuration.settings.debug.tls.value)))
        for set in broker.credentials.setsForSigner { load(set) }
        suspectedBy = []
        for id in broker.pool.workers.keys.sorted(by: { $0.number < $1.number }) { introduce(id) }
    }

    /// Makes the channel between a worker and the signer.
    func introduce(_ id: WorkerID) {
        guard broker.pool.workers[id] != nil, process != nil else { return }
        var pair: MessageChannelPair
        do {
            pair = try MessageChannel.pair()
        } catch {
            return log.error("a worker gets no channel to the signer: \(error.description)")
        }
        let ends = ChannelEnds(pair.takeFirst(), pair.takeSecond())
        attempt { process throws(ChannelFault) in
            try process.send(.connect(worker: id.channelNumber), descriptors: [ends.signers], keeper: ends)
        }
        broker.pool.connectToSigner(id, ends)
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

    /// Does something with the signer; a fault ends it. Watches for room in its queue where that was full.
    private func attempt(_ body: (SignerProcess) throws(ChannelFault) -> Void) {
        guard let process else { return }
        do {
            try body(process)
            try? process.controlSource?.watch(for: process.isCongested ? [.read, .write] : .read)
        } catch {
            switch error {
            case .gone:
                // Its pidfd will report the exit status.
                process.controlSource?.cancel()
                process.process.kill()
            case .unsendable: log.error("the signer goes on without: \(error.description)")
            case .unresponsive, .brokeProtocol, .system: lose(process, "is killed: \(error.description)")
            }
        }
    }

    private func receive(from number: Int, writable: Bool) {
        guard process?.number == number else { return }
        attempt { process throws(ChannelFault) in
            if writable, process.isCongested { try process.relieve() }
            for _ in 0..<WorkerPool.messagesPerTurn {
                guard let report = try process.receive() else { return }
                handle(report)
            }
        }
    }

    private func handle(_ report: SignerReport) {
        switch report {
        case .ready(let lacking):
            if unconfined != lacking {
                unconfined = lacking
                if !unconfined.isEmpty {
                    log.notice("the signer is less confined than it could be: \(unconfined)", .lessConfined)
                }
            }
            broker.handshakes.dispatchWaiting()
        case .loaded(let verdict): broker.credentials.judge(verdict)
        case .alive:
            for worker in suspectedBy.sorted(by: { $0.number < $1.number }) { introduce(worker) }
            suspectedBy = []
            broker.handshakes.dispatchWaiting()
        case .misbehaved(let worker, let text):
            broker.pool.dismiss(WorkerID(Int(worker)), "it broke the protocol towards the signer: \(text)")
        }
    }

    // MARK: Its end

    private func childChanged(_ number: Int) {
        guard let process, process.number == number else { return broker.reaper.reap() }
        guard let end = process.process.end(log) else { return }
        lose(process, end.text)
    }

    private func replace(_ why: String) {
        guard let process else { return }
        log.info("the signer is started anew: \(why)")
        retire(process)
        self.process = nil
        start(broker.loop.now)
    }

    /// Ends what is left of a signer, and says when the next comes.
    private func lose(_ process: SignerProcess, _ why: String) {
        broker.outputs.relay(process.process, isLast: true)
        retire(process)
        let now = broker.loop.now
        let pause = vacate(now: now)
        log.error(
            "the signer \(why); handshakes that need a private key wait until it is started again, in \(pause / 1_000_000) ms",
            .signerEnded)
        start(now)
    }

    /// Notes that it has ended or could not be started.
    ///
    /// - Returns: nanoseconds until the next.
    private func vacate(now: UInt64) -> UInt64 {
        process = nil
        suspectedBy = []
        deaths += 1
        return backOff.ended(now)
    }

    private func retire(_ process: SignerProcess) {
        process.controlSource?.cancel()
        process.process.kill()
        broker.reaper.add(process.process)
    }

    /// Closes its channel, at which it ends.
    func hangUp() {
        guard let process = process.take() else { return }
        process.hangUp()
        broker.reaper.add(process.process)
    }

    /// Writes to the log what it has written to its standard error.
    func relayOutput() {
        if let process { broker.outputs.relay(process.process) }
    }

    // MARK: Supervision

    /// When `check` has something to do.
    private var nextCheck: UInt64? {
        let limit = process.map { process in
            process.owesSince.map { $0 + Self.patience(with: process) } ?? (process.heardAt + Self.silence)
        }
        return ([limit, broker.credentials.nextRetry] + outgoing.map(\.due)).compactMap(\.self).min()
    }

    private static func patience(with process: SignerProcess) -> UInt64 {
        process.isOpening ? openingPatience : answerPatience
    }

    /// What is due by the clock: a signer that owes an answer for too long is hung, one that is silent is pinged; keys
    /// that no handshake uses any more are released; tokens that were not there are looked for again.
    func check(_ now: UInt64) {
        if let process {
            let patience = Self.patience(with: process)
            if let since = process.owesSince {
                if now >= since + patience {
                    // The next would hang with the same keys, and serve no others meanwhile.
                    if let keys = process.opening { broker.credentials.setAside(keys) }
                    lose(process, "is killed: it did not answer for \(patience / 1_000_000_000) s")
                }
            } else if now >= process.heardAt + Self.silence {
                send(.ping)
            }
        }
        let due = outgoing.filter { $0.due <= now }
        outgoing.removeAll { $0.due <= now }
        for entry in due { send(.release(owner: entry.owner, generation: entry.generation)) }
        broker.credentials.retry(now)
    }
}

/// When the signer is started again: at once after one that served long, ever later after those that died young.
struct BackOff {
    private var startedAt: UInt64 = 0
    private var failures = 0
    /// CLOCK_MONOTONIC nanoseconds.
    private(set) var notBefore: UInt64 = 0

    mutating func started(_ now: UInt64) { startedAt = now }

    /// - Returns: nanoseconds until the next may start.
    mutating func ended(_ now: UInt64) -> UInt64 {
        failures = now < startedAt + WorkerSlots.youth ? failures + 1 : 1
        let pause = WorkerSlots.pause(after: failures - 1)
        notBefore = now + pause
        return pause
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
