package import Handshake
internal import Keyrings
internal import Policy
package import Settings
internal import System
internal import Unconfined
internal import Upcall
internal import Wire

/// An event source of the broker's loop.
typealias BrokerSource = EventLoop.Source

/// The privileged process: accepts requests from the kernel, sends them to workers, and reports results. One thread,
/// one event loop.
///
/// It uses one thread because descriptors that ACCEPT installs and the possession of keyrings belong to the calling
/// thread (net/handshake/tlshd.c, security/keys/process_keys.c). Files are read in other threads (`FileWatch`), because
/// a file system may block.
///
/// `Handshakes` contains the life of a handshake. Each part below owns its state and is used by the others.
package final class Broker {
    let options: DaemonOptions
    let surroundings: Surroundings
    let log: DaemonLog
    let loop: EventLoop
    let kernelTLS: KernelTLSCapabilities
    /// Layers that confine this process.
    private(set) var confinement = Confinement()
    private(set) var lifecycle = Lifecycle.starting

    var configuration: Configuration
    var tags: TagFolder
    var keys: KeyStore
    var secrets: JobSecrets
    var namespaces: any NetworkNamespaces

    private(set) lazy var upcalls = Upcalls(self)
    private(set) lazy var handshakes = Handshakes(self, keptSessions: pool.mostWithSessions * MessageLimit.keptSessions)
    private(set) lazy var pool = WorkerPool(self, program: workerProgram, processors: surroundings.processors)
    /// In the order of `SignerKind`.
    private(set) lazy var signers = SignerKind.allCases.map { SignerService(self, $0, program: signerProgram) }
    private(set) lazy var credentials = CredentialPipeline(self)
    private(set) lazy var reload = Reload(self)
    private(set) lazy var handover = Handover(self)
    private(set) lazy var control = ControlService(self)
    let reaper: Reaper
    let outputs: ChildOutputs

    func signer(_ kind: SignerKind) -> SignerService { signers[Int(kind.rawValue)] }

    private let workerProgram: String
    private let signerProgram: String
    private let signals: SignalDescriptor
    private var signalSource: BrokerSource?
    private var nextWatchdog = UInt64.max
    private var watchdogInterval: UInt64?

    /// Time until a stopping daemon cancels in-flight handshakes. A working handshake takes milliseconds.
    private static let patience = Duration.seconds(2)

    // MARK: Start

    /// Probes the kernel, reads the settings, and prepares everything that needs neither worker nor upcall.
    ///
    /// - Parameter surroundings: replaced by tests.
    /// - Throws: An error whose description is one line for the operator, with the remedy.
    package init(
        options: DaemonOptions, surroundings: Surroundings = Surroundings()
    ) throws {
        self.options = options
        self.surroundings = surroundings
        log = DaemonLog(
            surroundings.journal ?? Journal(options.logsToStandardError ? .both : .automatic),
            level: options.logLevel ?? 0)
        try ProcessHardening.apply()
        ProcessHardening.ignoreBrokenPipes()
        signals = try SignalDescriptor(Signals.handled)
        loop = try EventLoop(clock: surroundings.clock, beforeWait: surroundings.beforeWait)
        namespaces = try surroundings.namespaces()
        secrets = try JobSecrets()
        let programs = surroundings.programs
        workerProgram = if let worker = programs.worker { worker } else { try WorkerProgram.find(WorkerProgram.worker) }
        signerProgram = if let signer = programs.signer { signer } else { try WorkerProgram.find(WorkerProgram.signer) }
        keys = try TextError.of(
            "keyrings cannot be used", remedy: "a kernel with CONFIG_KEYS",
            try KeyStore.establish(surroundings.keys, files: surroundings.files))
        configuration = try Configuration(options: options, log: log, threads: surroundings.files)
        tags = try TagFolder(log: log, threads: surroundings.files)
        if let known = surroundings.kernelTLS {
            kernelTLS = known
        } else {
            kernelTLS = try KernelSupport.probe(log: log)
        }
        reaper = Reaper(loop)
        outputs = ChildOutputs(loop, log: log)
        reload.applyLogLevels()
        noteUnsupportedSettings()
        addSchedules()
        try watchSignals()
        try upcalls.watchNamespaces()
    }

    /// Adds all deadlines to the loop, in the order in which they are checked.
    private func addSchedules() {
        upcalls.addSchedules(to: loop)
        reload.addSchedules(to: loop)
        handshakes.addSchedules(to: loop)
        outputs.addSchedules()
        pool.addSchedules(to: loop)
        for signer in signers { signer.addSchedules(to: loop) }
        loop.schedule({ [unowned self] in credentials.nextRetry }) { [unowned self] now in credentials.retry(now) }
        loop.schedule({ [unowned self] in lifecycle.cancelsAt }) { [unowned self] _ in cancelAll() }
        loop.schedule({ [unowned self] in nextWatchdog }) { [unowned self] now in
            nextWatchdog = if let watchdogInterval, !lifecycle.isHandedOver { now + watchdogInterval } else { .max }
            if !lifecycle.isHandedOver { notify("WATCHDOG=1") }
        }
        control.addSchedules(to: loop)
    }

    private func noteUnsupportedSettings() {
        if configuration.settings.listener.keyUpdateLifetime.value > 0, !kernelTLS.rekeys {
            log.notice(
                "[listener] key_update_lifetime has no effect: this kernel's TLS cannot replace keys (Linux 6.14)")
        }
        if WorkerProgram.isKeyLogWanted {
            log.notice("\(WorkerProgram.keyLog) is ignored: the secrets of sessions are never written")
        }
    }

    /// Opens the control socket if the settings name one. A failure does not affect the rest of the daemon.
    package func openControl() { control.open() }

    /// Drops unnecessary privileges of the whole process permanently. Call it before `run`.
    package func reducePrivileges() throws {
        ProcessPriority.raise()
        let namespaces = configuration.settings.namespaces
        let reach: Privileges.Reach = namespaces.processes ? .processes : namespaces.watchesOthers ? .named : .home
        let reached = try TextError.of(
            "privileges cannot be dropped",
            try Privileges.reduce(toExecuting: [workerProgram, signerProgram], serving: reach))
        confinement.note(reached, "the broker is less confined than it could be", log)
    }

    /// Runs until a signal stops the daemon.
    ///
    /// - Throws: The reason why the daemon cannot start or cannot continue.
    package func run() throws {
        reload.look()
        try awaitFirstWorker()
        // A daemon that was stopped before it served must not take over from one that serves.
        guard !lifecycle.isStopping else { return endProcesses() }
        handover.begin()
        try upcalls.open()
        become(.serving)
        notify("READY=1", "STATUS=\(upcalls.servingStatus)")
        handover.complete()
        // Half of the interval, as sd_watchdog_enabled(3) recommends.
        watchdogInterval = ServiceManager.watchdogInterval.map { $0 / 2 }
        if watchdogInterval != nil { nextWatchdog = 0 }
        log.notice("tlshd \(Version.text) is ready: \(configuration.source), worker \(workerProgram)", .ready)
        upcalls.drainAll()
        try serve()
        log.notice("tlshd has stopped", .stopped)
    }

    private func awaitFirstWorker() throws {
        let deadline = loop.now + 10_000_000_000
        while pool.startProblem == nil, !pool.hasReadyWorker {
            guard loop.now < deadline, pool.startAttempts < 3 else {
                throw TextError("no worker became ready; remedy: run \(workerProgram) with its libraries installed")
            }
            guard !lifecycle.isStopping else { return }
            try loop.turn()
        }
        // Waits for keys that are being opened. Otherwise requests would wait for them after ACCEPT, and the kernel
        // keeps only a few pending requests.
        while credentials.awaitSigner, loop.now < deadline, !lifecycle.isStopping { try loop.turn() }
        if let problem = pool.startProblem { throw TextError("no handshake can be served: \(problem)") }
    }

    // MARK: Serve

    /// True if every accepted request is answered.
    var isIdle: Bool { handshakes.isIdle }

    /// The worker of each running handshake, by ID.
    package var runners: [UInt64: WorkerID] { handshakes.table.runners }
    /// IDs of handshakes that wait although a worker has room.
    package var neglected: [UInt64] { handshakes.neglected }

    /// Runs the event loop until a stopping daemon has answered everything. If the loop fails, all handshakes fail.
    func serve() throws {
        defer { endProcesses() }
        do {
            while !(lifecycle.isStopping && isIdle && !handshakes.delayEnd(loop.now)) { try loop.turn() }
        } catch {
            upcalls.close()
            handshakes.failAll()
            throw error
        }
    }

    /// Periodic work, once a second after the check of files and keyrings.
    func runPeriodicWork(_ now: UInt64) {
        handshakes.connections.refresh(now)
        pool.relayOutputs()
        for signer in signers { signer.relayOutput() }
        control.writeMetrics(now)
        handshakes.dispatchWaiting()
    }

    func notify(_ assignments: String...) {
        do {
            try ServiceManager.notify(assignments)
        } catch {
            log.error("the service manager cannot be notified: \(error.description)")
        }
    }

    // MARK: Signals and the end

    func become(_ next: Lifecycle) { lifecycle.move(to: next) }

    /// Watches the signals of this process. Repeated after fork(2), because epoll reports the signals of the process
    /// that registered the descriptor.
    func watchSignals() throws(SystemError) {
        signalSource?.cancel()
        signalSource = try loop.watch(signals.number) { [unowned self] _ in handleSignals() }
    }

    private func handleSignals() {
        while let signal = nextSignal() {
            if Signals.reload.contains(signal) {
                notify("RELOADING=1", ServiceManager.monotonicStamp)
                log.notice("reloading settings, credentials and keyrings")
                reload.look(force: true)
                notify("READY=1")
            } else {
                stop()
            }
        }
    }

    private func nextSignal() -> Int32? {
        do {
            return try signals.next()
        } catch {
            log.error(error.description)
            return nil
        }
    }

    /// First signal: accepts pending requests, then no more, and waits briefly for in-flight handshakes. Second signal:
    /// cancels them.
    private func stop() {
        switch lifecycle {
        case .draining, .cancelling: cancelAll()
        case .awaitingReplacement: drainAfterHandover()
        case .starting, .serving:
            upcalls.drainAll()
            if handover.fork() { return }
            let count = handshakes.table.count
            notify("STOPPING=1", "STATUS=Finishing \(count.counted("handshake"))")
            log.notice("stopping: no new requests, \(count.counted("handshake")) in flight")
            upcalls.close()
            become(.draining(until: loop.now + Clock.nanoseconds(of: Self.patience), isHandedOver: false))
        }
    }

    /// Stops accepting requests, because the replacement daemon is ready or the service was stopped. In-flight
    /// handshakes keep their own deadlines.
    func drainAfterHandover() {
        handover.end()
        log.notice(
            "draining \(handshakes.table.count.counted("handshake")) in flight")
        upcalls.close()
        become(.draining(until: nil, isHandedOver: true))
    }

    /// Cancels in-flight handshakes. Their status tells consumers to try again.
    func cancelAll() {
        become(.cancelling(isHandedOver: lifecycle.isHandedOver))
        guard !handshakes.table.isEmpty else { return }
        log.notice("stopping now: cancelling \(handshakes.table.count.counted("handshake"))")
        handshakes.cancelAll()
    }

    /// Answers everything that is not answered, and ends the workers and the signers.
    func endProcesses() {
        handshakes.cutEndingsShort()
        pool.hangUp()
        for signer in signers { signer.hangUp() }
        reaper.finish()
    }
}

/// State of the daemon.
///
///     starting ──> serving ──> awaitingReplacement ──> draining ──> cancelling
///        └────────────┴─────────────────────────────────^
enum Lifecycle: Equatable {
    /// No upcall is open yet.
    case starting
    case serving
    /// This process continues a service that was told to stop (`Handover.fork`). It serves until the replacement daemon
    /// is ready.
    case awaitingReplacement
    /// No new requests are accepted, and the process ends when the last handshake is answered. In-flight handshakes are
    /// cancelled at `until` (CLOCK_MONOTONIC nanoseconds); `nil` for never.
    case draining(until: UInt64?, isHandedOver: Bool)
    /// The same, and in-flight handshakes were cancelled. None is run again.
    case cancelling(isHandedOver: Bool)

    var isStopping: Bool {
        switch self {
        case .starting, .serving, .awaitingReplacement: false
        case .draining, .cancelling: true
        }
    }

    var isCancelling: Bool { if case .cancelling = self { true } else { false } }

    var isHandedOver: Bool {
        switch self {
        case .starting, .serving: false
        case .awaitingReplacement: true
        case .draining(_, let isHandedOver), .cancelling(let isHandedOver): isHandedOver
        }
    }

    /// Time at which in-flight handshakes are cancelled; `nil` for never.
    var cancelsAt: UInt64? {
        if case .draining(let until, _) = self { until } else { nil }
    }

    /// Changes the state. Transitions that are not in the diagram stop the process.
    mutating func move(to next: Lifecycle) {
        precondition(mayBecome(next), "\(self) does not become \(next)")
        self = next
    }

    private func mayBecome(_ next: Lifecycle) -> Bool {
        switch (self, next) {
        case (.starting, .serving), (.starting, .draining), (.serving, .awaitingReplacement), (.serving, .draining),
            (.awaitingReplacement, .draining), (.draining, .cancelling), (.cancelling, .cancelling):
            true
        case (_, .starting), (.starting, _), (.serving, _), (.awaitingReplacement, _), (.draining, _), (.cancelling, _):
            false
        }
    }
}

/// The signals that the daemon handles.
enum Signals {
    static let reload: [Int32] = [Signal.hangUp, Signal.user1]
    static let stop: [Int32] = [Signal.terminate, Signal.interrupt]
    static let handled = reload + stop
}

/// Requirements for the kernel's TLS.
enum KernelSupport {
    /// Probes the kernel's TLS and logs missing features.
    ///
    /// - Throws: `TextError` with the option or module, if no cipher works.
    static func probe(log: DaemonLog) throws(TextError) -> KernelTLSCapabilities {
        let probe = try TextError.of(
            "the kernel's TLS cannot be tried out", remedy: "ip link set lo up", try KernelTLSProbe.run())
        guard !probe.capabilities.ciphers.isEmpty else {
            throw TextError(
                "\(probe.problems.joined(separator: "; ")); remedy: modprobe tls, or a kernel with CONFIG_TLS")
        }
        for problem in probe.problems { log.notice(problem) }
        return probe.capabilities
    }
}
