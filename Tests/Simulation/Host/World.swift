internal import Broker
internal import CLinux
internal import Glibc
internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import Unconfined
internal import Upcall
internal import Wire

/// Everything around the broker in one run: kernel, consumers, peers, workers, signer, files, keys and the clock. It
/// performs random actions and checks the broker whenever the broker's event loop waits.
final class World {
    var random: Random
    let clock = SimulatedClock()
    let scratch: Scratch
    private let fixtures: Fixtures
    private let trace: ((String) -> Void)?
    /// The first violated rule; `nil` if none is.
    private(set) var violation: String?

    private(set) var consumers: [Consumer] = []
    private var upcalls: [MadeUpUpcall] = []
    private var namespaces: MadeUpNamespaces?
    private lazy var keys = MadeUpKeys(self)
    private var processes: [MadeUpProcess] = []
    private var workersStarted = 0
    private var heldFiles: [@Sendable () -> Void] = []
    private weak var broker: Broker?

    /// True if some workers, and the signer, violate the protocol.
    let hasMaliciousProcesses: Bool
    private let hasFaults: Bool
    /// Each handshake has a worker of its own, since the start.
    private(set) var isolates: Bool
    private let leaps: Bool
    private let holdsFiles: Bool
    private let processors: Int
    private let channelRoom: Int32
    private var failsToStart = false
    private var requestsLeft: Int
    private(set) var waits = 0
    /// Start times of the last two turns. Work that was due before the first of them is done.
    private var turnsBegan: (UInt64, UInt64)
    /// Handshakes that waited although a worker had room, at the ends of the last two turns.
    private var neglected: [Set<UInt64>] = [[], []]
    private var stopsSent = 0
    /// Time at which the broker had read the first SIGTERM.
    private var stoppedAt: UInt64?
    private(set) var statistics = Statistics()

    init(seed: UInt64, fixtures: Fixtures, scratch: Scratch, trace: ((String) -> Void)?) throws(SystemError) {
        random = Random(seed: seed)
        self.fixtures = fixtures
        self.scratch = scratch
        self.trace = trace
        hasMaliciousProcesses = random.happens(400)
        hasFaults = random.happens(850)
        leaps = random.happens(200)
        holdsFiles = random.happens(150)
        processors = random.within(2...3)
        channelRoom = random.pick([1 << 20, 8192, 2304]) ?? 8192
        requestsLeft = min(random.within(3...20), random.within(3...20))
        turnsBegan = (clock.now, clock.now)
        let settings = random.pick(Array(Fixtures.settings.dropLast())) ?? ""
        isolates = settings == Fixtures.isolating
        fixtures.use(settings, as: "settings")
        fixtures.use(random.happens(900) ? "certificate-0" : "none", as: "certificate")
        namespaces = try MadeUpNamespaces(self)
        if random.happens(300) { namespaces?.toggle(1) }
    }

    // MARK: The broker's life

    /// Runs a broker in this world from start to end.
    func run() {
        var options = DaemonOptions()
        options.configuration = fixtures.settings
        do {
            let broker = try Broker(options: options, surroundings: surroundings)
            self.broker = broker
            try broker.run()
            note("the broker has ended")
            check(stopsSent > 0, "the broker ended without a signal")
        } catch {
            note("the broker gives up: \(error)")
            check(consumers.allSatisfy { $0.acceptedAt == nil }, "the broker ended while it served: \(error)")
            statistics.failedStarts += 1
        }
        for consumer in consumers where consumer.acceptedAt != nil {
            check(consumer.status != nil, "request \(consumer.number) was never answered")
        }
        if !upcalls.isEmpty {
            for process in processes {
                check(process.isReaped, "\(process.label) was never waited for")
            }
        }
        statistics.runs = 1
        statistics.turns = waits
        statistics.requests = consumers.count { $0.acceptedAt != nil }
        statistics.deaths = processes.count { if case .killed? = $0.end { true } else { false } }
        processes = []
        upcalls = []
        namespaces = nil
        heldFiles = []
    }

    private var surroundings: Surroundings {
        var surroundings = Surroundings()
        let clock = clock
        surroundings.clock = { clock.now }
        surroundings.beforeWait = { [unowned self] in beforeWait($0) }
        surroundings.files = FileThreads(
            clock: { clock.now },
            start: { [unowned self] body in
                if broker != nil, holdsFiles, random.happens(60) {
                    note("a file does not answer")
                    heldFiles.append(body)
                } else {
                    body()
                }
            },
            wait: { [unowned self] _, time in
                if random.happens(500) {
                    clock.advance(random.time(upTo: time))
                    answerFiles()
                } else {
                    clock.advance(time)
                }
            })
        surroundings.keys = keys
        surroundings.namespaces = { [unowned self] () throws(SystemError) in
            guard let namespaces else { throw SystemError("open", ENOENT) }
            return namespaces
        }
        surroundings.openNetlink = { [unowned self] (_) throws(UpcallError) in try open(.netlink) }
        surroundings.openListener = { [unowned self] (family, _, _) throws(UpcallError) in
            guard family == .ipv4 else { throw .listenerMissing(family: 0) }
            if random.happens(150) { throw .listenerTaken(family, holders: []) }
            return try open(.listener)
        }
        surroundings.programs.worker = "worker"
        surroundings.programs.signer = "signer"
        surroundings.programs.channelRoom = channelRoom
        surroundings.programs.start = { [unowned self] (program, _, descriptors) throws(SystemError) in
            try start(program, descriptors)
        }
        surroundings.journal = Journal { [unowned self] _, text in
            note("log: \(text.replacing(fixtures.folder, with: ""))")
        }
        surroundings.kernelTLS = KernelTLSCapabilities(
            ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: true, rekeys: true)
        surroundings.processors = processors
        return surroundings
    }

    private func open(_ transport: Transport) throws(UpcallError) -> MadeUpUpcall {
        do throws(SystemError) {
            let upcall = try MadeUpUpcall(self, namespace: namespaces?.current ?? 0, transport: transport)
            upcalls.append(upcall)
            note("the broker listens in namespace \(upcall.namespace) (\(transport))")
            return upcall
        } catch {
            throw .system(error)
        }
    }

    private func start(
        _ program: String, _ descriptors: [(source: Int32, target: Int32)]
    ) throws(SystemError) -> any StartedProgram {
        func copy(_ target: Int32) throws(SystemError) -> OwnedDescriptor {
            guard let source = descriptors.first(where: { $0.target == target })?.source else {
                throw SystemError("start", EBADF)
            }
            return try OwnedDescriptor.duplicate(source)
        }
        if program == "worker" { workersStarted += 1 }
        guard !failsToStart || !random.happens(500) else { throw SystemError("posix_spawn", EAGAIN, program) }
        let identifier = Int32(2_000_000 + processes.count)
        let control = MessageChannel(adopting: try copy(3), descriptorLimit: 16)
        // A process waits until its own message has room; the simulation does not model that.
        var room: Int32 = 1 << 17
        _ = unsafe setsockopt(control.number, SOL_SOCKET, SO_SNDBUF, &room, socklen_t(MemoryLayout<Int32>.size))
        let process: MadeUpProcess
        if program == "worker" {
            process = try MadeUpWorker(
                self, identifier, id: WorkerID(workersStarted), control: control,
                keys: MessageChannel(adopting: try copy(4), descriptorLimit: 0), step: try copy(5))
        } else {
            process = try MadeUpSigner(self, identifier, control: control)
        }
        note("\(process.label) starts")
        processes.append(process)
        return process
    }

    // MARK: Callbacks of the parts

    func note(_ text: @autoclosure () -> String) {
        guard let trace else { return }
        let time = clock.now - 1_000_000_000_000
        trace("\(time / 1_000_000).\(String(time % 1_000_000 + 1_000_000).dropFirst()) ms  \(text())")
    }

    func check(_ rule: Bool, _ text: @autoclosure () -> String) {
        if !rule { fail(text()) }
    }

    func fail(_ text: String) {
        guard violation == nil else { return }
        violation = text
        note("BROKEN: \(text)")
    }

    func serial(of identity: [UInt8]) -> Int32? {
        MadeUpKeys.preSharedKeys.first { MadeUpKeys.identity($0) == identity }
    }

    /// The running signer of a kind.
    func signer(_ kind: SignerKind) -> MadeUpSigner? {
        processes.lazy.compactMap { $0 as? MadeUpSigner }.last { $0.kind == kind && $0.end == nil }
    }

    func jobsOfOthers(than worker: MadeUpWorker) -> [UInt64] {
        processes.flatMap { process in process === worker ? [] : (process as? MadeUpWorker)?.jobNumbers ?? [] }
    }

    /// Returns `true` if a file that a worker got contains a private key.
    func holdsSecret(_ file: borrowing OwnedDescriptor) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 512)
        let count = unsafe pread(file.number, &bytes, bytes.count, 0)
        return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self).contains("PRIVATE KEY")
    }

    // MARK: Requests and answers

    /// ACCEPT takes a request.
    func accept(_ consumer: Consumer) -> AcceptedHandshake? {
        do throws(SystemError) {
            let socket = try Self.socket(of: consumer.number)
            consumer.acceptedAt = clock.now
            keys.linked = random.happens(300) ? KeySerial(MadeUpKeys.keyring) : nil
            return AcceptedHandshake(
                socket: socket, request: consumer.request, acceptedAt: clock.now, stream: consumer.stream)
        } catch {
            fail(error.description)
            return nil
        }
    }

    /// Stands for a consumer's socket: a file whose size is the number of the consumer.
    private static func socket(of number: Int) throws(SystemError) -> OwnedDescriptor {
        let file = unsafe linux_memory_file("socket")
        guard file >= 0 else { throw SystemError("memfd_create", errno) }
        let socket = OwnedDescriptor(adopting: file)
        guard ftruncate(file, number) == 0 else { throw SystemError("ftruncate", errno) }
        return socket
    }

    /// The consumer whose socket a worker got.
    func consumer(of socket: borrowing OwnedDescriptor) -> Consumer? {
        var status = stat()
        guard unsafe fstat(socket.number, &status) == 0, consumers.indices.contains(Int(status.st_size)) else {
            fail("a worker got what is no socket")
            return nil
        }
        return consumers[Int(status.st_size)]
    }

    /// Processes DONE, or the last close.
    func answer(_ accepted: AcceptedHandshake, _ status: Status, _ identity: KeySerial?) {
        guard let stream = accepted.stream as? Stream, consumers.indices.contains(stream.number) else {
            return fail("an answer to no request")
        }
        let consumer = consumers[stream.number]
        note("request \(consumer.number) is answered: \(status.name), identity \(identity?.number ?? 0)")
        guard accepted.takeSocket() != nil, consumer.status == nil else {
            return fail("request \(consumer.number) is answered twice")
        }
        consumer.status = status
        guard status == .success else {
            check(identity == nil, "request \(consumer.number) failed, and has an identity")
            statistics.count(status)
            return
        }
        statistics.successes += 1
        consumer.reference = accepted.sessionReference
        guard let success = consumer.successes.last, case .success(let request) = consumer.request else {
            return fail("request \(consumer.number) succeeds, but no worker that ran it has said so")
        }
        guard request.keyUpdate == nil else { return }
        if isolates {
            let holders = processes.filter { process in
                process.end == nil && (process as? MadeUpWorker)?.consumers.contains(consumer.number) == true
            }
            check(holders.isEmpty, "request \(consumer.number) succeeds while a worker holds its socket")
        }
        check(success.wasOpen, "request \(consumer.number) succeeds on a dead connection")
        if request.authentication == .preSharedKey {
            check(success.serial != nil, "request \(consumer.number) succeeds with a PSK that its worker was not given")
            check(identity == success.serial, "request \(consumer.number) succeeds without the serial of its PSK")
        } else {
            let expected = success.isAuthenticated ? KeySerial(MadeUpKeys.marker) : nil
            check(identity == expected, "request \(consumer.number): identity \(identity?.number ?? 0) is wrong")
        }
    }

    private func submit() {
        let open = upcalls.filter { $0.isOpen && namespaces?.present.contains($0.namespace) == true }
        guard requestsLeft > 0, let upcall = random.pick(open) else { return }
        requestsLeft -= 1
        let number = consumers.count
        let consumer = make(number, on: upcall.transport)
        consumers.append(consumer)
        note("request \(number) in namespace \(upcall.namespace): \(consumer.text)")
        upcall.pending.append(consumer)
        // READY may be late.
        if random.happens(850) { upcall.notify() }
    }

    private func make(_ number: Int, on transport: Transport) -> Consumer {
        if random.happens(30) {
            return Consumer(number, .failure(HandshakeFailure(.requestMalformed, "made up")), Stream(number))
        }
        if transport == .listener, random.happens(400),
            let former = random.pick(consumers.filter { $0.reference != nil }),
            let reference = former.reference, case .success(let request) = former.request
        {
            var update = request
            update.keyUpdate = KeyUpdate(session: reference, steps: [.send])
            let cookie = random.happens(950) ? former.stream.cookie() : 77
            return Consumer(number, .success(update), Stream(number, cookie: cookie))
        }
        var request = HandshakeRequest(
            transport: transport, role: random.happens(500) ? .client : .server,
            authentication: random.pick([.unauthenticated, .preSharedKey, .preSharedKey, .x509, .x509]) ?? .x509)
        // A server without authentication is refused.
        if request.role == .server, request.authentication == .unauthenticated, random.happens(900) {
            request.role = .client
        }
        request.peerName = "c\(number).example"
        request.wantsSession = transport == .listener
        if random.happens(700) { request.timeout = .milliseconds(Int64(random.within(300...8000))) }
        if request.role == .client, request.authentication == .preSharedKey {
            request.peerIdentities = (0..<random.within(1...3)).compactMap { _ in
                random.pick(MadeUpKeys.preSharedKeys).flatMap { KeySerial($0) }
            }
        }
        if request.authentication == .x509, random.happens(300) {
            request.certificate = KeySerial(MadeUpKeys.certificate)
            request.privateKey = KeySerial(MadeUpKeys.privateKey)
        }
        return Consumer(number, .success(request), Stream(number, kind: random.happens(985) ? 6 : 17))
    }

    // MARK: Time

    /// Called when the broker's loop waits: the world acts, and the clock advances.
    private func beforeWait(_ timeout: UInt64?) -> UInt64? {
        waits += 1
        if stopsSent > 0, stoppedAt == nil { stoppedAt = clock.now }
        guard waits < 30_000 else { fatalError("the broker's loop has turned 30,000 times and has not ended") }
        verify()
        for _ in 0..<random.within(0...5) { act() }
        passTime(timeout)
        turnsBegan = (turnsBegan.1, clock.now)
        return 0
    }

    private func passTime(_ timeout: UInt64?) {
        let choice = random.below(1000)
        // A long wait is useful only if nothing else can happen.
        let isIdle = requestsLeft == 0 || stopsSent > 0
        if timeout == 0 || choice < 400 {
            clock.advance(random.time(upTo: 200_000))
        } else if choice < (isIdle ? 600 : 900) {
            clock.advance(random.time(upTo: 5_000_000))
        } else if choice < 990 || !leaps {
            clock.advance(min(timeout ?? .max, 1_000_000_000))
        } else {
            let leap = random.time(upTo: 12_000_000_000)
            note("the clock leaps by \(leap / 1_000_000) ms")
            clock.advance(leap)
        }
    }

    // MARK: Actions

    private func act() {
        let choice = random.below(1000)
        switch choice {
        case 0..<150: submit()
        case 150..<250: if let process = random.pick(processes.filter { $0 is MadeUpSigner }) { process.act() }
        case 250..<330: disturb()
        case 330..<360: random.pick(upcalls)?.notify()
        case 360..<380: answerFiles()
        case 380..<410: if hasFaults, random.happens(700) { hurt() }
        case 410..<440: signalEnd()
        default: for process in processes where process.end == nil && random.happens(600) { process.act() }
        }
    }

    private func answerFiles() {
        guard !heldFiles.isEmpty else { return }
        note("the files answer")
        let bodies = heldFiles
        heldFiles = []
        for body in bodies { body() }
    }

    /// A random action of a peer or the network.
    private func disturb() {
        guard let consumer = random.pick(consumers.filter { $0.status == nil }) else { return }
        let stream = consumer.stream
        switch random.below(12) {
        case 0: stream.closeByPeer()
        case 1: stream.reset()
        case 2: stream.waitingRecord = random.happens(500) ? .alert : .data
        case 3 where stream.state == .closing: stream.closeByPeer()
        default: stream.unread += random.within(1...500)
        }
    }

    private func hurt() {
        let running = processes.filter { $0.end == nil }
        switch random.below(14) {
        case 0, 1, 2:
            random.pick(running)?.die(
                random.pick([.exited(status: 1), .killed(signal: SIGSEGV), .killed(signal: SIGKILL)]) ?? .unknown)
        case 3, 4:
            guard let process = random.pick(running) else { return }
            process.hangs.toggle()
            note("\(process.label) \(process.hangs ? "hangs" : "goes on")")
        case 5, 6:
            let serial: Int32 =
                random.pick([MadeUpKeys.certificate, MadeUpKeys.privateKey] + MadeUpKeys.preSharedKeys) ?? 0
            note("key \(serial) is gone")
            keys.entries[serial] = nil
        case 7, 8: change("settings", Fixtures.settings)
        case 9, 10: change("certificate", Fixtures.certificates)
        case 11, 12:
            let number = random.within(1...2)
            note("namespace \(number) comes or goes")
            namespaces?.toggle(number)
        default:
            failsToStart.toggle()
            note("processes \(failsToStart ? "cannot always" : "can") be started")
        }
    }

    private func change(_ name: String, _ variants: [String]) {
        guard let variant = random.pick(variants) else { return }
        note("\(name) becomes \(variant)")
        fixtures.use(variant, as: name)
        if name == "settings" { isolates = false }
        if random.happens(200) { raise(SIGHUP) }
    }

    private func signalEnd() {
        if stopsSent == 0 {
            let isDone = requestsLeft == 0 && (random.happens(100) || consumers.allSatisfy { $0.status != nil })
            guard isDone || random.happens(10) else { return }
        } else if !random.happens(200) {
            return
        }
        stopsSent += 1
        note("SIGTERM")
        raise(SIGTERM)
    }

    // MARK: Rules

    /// Returns `true` if a worker's job must have been cancelled, unless the message still waits for room.
    var isCancelling: Bool {
        guard let stoppedAt, channelRoom > 8192 else { return false }
        return turnsBegan.0 > stoppedAt + 2_000_000_000
    }

    /// Checks the broker while it waits: everything that was due is done.
    private func verify() {
        for consumer in consumers where consumer.status == nil {
            guard let limit = consumer.limit, limit <= turnsBegan.0 else { continue }
            fail("request \(consumer.number) is late by \((turnsBegan.0 - limit) / 1_000_000) ms")
        }
        for upcall in upcalls where upcall.isOpen && upcall.isTold && !upcall.pending.isEmpty {
            upcall.neglect += 1
            check(upcall.neglect < 4, "requests wait in the kernel, and the broker does not take them")
        }
        if let broker {
            for (job, worker) in broker.runners {
                let process = processes.first { ($0 as? MadeUpWorker)?.id == worker }
                check(process?.isReaped == false, "job \(job) waits for worker \(worker.number), which has ended")
            }
        }
        let stillNeglected = Set(broker?.neglected ?? [])
        check(
            stillNeglected.isDisjoint(with: neglected[0].intersection(neglected[1])),
            "handshakes wait, and a worker has nothing to do")
        neglected = [neglected[1], stillNeglected]
        if let stoppedAt, broker != nil {
            check(clock.now < stoppedAt + 60_000_000_000, "the broker does not end")
        }
    }
}

/// Summary of several runs.
package struct Statistics {
    package var runs = 0
    package var turns = 0
    package var requests = 0
    package var successes = 0
    package var timeouts = 0
    package var otherFailures = 0
    package var deaths = 0
    package var failedStarts = 0

    package init() {}

    mutating func count(_ status: Status) {
        if status == .timedOut { timeouts += 1 } else { otherFailures += 1 }
    }

    package static func += (left: inout Statistics, right: Statistics) {
        left.runs += right.runs
        left.turns += right.turns
        left.requests += right.requests
        left.successes += right.successes
        left.timeouts += right.timeouts
        left.otherFailures += right.otherFailures
        left.deaths += right.deaths
        left.failedStarts += right.failedStarts
    }

    package var description: String {
        "\(runs) runs, \(turns) turns, \(requests) requests: \(successes) successes, \(timeouts) ETIMEDOUT, "
            + "\(otherFailures) other failures; \(deaths) killed processes, \(failedStarts) failed starts"
    }
}
