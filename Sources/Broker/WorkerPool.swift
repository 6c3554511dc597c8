internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import Upcall
internal import Wire

/// Handshakes that may run in one worker. Those of strangers (server) and of this host's own connections (client) never
/// share one.
struct WorkerDuty: Hashable {
    enum Scope: Hashable {
        /// All that are not isolated.
        case shared
        /// Those of one profile in one network namespace.
        case profile(ProfileNumber, NamespaceName?)
        /// A single handshake. Its worker has ended before the kernel is answered.
        case handshake
    }

    let role: Role
    let scope: Scope
}

/// A place for a worker of one duty.
///
/// A worker that is due to be replaced stays in its place until its successor, in a place that is added, is ready. Then
/// its place retires: it gets no more handshakes, and goes with the last one that it has.
final class WorkerPlace {
    let duty: WorkerDuty
    let supervisor: Supervisor<WorkerPool>
    fileprivate(set) var isRetiring = false
    /// The worker has run its only handshake, and was killed.
    fileprivate(set) var isLeaving = false

    init(_ duty: WorkerDuty, _ supervisor: Supervisor<WorkerPool>) {
        self.duty = duty
        self.supervisor = supervisor
    }

    var worker: WorkerProcess? { supervisor.process }
    /// It may be given handshakes.
    var isOpen: Bool { supervisor.isServing && !isRetiring && !isLeaving }
}

/// The workers: tells them what they must know, takes what they say, replaces them after some time, and fails their
/// handshakes when they end.
final class WorkerPool: SupervisorUser {
    /// The places for workers, oldest first.
    private(set) var places: [WorkerPlace] = []
    private var lastID = 0
    /// Roles that handshakes were requested in.
    private var usedRoles: Set<Role> = []
    /// When `balance` has something to do; CLOCK_MONOTONIC nanoseconds.
    private var balanceAt: UInt64 = 0
    /// The layers of the workers' sandbox.
    private(set) var confinement = Confinement()
    /// Workers that died or were killed for a fault since the start.
    private(set) var deaths = 0
    /// Workers that were replaced since the start because of their age, the number of their handshakes or a profile's
    /// isolation.
    private(set) var replacements = 0
    /// Identities whose PSKs workers were given since the start, counted for each worker.
    private(set) var identitiesGiven = 0
    /// Workers that died before they were ready, in a row.
    private(set) var startAttempts = 0
    /// The reason why the workers' library can serve nothing, such as a crypto policy that forbids everything.
    var startProblem: String?

    private let program: String
    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }
    private var settings: WorkerSettings { broker.configuration.settings.workers }

    /// Number of workers of a role, at least, so that the death of one does not end all handshakes.
    private static let least = 2
    /// Number of identities whose PSKs a worker was given after which it is replaced.
    private static let identities = 128
    /// Maximum number of workers of isolated profiles.
    private static let mostOfProfiles = 64
    /// Number of workers of a role that is used, and of those that wait for isolated handshakes.
    private let count: Int
    /// Maximum number of isolated handshakes of one role at the same time, each with its worker.
    static let mostIsolated = 128

    /// Number of workers on a host with that many processors.
    static func count(processors: Int) -> Int { max(processors, least) }

    /// Maximum time until a worker is ready, in nanoseconds; as for the keys of a signer.
    private static let startPatience: UInt64 = 20_000_000_000

    /// Young deaths in a row in one place after which a new worker is started at once.
    private static let forgivenDeaths = 3

    init(_ broker: Broker, program: String, processors: Int) {
        self.broker = broker
        self.program = program
        count = Self.count(processors: processors)
        for _ in 0..<Self.least {
            for role in Role.allCases { add(WorkerDuty(role: role, scope: .shared)) }
        }
    }

    func addSchedules(to loop: EventLoop) {
        loop.schedule({ [unowned self] in nextStart }) { [unowned self] now in start(now) }
        loop.schedule({ [unowned self] in nextBalance }) { [unowned self] now in balance(now) }
        loop.schedule({ [unowned self] in nextOverdue }) { [unowned self] now in dismissOverdue(now) }
    }

    // MARK: Which there are

    /// The workers in their places.
    var workers: [WorkerProcess] { places.compactMap(\.worker) }

    /// The place of a worker; `nil` if it has left it.
    func place(of id: WorkerID) -> WorkerPlace? { places.first { $0.worker?.id == id } }

    var hasReadyWorker: Bool { places.contains(where: \.supervisor.isServing) }

    /// True if a worker of a handshake's duty is ready.
    func hasReadyWorker(for handshake: Handshake) -> Bool {
        let duty = duty(for: handshake)
        return places.contains { $0.duty == duty && $0.isOpen }
    }

    /// Workers that take a handshake now.
    func free(for handshake: Handshake) -> [WorkerID] {
        let duty = duty(for: handshake)
        return places.compactMap { place in
            guard place.duty == duty, place.isOpen, let worker = place.worker, !worker.isCongested else { return nil }
            switch duty.scope {
            case .shared: return worker.id
            // Started a moment ago: the handshake's time does not pass while it reads its credentials.
            case .profile: return worker.hasCredentials ? worker.id : nil
            case .handshake: return worker.hasCredentials && worker.handshakes == 0 ? worker.id : nil
            }
        }
    }

    /// Returns `true` if a worker is ready and has not ended.
    func serves(_ id: WorkerID) -> Bool { place(of: id)?.supervisor.isServing == true }

    /// The handshake that a worker says it computes for; 0 for none.
    func step(of id: WorkerID) -> UInt64? { place(of: id)?.worker?.step.job }

    var processes: [Int32] { workers.map(\.process.identifier) }

    /// Number of workers that keep secrets of connections, at most: those of both roles, and as many that have retired.
    var mostWithSessions: Int { 4 * count + 2 * Self.mostOfProfiles }

    /// Number of workers that there should be.
    var wanted: Int { duties.reduce(0) { $0 + wanted($1) } }

    /// Writes to the log what they have written to their standard error.
    func relayOutputs() {
        for place in places { place.supervisor.relayOutput() }
    }

    // MARK: Duties

    private func duty(for handshake: Handshake) -> WorkerDuty {
        let scope: WorkerDuty.Scope =
            switch broker.reload.profiles.isolation(of: handshake.profile.number) {
            case .shared, nil: .shared
            case .profile: .profile(handshake.profile.number, handshake.request.namespace)
            case .handshake: .handshake
            }
        return WorkerDuty(role: handshake.request.role, scope: scope)
    }

    /// A handshake is to be run: there must be a place for it.
    func demand(for handshake: Handshake) {
        let duty = duty(for: handshake)
        use(duty.role)
        guard case .profile = duty.scope, !places.contains(where: { $0.duty == duty && !$0.isRetiring }) else { return }
        let others = places.filter { if case .profile = $0.duty.scope { !$0.isRetiring } else { false } }
        if others.count >= Self.mostOfProfiles {
            guard let idle = others.filter({ isIdle($0) }).min(by: { lastUse($0) < lastUse($1) }) else { return }
            end(idle)
        }
        add(duty)
    }

    /// A role is used: it gets all its workers.
    func use(_ role: Role) {
        if usedRoles.insert(role).inserted { balanceAt = 0 }
    }

    private func add(_ duty: WorkerDuty) {
        // Of many places for one handshake each, every one would be forgiven as often.
        let forgiven = duty.scope == .handshake ? 0 : Self.forgivenDeaths
        places.append(WorkerPlace(duty, Supervisor(self, broker, backOff: BackOff(forgiven: forgiven))))
    }

    /// Duties that have places, or should have.
    private var duties: Set<WorkerDuty> {
        var duties = Set(places.map(\.duty))
        for role in broker.reload.profiles.rolesWithSingleHandshakes {
            duties.insert(WorkerDuty(role: role, scope: .handshake))
        }
        return duties
    }

    /// Number of workers for a duty. A role that was never used has as few as possible, which take a first burst.
    private func wanted(_ duty: WorkerDuty) -> Int {
        switch duty.scope {
        case .shared: return usedRoles.contains(duty.role) ? count : Self.least
        case .handshake:
            guard broker.reload.profiles.rolesWithSingleHandshakes.contains(duty.role) else { return 0 }
            let busy = places.count { $0.duty == duty && $0.worker?.handshakes ?? 0 > 0 }
            return min(busy + count, Self.mostIsolated)
        case .profile(let profile, _):
            guard broker.reload.profiles.isolation(of: profile) == .profile else { return 0 }
            // One that nobody has used lately goes without a successor.
            let isUsed = places.contains { place in
                place.duty == duty && (place.worker == nil || lastUse(place) + lifetime > broker.loop.now)
            }
            return isUsed ? 1 : 0
        }
    }

    // MARK: Replacement

    /// Time for which a worker is used, in nanoseconds.
    private var lifetime: UInt64 { UInt64(settings.minutes.value) * 60_000_000_000 }

    private func lastUse(_ place: WorkerPlace) -> UInt64 { place.worker.map { $0.lastUse ?? $0.startedAt } ?? 0 }

    /// When a worker is to be replaced; `nil` for one that was not used.
    private func dueAt(_ place: WorkerPlace) -> UInt64? {
        guard let worker = place.worker, !place.isRetiring, place.duty.scope != .handshake else { return nil }
        if worker.isDistrusted || worker.handshakes >= settings.handshakes.value
            || worker.identities.count >= Self.identities
        {
            return 0
        }
        if case .profile = place.duty.scope { return (worker.firstUse ?? worker.startedAt) + lifetime }
        return worker.firstUse.map { $0 + lifetime }
    }

    private func isIdle(_ place: WorkerPlace) -> Bool {
        guard let worker = place.worker else { return true }
        guard !place.isLeaving else { return false }
        return load(of: place) == 0 && !broker.handshakes.sessions.isKept(by: worker.id, now: broker.loop.now)
    }

    private func load(of place: WorkerPlace) -> Int {
        place.worker.map { broker.handshakes.table.load(of: $0.id) } ?? 0
    }

    /// Has a worker replaced as soon as its successor is ready.
    func distrust(_ id: WorkerID) {
        place(of: id)?.worker?.isDistrusted = true
        balanceAt = 0
    }

    private var nextBalance: UInt64? {
        switch broker.lifecycle {
        case .serving, .awaitingReplacement: balanceAt
        // Handshakes that wait may need workers of their own.
        case .draining: broker.handshakes.table.waiting.isEmpty ? nil : balanceAt
        case .starting, .cancelling: nil
        }
    }

    /// A handshake of a worker is over, which may have been the last of one that has retired.
    func noteEnd(on id: WorkerID?) {
        if let id, place(of: id)?.isRetiring == true { balanceAt = 0 }
    }

    /// Profiles have changed.
    func noteProfiles() { balanceAt = 0 }

    /// Counts an identity whose PSK a worker is given.
    func note(_ identity: [UInt8], givenTo id: WorkerID) throws(ChannelFault) {
        guard let place = place(of: id), let worker = place.worker else { return }
        guard worker.identities.insert(identity).inserted else { return }
        identitiesGiven += 1
        if let due = dueAt(place) { balanceAt = min(balanceAt, due) }
        guard worker.identities.count <= MessageLimit.identities else {
            throw .brokeProtocol("it asked for the keys of more than \(MessageLimit.identities) identities")
        }
    }

    /// Adds places that are missing, has workers replaced that are due, and ends those that have retired.
    private func balance(_ now: UInt64) {
        var hasChanged = false
        for duty in duties where balance(duty, now) { hasChanged = true }
        for place in places where place.isRetiring && isIdle(place) { end(place) }
        // Sessions that retired workers keep end by themselves.
        let next = places.contains(where: \.isRetiring) ? now + 1_000_000_000 : .max
        let due = min(next, places.compactMap(dueAt).filter { $0 > now }.min() ?? .max)
        // Another worker of the same duty may be due.
        balanceAt = hasChanged ? now : due
        // Places or profiles have changed: what waits may have found a worker, or lost its profile.
        broker.handshakes.dispatchWaiting()
    }

    /// - Returns: `true` if a place was added, was removed, or retires.
    private func balance(_ duty: WorkerDuty, _ now: UInt64) -> Bool {
        let wanted = wanted(duty)
        func active() -> [WorkerPlace] { places.filter { $0.duty == duty && !$0.isRetiring } }
        while active().count < wanted { add(duty) }
        let due = active().filter { (dueAt($0) ?? .max) <= now }
        if wanted > 0, active().count == wanted, !due.isEmpty {
            let retired = places.filter { $0.duty == duty && $0.isRetiring }
            if retired.count >= count {
                // Kept secrets do not hold up the replacement of others. Handshakes end by themselves.
                guard let oldest = retired.first(where: { load(of: $0) == 0 }) else { return false }
                end(oldest)
            }
            add(duty)
            return true
        }
        guard active().count > wanted else { return false }
        let serving = active().filter(\.isOpen)
        if serving.count > wanted, let oldest = due.first(where: \.isOpen) ?? serving.first {
            oldest.isRetiring = true
            if isIdle(oldest) { end(oldest) }
            return true
        }
        // A place whose worker has died stays until its back-off is over.
        let empty = active().last { $0.worker == nil && (wanted == 0 || $0.supervisor.canStart(now)) }
        guard let empty, due.isEmpty || wanted == 0 else { return false }
        places.removeAll { $0 === empty }
        return true
    }

    /// Kills the worker of a place, which has nothing left to do, and removes the place.
    private func end(_ place: WorkerPlace) {
        if let worker = place.worker {
            log.debug("\(worker.process.label) is replaced after \(worker.handshakes.counted("handshake"))")
            broker.outputs.relay(worker.process, isLast: true)
            replacements += 1
            let id = worker.id
            place.supervisor.discard()
            broker.handshakes.sessions.lose(id)
            broker.credentials.forget(id)
        }
        places.removeAll { $0 === place }
    }

    /// A worker has run its only handshake: `ended` tells when it holds no descriptor any more.
    func leave(_ id: WorkerID) {
        guard let place = place(of: id) else { return }
        place.isLeaving = true
        place.worker?.process.kill()
    }

    /// Returns `true` if a worker ends with its handshake.
    func runsSingleHandshake(_ id: WorkerID) -> Bool { place(of: id)?.duty.scope == .handshake }

    // MARK: Start

    /// The places that may be filled: before READY one, because a single worker can serve the first requests.
    private var openPlaces: ArraySlice<WorkerPlace> {
        places.prefix(broker.lifecycle == .starting ? 1 : places.count)
    }

    /// Time at which the next free place may be filled; `nil` if none is free.
    var nextStart: UInt64? { openPlaces.compactMap(\.supervisor.nextStart).min() }

    /// Fills one free place whose time has come; requests that wait are served before the next.
    func start(_ now: UInt64) {
        openPlaces.first { $0.supervisor.canStart(now) }?.supervisor.start(now)
    }

    /// Time at which a worker that is not ready yet is considered hung; `nil` if all are ready.
    private var nextOverdue: UInt64? {
        workers.filter { !$0.isReady }.map { $0.startedAt + Self.startPatience }.min()
    }

    private func dismissOverdue(_ now: UInt64) {
        for worker in workers where !worker.isReady && worker.startedAt + Self.startPatience <= now {
            dismiss(worker, "it did not become ready within \(Self.startPatience / 1_000_000_000) s")
        }
    }

    func makeProcess() throws(SystemError) -> WorkerProcess {
        lastID += 1
        return try WorkerProcess(
            id: WorkerID(lastID), program: program, environment: WorkerProgram.environment(),
            starter: broker.surroundings.programs, startedAt: broker.loop.now)
    }

    func startFailed(_ error: SystemError) {
        log.error("a worker cannot be started: \(error.description)", .workerNotStarted)
        startAttempts += 1
    }

    func watchOtherChannels(of worker: WorkerProcess) throws(SystemError) -> [BrokerSource] {
        let id = worker.id
        return [try broker.loop.watch(worker.keyNumber) { [unowned self] _ in receiveLookups(from: id) }]
    }

    /// Tells a new worker what it must know: set-up, then the credentials of its role.
    func introduce(_ worker: WorkerProcess) {
        let id = worker.id
        send(.setUp(setUp), to: id)
        if !broker.tags.names.isEmpty { send(.tags(broker.tags.tags), to: id) }
        for set in broker.credentials.currentSets where set.isComplete { send(set, to: worker) }
    }

    private var setUp: WorkerSetUp {
        let settings = broker.configuration.settings
        return WorkerSetUp(
            kernelTLS: broker.kernelTLS, logLevel: UInt8(clamping: log.level),
            libraryLogLevel: UInt8(clamping: settings.debug.tls.value), handshakeBytes: settings.handshakeBytes.value,
            memoryLimit: settings.memoryLimits.worker)
    }

    // MARK: What they are told

    func send(_ message: BrokerMessage, to id: WorkerID) {
        attempt(id) { worker throws(ChannelFault) in try worker.send(message) }
    }

    /// Sends a set to a worker that may run handshakes with it.
    private func send(_ set: CredentialSet, to worker: WorkerProcess) {
        guard let duty = place(of: worker.id)?.duty, duty.role == set.message.role else { return }
        switch duty.scope {
        case .shared: broker.credentials.noteSent(set, to: worker.id)
        case .profile(let profile, _):
            guard profile == set.message.profile else { return }
            broker.credentials.noteSent(set, to: worker.id)
        case .handshake:
            // One that ends with its handshake uses no keys for longer than the signer keeps them, and has no say.
            guard broker.reload.profiles.isolation(of: set.message.profile) == .handshake else { return }
        }
        attempt(worker.id) { worker throws(ChannelFault) in
            try worker.send(.credentials(set.message), descriptors: set.descriptors, keeper: set)
        }
    }

    /// Sends every worker a message. One that starts meanwhile is told by `introduce`.
    func sendAll(_ message: BrokerMessage) {
        for worker in workers { send(message, to: worker.id) }
    }

    /// Sends every worker its set-up again, after log levels changed.
    func refreshSetUp() { sendAll(.setUp(setUp)) }

    /// Sends every worker of a role its new credentials.
    func distribute(_ set: CredentialSet) {
        for worker in workers { send(set, to: worker) }
    }

    /// Gives a worker its channel to a signer.
    func connect(_ id: WorkerID, to signer: SignerKind, _ ends: ChannelEnds) {
        attempt(id) { worker throws(ChannelFault) in
            try worker.send(.signer(signer), descriptors: [ends.workers], keeper: ends)
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
        if isSent, let place = place(of: id) { noteUse(place) }
        return isSent
    }

    private func noteUse(_ place: WorkerPlace) {
        place.worker?.noteUse(broker.loop.now)
        if let due = dueAt(place) { balanceAt = min(balanceAt, due) }
    }

    /// The same for a key update.
    func offer(_ job: KeyUpdateJob, socket: Int32, to id: WorkerID) -> Bool {
        var isSent = false
        attempt(id) { worker throws(ChannelFault) in isSent = try worker.offer(job, socket: socket) }
        return isSent
    }

    private func attempt(_ id: WorkerID, _ body: (WorkerProcess) throws(ChannelFault) -> Void) {
        place(of: id)?.supervisor.attempt(body)
    }

    func name(of worker: WorkerProcess) -> String { worker.process.label }

    func hasRoom(_ worker: WorkerProcess) { broker.handshakes.dispatchWaiting() }

    // MARK: What they say

    /// Takes a worker's messages before its channel's turn comes.
    func receive(from id: WorkerID) { place(of: id)?.supervisor.receive() }

    /// docs/broker-protocol.md, the worker's messages.
    func handle(_ message: WorkerMessage, from worker: WorkerProcess) throws(ChannelFault) {
        switch message {
        case .ready(let abilities): welcome(worker, abilities)
        case .configured(let verdict): broker.credentials.judge(verdict, from: worker.id)
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
        confinement.note(abilities.confinement, "workers are less confined than they could be", log)
        log.debug(
            "\(worker.process.label): GnuTLS \(abilities.libraryVersion), \(abilities.cipherSuites), "
                + "PSKs with SHA-384 \(abilities.bindsSHA384 ? "work" : "do not work")")
        // Not before: until it is ready it may not ask a signer.
        for signer in broker.signers { signer.introduce(worker.id) }
        balanceAt = 0
        broker.handshakes.dispatchWaiting()
    }

    // MARK: Their end

    /// Kills a worker that cannot be used any longer; its end is told by its pidfd.
    ///
    /// - Parameter suspect: the handshake that made it so, where one did.
    func dismiss(_ id: WorkerID, _ why: String, _ suspect: Handshake? = nil) {
        guard let worker = place(of: id)?.worker else { return }
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
        if let place = place(of: worker.id), place.isLeaving { return left(place, worker) }
        broker.outputs.relay(worker.process, isLast: true)
        let inHand = broker.handshakes.inHand(of: worker.id)
        log.error(
            "\(worker.process.label) \(end.text)\(Self.blame(end.isFault ? inHand : nil))", .workerEnded)
        if end.isFault, let inHand { broker.handshakes.punish(inHand, for: .workerKilled) }
        remove(worker, end.text, inHand, spares: inHand != nil || !end.isFault)
    }

    /// A worker has ended after its only handshake: nothing holds the socket but the broker.
    private func left(_ place: WorkerPlace, _ worker: WorkerProcess) {
        broker.outputs.relay(worker.process, isLast: true)
        // The place, and its back-off, are the next one's.
        place.supervisor.discard()
        place.isLeaving = false
        if place.isRetiring { places.removeAll { $0 === place } }
        broker.credentials.forget(worker.id)
        balanceAt = 0
        broker.handshakes.conclude(after: worker.id)
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
        guard let place = place(of: worker.id) else { return }
        let now = broker.loop.now
        let others = places.count { $0 !== place && $0.duty == place.duty && $0.worker != nil }
        let vacancy = place.supervisor.vacate(served: worker.isReady, isScarce: others < Self.least, now: now)
        if place.isRetiring { places.removeAll { $0 === place } }
        place.isLeaving = false
        broker.credentials.forget(worker.id)
        balanceAt = 0
        startAttempts += worker.isReady ? 0 : 1
        deaths += 1
        if vacancy.youngDeaths > Self.forgivenDeaths {
            log.error(
                "\(vacancy.youngDeaths) workers in a row crashed shortly after their start, \(deaths) since tlshd started: a peer may "
                    + "be triggering a crash; the next worker starts in \(vacancy.pause / 1_000_000) ms; remedy: update GnuTLS, "
                    + "see the lines above",
                .workersDieYoung)
        }
        broker.handshakes.lose(worker.id, "\(worker.process.label) \(text)", suspect, spares: spares)
        start(now)
        broker.handshakes.dispatchWaiting()
    }

    /// Closes the channels of all, at which they end.
    func hangUp() {
        for place in places { place.supervisor.hangUp() }
    }
}

/// One worker process as the broker sees it: its two channels, and where it stands in the protocol.
final class WorkerProcess: ServiceProcess {
    let id: WorkerID
    let process: SupervisedProcess
    /// The job that it says it computes for.
    let step: WorkerStep
    /// CLOCK_MONOTONIC nanoseconds; `nil` for a worker that was not used.
    let startedAt: UInt64
    private(set) var firstUse: UInt64?
    private(set) var lastUse: UInt64?
    /// Number of handshakes that it was given.
    private(set) var handshakes = 0
    /// Identities whose PSKs it was given.
    var identities: Set<[UInt8]> = []
    /// It is to be replaced: what it said contradicts others.
    var isDistrusted = false
    private let control: ProcessChannel<BrokerMessage, WorkerMessage>
    private let keys: ProcessChannel<KeyAnswer, KeyLookup>

    /// Starts the program with its two channels.
    ///
    /// - Throws: when the process or its channels cannot be made.
    init(
        id: WorkerID, program: String, environment: [String], starter: ProgramStarter = ProgramStarter(),
        startedAt: UInt64 = 0
    ) throws(SystemError) {
        self.id = id
        self.startedAt = startedAt
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
    /// It has answered all credentials that it was sent.
    var hasCredentials: Bool { control.oldestUnanswered(.credentials) == nil }

    /// Notes that it was given a handshake.
    func noteUse(_ now: UInt64) {
        firstUse = firstUse ?? now
        lastUse = now
        handshakes += 1
    }

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
