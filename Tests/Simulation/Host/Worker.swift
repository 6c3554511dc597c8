internal import Glibc
internal import Handshake
internal import Policy
internal import System
internal import Wire

/// A simulated worker: correct, slow, hung or malicious.
final class MadeUpWorker: MadeUpProcess {
    /// Number of the worker in the broker.
    let id: WorkerID
    private var keys: MessageChannel?
    private let step: OwnedDescriptor
    private var mappedStep: WorkerStep?
    private(set) var isReady = false
    private var isSetUp = false
    private var jobs: [Job] = []
    /// The signers of the roles whose credentials have keys.
    private var signers: [CredentialsOwner: SignerKind] = [:]
    /// Sets of credentials without a verdict.
    private var unjudged: [(set: RoleCredentials, problem: String)] = []
    /// True if it sometimes violates the protocol.
    private let isMalicious: Bool
    /// The role of its handshakes.
    private var role: Role?
    /// Numbers of the consumers whose sockets it got for handshakes.
    private(set) var consumers: Set<Int> = []
    /// Pending key lookups.
    private var lookup: (job: UInt64, identity: [UInt8])?

    private final class Job {
        let id: UInt64
        let consumer: Consumer?
        let role: Role
        let authentication: Authentication
        let isUpdate: Bool
        var hasCertificate = false
        /// The signer that has its key.
        var signer: SignerKind?
        /// PSKs that it was given, by identity.
        var given: [[UInt8]: Int32] = [:]
        /// PSKs that it has looked up; the answer may be in the channel.
        var asked: [[UInt8]: Int32] = [:]
        var lookups = 0
        var wasHeard = false
        var cancelled: CancelReason?
        /// Duplicate of the socket.
        let socket: OwnedDescriptor

        init(
            _ id: UInt64, _ consumer: Consumer?, _ role: Role, _ authentication: Authentication, isUpdate: Bool,
            _ socket: consuming OwnedDescriptor
        ) {
            self.id = id
            self.consumer = consumer
            self.role = role
            self.authentication = authentication
            self.isUpdate = isUpdate
            self.socket = socket
        }
    }

    init(
        _ world: World, _ identifier: Int32, id: WorkerID, control: consuming MessageChannel,
        keys: consuming MessageChannel, step: consuming OwnedDescriptor
    ) throws(SystemError) {
        self.id = id
        self.keys = consume keys
        self.step = step
        isMalicious = world.hasMaliciousProcesses && world.random.happens(400)
        try super.init(world, identifier, control: control)
    }

    override var label: String { "worker \(id.number)" }

    override func release() {
        super.release()
        keys = nil
        jobs = []
        mappedStep = nil
    }

    override func act() {
        guard end == nil, !hangs else { return }
        var hasMore = true
        for _ in 0..<world.random.within(1...4) where hasMore { hasMore = end == nil && takeMessage() }
        takeAnswer()
        guard end == nil else { return }
        if !hasMore, world.isCancelling {
            world.check(jobs.allSatisfy { $0.cancelled != nil }, "\(label) was not told to give its jobs up")
        }
        if !isReady {
            guard isSetUp, !world.random.happens(300) else { return }
            isReady = true
            world.note("\(label) is ready")
            send(.ready(abilities))
            return
        }
        if let (set, problem) = unjudged.first, world.random.happens(700) {
            unjudged.removeFirst()
            send(
                .configured(
                    CredentialsVerdict(
                        owner: set.owner, generation: set.generation, problem: problem, summary: "fine")))
        }
        if isMalicious, world.random.happens(80) { return violateProtocol() }
        if let job = world.random.pick(jobs) { advance(job) }
    }

    private var abilities: WorkerAbilities {
        WorkerAbilities(libraryVersion: "0", bindsSHA384: true, cipherSuites: "", problem: "")
    }

    private func send(_ message: WorkerMessage, descriptors: [Int32] = []) {
        guard let count = try? world.scratch.buffer.write(message).length else {
            return world.fail("\(label) cannot write")
        }
        sendControl(count, descriptors)
    }

    private func sendControl(_ count: Int, _ descriptors: [Int32] = []) {
        guard let channel = control.take() else { return }
        send(count, over: channel, descriptors: descriptors)
        if end == nil { control = consume channel }
    }

    /// - Returns: `true` if there was one.
    private func takeMessage() -> Bool {
        guard let channel = control.take() else { return false }
        let received = receive(from: channel)
        if end == nil { control = consume channel }
        guard let (length, descriptors) = received else { return false }
        let message: BrokerMessage
        do throws(WireError) {
            message = try world.scratch.buffer.read(first: length)
        } catch {
            world.fail("\(label) got what is no message: \(error.description)")
            return false
        }
        world.check(
            descriptors.count == message.descriptorCount, "\(label) got \(descriptors.count) descriptors with a message"
        )
        world.check(
            !world.scratch.contains(MadeUpKeys.secret, first: length), "\(label) got a private key in a message")
        handle(message, descriptors)
        return true
    }

    private func handle(_ message: BrokerMessage, _ descriptors: ReceivedDescriptors) {
        world.check(isSetUp || message.isSetUp, "\(label) was not set up first")
        switch message {
        case .setUp: isSetUp = true
        case .credentials(let credentials):
            while let file = descriptors.take() {
                world.check(!world.holdsSecret(file), "\(label) got a file with a private key")
            }
            // All decide alike, but for a malicious one.
            let isBad = isMalicious ? world.random.happens(300) : credentials.generation % 5 == 4
            if !isBad {
                signers[credentials.owner] = credentials.kinds.contains(.privateKey) ? credentials.signer : nil
            }
            unjudged.append((credentials, isBad ? "it is not good" : ""))
        case .withdraw(let profile):
            for role in Role.allCases { signers[CredentialsOwner(profile, role)] = nil }
        case .tags: break
        case .signer: world.check(isReady, "\(label) got a channel to the signer before it was ready")
        case .handshake(let job):
            world.check(isReady, "\(label) got a handshake before it was ready")
            guard let socket = descriptors.take() else { return }
            let consumer = world.consumer(of: socket)
            world.note("\(label) gets job \(job.id), of \(consumer?.number ?? -1)")
            world.check(role == nil || role == job.role, "\(label) gets handshakes of both roles")
            role = job.role
            if let consumer { consumers.insert(consumer.number) }
            world.check(!world.isolates || consumers.count == 1, "\(label) gets a second handshake")
            let taken = Job(job.id, consumer, job.role, job.authentication, isUpdate: false, socket)
            taken.hasCertificate = !job.certificate.isEmpty
            if job.authentication == .x509 { taken.signer = taken.hasCertificate ? .files : signers[job.owner] }
            for key in job.preSharedKeys { taken.given[key.identity] = world.serial(of: key.identity) }
            jobs.append(taken)
        case .keyUpdate(let job):
            guard let socket = descriptors.take() else { return }
            let consumer = world.consumer(of: socket)
            world.note("\(label) gets key update \(job.id), of \(consumer?.number ?? -1)")
            jobs.append(Job(job.id, consumer, .client, .x509, isUpdate: true, socket))
        case .cancel(let id, let reason): jobs.first { $0.id == id }?.cancelled = reason
        }
    }

    // MARK: Regular work

    private func advance(_ job: Job) {
        if let reason = job.cancelled { return finish(job, .failure(reason.failure)) }
        if world.random.happens(100) { say(step: job.id) }
        let stream = job.consumer?.stream
        if let stream, !job.isUpdate, world.random.happens(300) {
            stream.received += UInt64(min(stream.unread, 100))
            stream.unread -= min(stream.unread, 100)
            if job.role == .client { stream.sent += 200 }
        }
        switch world.random.below(10) {
        case 0 where !job.wasHeard && !job.isUpdate:
            job.wasHeard = true
            send(.heard(job: job.id))
        case 1, 2, 3:
            if job.role == .server, job.authentication == .preSharedKey, lookup == nil { ask(job) }
        case 4, 5:
            guard lookup?.job != job.id else { return }
            if stream?.state == .ended {
                finish(job, .failure(HandshakeFailure(.connectionReset)))
            } else if world.random.happens(300) {
                finish(job, .failure(HandshakeFailure(world.random.pick(Self.failures) ?? .protocolViolation)))
            } else {
                succeed(job)
            }
        default: break
        }
    }

    private static let failures: [FailureReason] = [
        .certificateExpired, .pskIdentityUnknown, .alertReceived, .peerClosed, .deadlineExceeded, .signerUnavailable,
    ]

    private func ask(_ job: Job) {
        guard job.lookups < MessageLimit.lookups, let channel = keys.take() else { return }
        let serial: Int32 = world.random.pick(MadeUpKeys.preSharedKeys + [999]) ?? 0
        let identity = MadeUpKeys.identity(serial)
        job.lookups += 1
        lookup = (job.id, identity)
        job.asked[identity] = world.serial(of: identity)
        if let count = try? world.scratch.buffer.write(KeyLookup(job: job.id, identity: identity)).length {
            send(count, over: channel)
        }
        if end == nil { keys = consume channel }
    }

    private func takeAnswer() {
        guard let asked = lookup, let channel = keys.take() else { return }
        let received = receive(from: channel)
        if end == nil { keys = consume channel }
        guard let (length, _) = received else { return }
        lookup = nil
        guard let answer: KeyAnswer = try? world.scratch.buffer.read(first: length) else {
            return world.fail("\(label) got what is no answer")
        }
        if case .key = answer {
            jobs.first { $0.id == asked.job }?.given[asked.identity] = world.serial(of: asked.identity)
        }
    }

    private func succeed(_ job: Job) {
        var identity: [UInt8]?
        if job.authentication == .preSharedKey, !job.isUpdate {
            guard let given = job.given.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }).first else {
                return finish(job, .failure(HandshakeFailure(.pskIdentityUnknown)))
            }
            identity = given
        }
        guard isSigned(job) else {
            return finish(job, .failure(HandshakeFailure(.signerUnavailable)))
        }
        let isAuthenticated = job.authentication == .preSharedKey || !world.random.happens(200)
        finish(job, .success(Self.session(isAuthenticated)), identity: identity)
    }

    /// Has the handshake signed where that is necessary.
    private func isSigned(_ job: Job) -> Bool {
        guard let kind = job.signer else { return true }
        guard let answer = world.signer(kind)?.sign(job.id, for: id, byRequestKey: job.hasCertificate) else {
            return false
        }
        world.check(
            answer || isMalicious, "\(label) has no permit for its job \(job.id)")
        return answer
    }

    private static func session(_ isAuthenticated: Bool) -> NegotiatedSession {
        NegotiatedSession(
            cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "",
            peerAuthenticated: isAuthenticated)
    }

    private func finish(_ job: Job, _ outcome: HandshakeResult.Outcome, identity: [UInt8]? = nil) {
        report(job, outcome, identity)
        jobs.removeAll { $0 === job }
        if case .failure(let failure) = outcome, failure.reason == .signerUnavailable, world.random.happens(500) {
            world.note("\(label) has suspected the signer")
        }
    }

    /// Sends a result, and records what the broker may accept of it.
    private func report(_ job: Job, _ outcome: HandshakeResult.Outcome, _ identity: [UInt8]?) {
        if case .success(let session) = outcome {
            let serial = identity.flatMap { job.given[$0] ?? job.asked[$0] }.flatMap { KeySerial($0) }
            job.consumer?.successes.append(
                Consumer.Success(
                    isAuthenticated: session.peerAuthenticated, serial: serial,
                    wasOpen: job.consumer?.stream.state != .ended))
        }
        world.note("\(label) reports job \(job.id): \(outcome.isSuccess ? "success" : "failure")")
        var result = HandshakeResult(outcome: outcome)
        result.pskIdentity = identity.map { String(decoding: $0, as: UTF8.self) }
        if !outcome.isSuccess, world.random.happens(500) { result.alertSent = .handshakeFailure }
        send(.result(job: job.id, result))
    }

    /// Writes the ID of the job being computed to the page that the broker reads.
    private func say(step job: UInt64) {
        if mappedStep == nil { mappedStep = try? WorkerStep(mapping: step.number) }
        mappedStep?.job = job
    }

    // MARK: Protocol violations

    private func violateProtocol() {
        let job = world.random.pick(jobs), others = world.jobsOfOthers(than: self)
        let success = HandshakeResult(outcome: .success(Self.session(true)))
        world.note("\(label) violates the protocol")
        switch world.random.below(15) {
        case 14:
            for signer in SignerKind.allCases {
                guard let other = world.random.pick(others) else { return }
                world.check(
                    world.signer(signer)?.sign(other, for: id, byRequestKey: false) != true,
                    "\(label) has a permit for the job \(other) of another")
            }
        case 0: if let other = world.random.pick(others) { send(.result(job: other, success)) }
        case 1: send(.result(job: 1_000_000, success))
        case 2:
            guard let job else { return }
            finish(job, .success(Self.session(true)), identity: MadeUpKeys.identity(101))
            send(.result(job: job.id, success))
        case 3: if let job { finish(job, .success(Self.session(true))) }
        case 4: if let job { finish(job, .success(Self.session(true)), identity: MadeUpKeys.identity(102)) }
        case 5:
            if let job {
                finish(
                    job, .success(Self.session(false)),
                    identity: job.given.keys.min(by: { $0.lexicographicallyPrecedes($1) }))
            }
        case 6:
            guard let job else { return }
            send(.heard(job: job.id))
            send(.heard(job: job.id))
        case 7: if let other = world.random.pick(others) { send(.heard(job: other)) }
        case 8:
            world.scratch.put((0..<60).map { UInt8(truncatingIfNeeded: $0 * 151) })
            sendControl(60)
        case 9: if let job { send(.heard(job: job.id), descriptors: [number]) }
        case 10: send(.ready(abilities))
        case 11: send(.log(level: 0, job: job?.id ?? 0, text: "hear"))
        case 12:
            guard let other = world.random.pick(others + [jobs.first?.id ?? 5]), let channel = keys.take() else {
                return
            }
            jobs.first { $0.id == other }?.asked[MadeUpKeys.identity(103)] = 103
            if let count = try? world.scratch.buffer.write(
                KeyLookup(job: other, identity: MadeUpKeys.identity(103))
            ).length {
                send(count, over: channel)
            }
            if end == nil { keys = consume channel }
        default:
            send(
                .configured(
                    CredentialsVerdict(
                        owner: CredentialsOwner(.standard, .client), generation: 999, problem: "", summary: "")))
        }
    }

    /// The jobs that it runs.
    var jobNumbers: [UInt64] { jobs.map(\.id) }
}

extension BrokerMessage {
    fileprivate var isSetUp: Bool { if case .setUp = self { true } else { false } }
}

extension HandshakeResult.Outcome {
    var isSuccess: Bool { if case .success = self { true } else { false } }
}
