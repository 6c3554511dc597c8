internal import Confined
internal import Handshake
internal import Sandbox
internal import SigningWire
package import System
internal import TLS
package import Wire
internal import X509

/// The process that runs TLS handshakes: one thread, one event loop.
package final class Worker {
    private let link: BrokerLink
    private let keys: KeyChannel
    /// The channels to the signers.
    private let fileSigner = SignerChannel(), tokenSigner = SignerChannel()
    private let loop: EventLoop
    private var controlSource: EventLoop.Source?
    private let step: WorkerStep
    private let confine: (_ keeping: [Int32], _ memoryLimit: UInt64) throws(SystemError) -> Confinement
    private var environment: TLSEnvironment?
    /// Reason why there is no environment; sent with `ready`.
    private var problem = ""
    private var isSetUp = false
    /// Level up to which lines are sent to the broker.
    private var logLevel: UInt8 = 0
    private var credentials: [CredentialsOwner: Credentials] = [:]
    private var tags = SessionTags()
    /// Maximum number of bytes from a peer until its handshake is complete.
    private var handshakeBytes = HandshakeBytes.standard
    /// Handshakes in progress, keyed by job ID.
    private var handshakes: [UInt64: ActiveHandshake] = [:]
    private var sessions = KeptSessions()
    /// Key updates in progress, keyed by job ID.
    private var keyUpdates: [UInt64: ActiveKeyUpdate] = [:]

    /// Maximum number of messages received before handshakes continue.
    private static let messagesPerTurn = 32

    /// - Parameters:
    ///   - control: a SOCK_SEQPACKET socket to the broker.
    ///   - keys: a second one, for PSK lookups.
    ///   - step: shared with the broker; contains the job ID of the handshake being computed.
    ///   - confine: enters the sandbox, keeps the given descriptors and returns the layers. Called once, after
    ///     everything that needs files is read and before any data from outside is.
    package init(
        control: consuming OwnedDescriptor, keys: consuming OwnedDescriptor, step: WorkerStep,
        confine: @escaping (_ keeping: [Int32], _ memoryLimit: UInt64) throws(SystemError) -> Confinement
    ) throws {
        self.confine = confine
        self.step = step
        link = try ProcessChannel(adopting: control)
        self.keys = try KeyChannel(adopting: keys)
        loop = try EventLoop()
        controlSource = try loop.watch(link.number) { [unowned self] event in
            if event.isWritable { try link.relieve() }
            if event.isReadable { try receive() }
        }
        loop.schedule({ [unowned self] in sessions.nextExpiry }) { [unowned self] now in sessions.expire(now) }
    }

    /// The main function of `tlshd-worker`.
    package static func program() -> Never {
        ProcessPriority.lower()
        ConfinedProcess.run(
            "tlshd-worker", channels: [WorkerDescriptor.control, WorkerDescriptor.keys], users: [ConfinedUser.worker]
        ) {
            user in
            try Worker(
                control: OwnedDescriptor(adopting: WorkerDescriptor.control),
                keys: OwnedDescriptor(adopting: WorkerDescriptor.keys),
                step: WorkerStep(mapping: WorkerDescriptor.step)
            ) { (descriptors, memoryLimit) throws(SystemError) in
                try Sandbox.enter(keeping: descriptors, as: user, memoryLimit: memoryLimit)
            }.run()
        }
    }

    /// Runs until an error or a closed channel ends the process.
    package func run() throws -> Never {
        while true { try turn() }
    }

    /// Runs one turn of the event loop.
    ///
    /// - Parameter limit: maximum waiting time in nanoseconds.
    package func turn(atMost limit: UInt64 = .max) throws {
        try loop.turn(atMost: limit)
        // Messages are queued if the channel was full.
        try controlSource?.watch(for: link.isCongested ? [.read, .write] : .read)
    }

    // MARK: The broker's messages

    private func receive() throws(ChannelFault) {
        for _ in 0..<Self.messagesPerTurn {
            let wasThere = try link.receive { (message, descriptors, buffer) throws(ChannelFault) in
                try handle(message, descriptors, buffer)
            }
            guard wasThere else { return }
        }
    }

    private func handle(
        _ message: BrokerMessage, _ descriptors: ReceivedDescriptors, _ buffer: borrowing SecretBuffer
    ) throws(ChannelFault) {
        switch message {
        case .setUp(let setUp): try self.setUp(setUp)
        case .credentials(let specification): try configure(specification, descriptors)
        case .withdraw(let profile):
            for role in Role.allCases { credentials[CredentialsOwner(profile, role)] = nil }
        case .tags(let tags): self.tags = tags
        case .signer(let kind):
            guard let channel = descriptors.take() else { throw .brokeProtocol("no channel") }
            try signer(kind).connect(channel)
        case .handshake(let job):
            guard handshakes[job.id] == nil, keyUpdates[job.id] == nil else {
                throw .brokeProtocol("duplicate job ID \(job.id)")
            }
            guard let socket = descriptors.take() else { throw .brokeProtocol("no socket") }
            try start(job, ActiveHandshake(job, on: socket, startedAt: loop.wokenAt), buffer)
        case .keyUpdate(let job):
            guard handshakes[job.id] == nil, keyUpdates[job.id] == nil else {
                throw .brokeProtocol("duplicate job ID \(job.id)")
            }
            guard let socket = descriptors.take() else { throw .brokeProtocol("no socket") }
            try start(job, on: socket)
        case .cancel(let job, let reason):
            if try cancelKeyUpdate(job, reason) { return }
            // The handshake may have ended before this message arrived.
            guard let handshake = handshakes[job] else { return }
            handshake.session?.abort(reason.failure)
            try finish(handshake)
        }
    }

    private func setUp(_ setUp: WorkerSetUp) throws(ChannelFault) {
        logLevel = setUp.logLevel
        handshakeBytes = setUp.handshakeBytes
        GnuTLS.log(upTo: setUp.libraryLogLevel)
        if environment?.kernel != setUp.kernelTLS {
            do throws(GnuTLSError) {
                environment = try TLSEnvironment(setUp.kernelTLS)
                problem = ""
            } catch {
                environment = nil
                problem = MessageText.fit("crypto policy and kernel leave no cipher suite: \(error.description)")
            }
        }
        guard !isSetUp else { return }
        let confinement = try ChannelFault.of(
            try confine([link.number, keys.number, loop.number], setUp.memoryLimit),
            context: "the sandbox cannot be entered")
        isSetUp = true
        let suites = environment?.priorities.cipherSuites.joined(separator: " ") ?? ""
        try link.send(
            .ready(
                WorkerAbilities(
                    libraryVersion: GnuTLS.version, bindsSHA384: GnuTLS.bindsSHA384, cipherSuites: suites,
                    problem: problem, confinement: confinement)))
    }

    private func configure(
        _ specification: RoleCredentials, _ descriptors: ReceivedDescriptors
    ) throws(ChannelFault) {
        var verdict = CredentialsVerdict(
            owner: specification.owner, generation: specification.generation, problem: "", summary: "")
        do throws(TextError) {
            var loader = try CredentialsLoader(specification, signer: ask(specification.signer))
            for file in specification.files {
                guard let descriptor = descriptors.take() else { continue }
                try loader.load(file, descriptor)
            }
            let made = try loader.finish()
            if let problem = problem(with: specification.limits) {
                verdict.problem = problem
            } else {
                credentials[specification.owner] = made
                verdict.summary = MessageText.fit(made.summary)
                verdict.facts = made.facts
            }
        } catch {
            verdict.problem = MessageText.fit(error.description)
        }
        try link.send(.configured(verdict))
    }

    /// Reports limits that leave nothing to negotiate when they are configured, instead of at the first handshake.
    private func problem(with limits: NegotiationLimits) -> String? {
        do throws(HandshakeFailure) {
            try environment?.priorities(within: limits)
            return nil
        } catch {
            return MessageText.fit("\(error.detail); remedy: \(error.reason.row.remedy)")
        }
    }

    // MARK: Handshakes

    private func start(
        _ job: HandshakeJob, _ handshake: ActiveHandshake, _ buffer: borrowing SecretBuffer
    ) throws(ChannelFault) {
        guard let environment else {
            return try report(job.id, handshake.end(refusing: HandshakeFailure(.libraryFailure, problem), as: job.role))
        }
        let id = job.id
        let log = SessionLog(upTo: logLevel) { [link] level, text in link.log(level, job: id, text) }
        step.job = id
        defer { step.job = 0 }
        do throws(HandshakeFailure) {
            let session = try handshake.metered { () throws(HandshakeFailure) in
                try HandshakeSession(
                    job, secrets: buffer, socket: handshake.number, environment: environment,
                    credentials: credentials[job.owner], tags: tags, signer: ask(.files),
                    findKey: { [keys] identity, key in keys.ask(job: id, identity: identity, into: &key) }, log: log)
            }
            session.limitIncoming(handshakeBytes)
            handshake.begin(session)
        } catch {
            return try report(job.id, handshake.end(refusing: error, as: job.role))
        }
        do throws(SystemError) {
            // Nearly every handshake waits for data next. Data that is already there is read by the first step below.
            handshake.source = try loop.watch(handshake.number) { [unowned self] _ in try advance(id) }
        } catch {
            let failure = HandshakeFailure(.libraryFailure, error.description)
            handshake.session?.abort(failure)
            return try report(job.id, handshake.end())
        }
        handshake.timer = loop.timer { [unowned self] in try advance(id) }
        handshakes[id] = handshake
        try advance(id)
    }

    private func signer(_ kind: SignerKind) -> SignerChannel {
        switch kind {
        case .files: fileSigner
        case .tokens: tokenSigner
        }
    }

    /// Clears the job ID while the worker waits for a signer, so that no peer is blamed for that time.
    private func ask(_ kind: SignerKind) -> SignerCall {
        { [signer = signer(kind), step] question in
            let job = step.job
            step.job = 0
            defer { step.job = job }
            return signer.ask(question)
        }
    }

    private func advance(_ job: UInt64) throws(ChannelFault) {
        guard let handshake = handshakes[job], let session = handshake.session else { return }
        step.job = job
        let outcome = handshake.metered { session.step() }
        step.job = 0
        if let breakdown = keys.breakdown { throw breakdown }
        switch outcome {
        case .wants(let interest, let until):
            let now = loop.now
            if session.hasReceived, handshake.isOld(now), handshake.noteHeard() {
                try link.send(.heard(job: handshake.job))
            }
            guard now < handshake.deadline else {
                session.abort(HandshakeFailure(.deadlineExceeded))
                return try finish(handshake)
            }
            handshake.timer?.deadline = min(handshake.deadline, until ?? .max, now + handshake.pollDelay(now))
            try ChannelFault.of(try handshake.source?.watch(for: interest))
        case .finished:
            // An error is part of the session's result.
            try? session.installKeys()
            keep(session, of: handshake)
            try finish(handshake)
        case .failed:
            try finish(handshake)
        }
    }

    /// Closes the socket, then reports the result: the consumer may use the socket as soon as the broker has answered.
    private func finish(_ handshake: ActiveHandshake) throws(ChannelFault) {
        handshakes[handshake.job] = nil
        try report(handshake.job, handshake.end())
    }

    // MARK: Key updates

    /// Keeps the traffic secrets of a session with installed keys, if key updates are enabled.
    private func keep(_ session: HandshakeSession, of handshake: ActiveHandshake) {
        guard handshake.keepFor > 0, case .finished(let negotiated) = session.step(),
            let secrets = session.takeTrafficSecrets()
        else { return }
        sessions.keep(
            secrets, of: handshake.job, cipherSuite: negotiated.cipherSuite,
            for: .seconds(Int64(handshake.keepFor)), now: loop.now)
    }

    private func start(_ job: KeyUpdateJob, on socket: consuming OwnedDescriptor) throws(ChannelFault) {
        guard let kept = sessions.find(job.session, now: loop.now) else {
            socket.close()
            return try report(
                job.id, HandshakeResult(outcome: .failure(HandshakeFailure(.sessionUnknown, "no longer kept"))))
        }
        let update = ActiveKeyUpdate(job, on: socket, kept.secrets, cipherSuite: kept.cipherSuite)
        update.timer = loop.timer { [unowned self, unowned update] in try advance(update) }
        keyUpdates[job.id] = update
        try advance(update)
    }

    /// - Returns: `true` if the job is a key update.
    private func cancelKeyUpdate(_ job: UInt64, _ reason: CancelReason) throws(ChannelFault) -> Bool {
        guard let update = keyUpdates[job] else { return false }
        try finish(update, .failure(reason.failure))
        return true
    }

    /// Interval at which a waiting key update is polled, in nanoseconds. On NFS client sockets free send space wakes no
    /// poller (net/sunrpc/xprtsock.c, xs_tcp_write_space does not call the previous callback).
    private static let keyUpdatePollInterval: UInt64 = 200_000_000

    private func advance(_ update: ActiveKeyUpdate) throws(ChannelFault) {
        let isDone: Bool
        do throws(HandshakeFailure) {
            isDone = try update.step()
        } catch {
            return try finish(update, .failure(error))
        }
        let now = loop.now
        if isDone {
            sessions.renew(update.job.session, for: .seconds(Int64(update.job.keepFor)), now: now)
            let session = NegotiatedSession(
                cipherSuite: update.cipherSuite, group: "", applicationProtocol: "", peerAuthenticated: false)
            return try finish(update, .success(session))
        }
        guard now < update.job.deadline else {
            return try finish(update, .failure(HandshakeFailure(.deadlineExceeded, "the socket accepts no data")))
        }
        update.timer?.deadline = min(update.job.deadline, now + Self.keyUpdatePollInterval)
    }

    /// Closes the socket, then reports. After a failure the secrets are wiped, because no further update is possible.
    private func finish(
        _ update: ActiveKeyUpdate, _ outcome: HandshakeResult.Outcome
    ) throws(ChannelFault) {
        keyUpdates[update.job.id] = nil
        update.close()
        if case .failure = outcome { sessions.forget(update.job.session) }
        let elapsed = loop.now - update.startedAt
        try report(
            update.job.id, HandshakeResult(outcome: outcome, elapsed: .nanoseconds(Int64(clamping: elapsed))))
    }

    // MARK: Results

    private func report(_ job: UInt64, _ result: HandshakeResult) throws(ChannelFault) {
        try link.send(.result(job: job, result.fitForMessage))
    }
}

/// A handshake in progress and its duplicate of the consumer's socket. Closing the duplicate does not end the
/// connection.
final class ActiveHandshake {
    let job: UInt64
    /// CLOCK_MONOTONIC nanoseconds.
    let deadline: UInt64
    /// Lifetime of the kept session in seconds; 0 if its secrets are not kept.
    let keepFor: UInt32
    private let startedAt: UInt64
    private(set) var session: HandshakeSession?
    /// Event source of the socket.
    var source: EventLoop.Source?
    /// Fires at the deadline, and before it to poll the session.
    var timer: EventLoop.Timer?
    private var socket: OwnedDescriptor?
    private let delays: Bool

    private var wasHeard = false
    /// Processor time of the handshake in nanoseconds.
    private var processorTime: UInt64 = 0

    /// The socket's descriptor, borrowed; valid until `end`.
    let number: Int32

    init(_ job: HandshakeJob, on socket: consuming OwnedDescriptor, startedAt: UInt64) {
        self.job = job.id
        self.startedAt = startedAt
        deadline = job.deadline
        keepFor = job.keepFor
        number = socket.number
        delays = !TCPConnection(number).isUndelayed
        // TCP_NODELAY, because a handshake consists of small messages that the peer waits for.
        if delays { TCPConnection(number).isUndelayed = true }
        self.socket = consume socket
    }

    func begin(_ session: HandshakeSession) {
        self.session = session
    }

    /// True if it has lasted longer than handshakes usually do. Only then the broker needs to know whether the peer has
    /// sent anything, because it evicts the oldest silent handshakes first.
    func isOld(_ now: UInt64) -> Bool { now - startedAt >= FirstByteReport.delay }

    /// Time until the session is polled, in nanoseconds. It grows with the age of the handshake, so that thousands of
    /// stalled handshakes cost little. On NFS client sockets neither a reset nor free send space wakes a poller
    /// (net/sunrpc/xprtsock.c, xs_error_report and xs_tcp_write_space do not call the previous callback).
    func pollDelay(_ now: UInt64) -> UInt64 {
        if !wasHeard, session?.hasReceived == true, !isOld(now) { return startedAt + FirstByteReport.delay - now }
        return min(max((now - startedAt) / 2, 200_000_000), 1_000_000_000)
    }

    /// Records that the peer has sent something. Returns `true` the first time.
    func noteHeard() -> Bool {
        defer { wasHeard = true }
        return !wasHeard
    }

    /// Runs a part of the handshake and adds its processor time to that of the handshake.
    func metered<Result, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        let start = Clock.threadProcessorNanoseconds()
        defer { processorTime += Clock.threadProcessorNanoseconds() - start }
        return try body()
    }

    /// Releases the socket and the keys, and returns the result.
    func end() -> HandshakeResult {
        var result =
            session?.result(elapsed: elapsed)
            ?? HandshakeResult(outcome: .failure(HandshakeFailure(.libraryFailure, "no session")))
        result.processorTime = .nanoseconds(Int64(clamping: processorTime))
        close()
        return result
    }

    /// Ends a handshake that could not begin. A client sends the alert at once; for a server the broker sends it after
    /// the peer's first bytes.
    func end(refusing failure: HandshakeFailure, as role: Role) -> HandshakeResult {
        let alert = role == .client ? HandshakeSession.refuse(failure, on: number) : nil
        let taken = elapsed
        close()
        return HandshakeResult(outcome: .failure(failure), alertSent: alert, elapsed: taken)
    }

    private var elapsed: Duration { .nanoseconds(Int64(clamping: Clock.monotonicNanoseconds() - startedAt)) }

    private func close() {
        session = nil
        timer = nil
        // The broker has the same open file description, so closing our descriptor would not remove it from epoll.
        source?.cancel()
        if delays { TCPConnection(number).isUndelayed = false }
        socket.take()?.close()
    }
}

/// The worker's end of the control channel.
typealias BrokerLink = ProcessChannel<WorkerMessage, BrokerMessage>

extension BrokerLink {
    /// Maximum number of queued messages before log lines are dropped. Results are never dropped.
    private static var waitingLines: Int { 1000 }

    /// Sends a log line. A line that cannot be sent is dropped.
    func log(_ level: UInt8, job: UInt64, _ text: String) {
        guard waitingCount < Self.waitingLines else { return }
        try? send(.log(level: level, job: job, text: MessageText.fit(text)))
    }
}

extension HandshakeResult {
    /// The same result with all texts shortened to what a message allows.
    var fitForMessage: HandshakeResult {
        var fit = self
        fit.pskIdentity = pskIdentity.map(MessageText.fit)
        fit.remarks = remarks.map(MessageText.fit)
        fit.peerCertificate = peerCertificate.map(\.fitForMessage)
        switch outcome {
        case .success(var session):
            session.applicationProtocol = MessageText.fit(session.applicationProtocol)
            fit.outcome = .success(session)
        case .failure(let failure):
            fit.outcome = .failure(HandshakeFailure(failure.reason, MessageText.fit(failure.detail)))
        }
        return fit
    }
}

/// The worker's end of the key channel: one lookup at a time, answered at once.
final class KeyChannel {
    /// Error after which no further lookup is sent, because a late answer would be taken for the answer to the next
    /// lookup.
    private(set) var breakdown: ChannelFault?

    private let channel: ProcessChannel<KeyLookup, KeyAnswer>

    /// Timeout for the broker's answer. The broker waits for nothing itself.
    private static let patience = Duration.seconds(3)

    init(adopting socket: consuming OwnedDescriptor) throws(ChannelFault) {
        channel = try ProcessChannel(adopting: socket)
    }

    var number: Int32 { channel.number }

    /// Looks up the key of an identity and copies it to the start of `key`.
    func ask(job: UInt64, identity: [UInt8], into key: inout SecretBuffer) -> PSKLookup {
        if breakdown != nil { return .unusable("the key channel is broken") }
        do throws(ChannelFault) {
            return try exchange(KeyLookup(job: job, identity: identity), into: &key)
        } catch {
            breakdown = error
            return .unusable("the key channel is broken")
        }
    }

    private func exchange(_ question: KeyLookup, into key: inout SecretBuffer) throws(ChannelFault) -> PSKLookup {
        var finding = PSKLookup.unknown
        let isAnswered = try channel.ask(question, within: Self.patience) { answer, buffer in
            switch answer {
            case .key(let place):
                key.copy(place.range, of: buffer, to: 0)
                finding = .key(count: place.count)
            case .unknown: finding = .unknown
            case .unusable(let why): finding = .unusable(why)
            }
        }
        guard isAnswered else { throw .brokeProtocol("the broker does not answer a key lookup") }
        return finding
    }
}

/// The worker's end of the channel to a signer: one question at a time. The broker replaces it together with the
/// signer.
final class SignerChannel {
    private var channel: ProcessChannel<SigningQuestion, SigningAnswer>?
    /// Reason why there is no channel.
    private var problem = "none has been started yet"

    /// Timeout for the signer's answer. A token may be slow, and several workers may ask at the same time. The worker
    /// does nothing else meanwhile.
    private static let patience = Duration.seconds(2)

    /// Takes the channel to a new signer.
    func connect(_ socket: consuming OwnedDescriptor) throws(ChannelFault) {
        channel = try ProcessChannel(adopting: socket)
    }

    /// Sends a question and waits for the answer. After a timeout no question is sent until there is a new channel,
    /// because a late answer would be taken for the answer to the next question.
    func ask(_ question: SigningQuestion) -> SignerReply {
        guard let channel else { return .unreachable(problem) }
        var reply: SigningAnswer?
        do throws(ChannelFault) {
            _ = try channel.ask(question, within: Self.patience) { answer, _ in reply = answer }
            problem = "it was silent for \(Self.patience)"
        } catch .gone {
            problem = "it has ended"
        } catch {
            problem = error.description
        }
        if let reply { return .answer(reply) }
        self.channel = nil
        return .unreachable(problem)
    }
}
