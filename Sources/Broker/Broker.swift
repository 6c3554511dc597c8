package import Handshake
internal import Keyrings
internal import Policy
package import Settings
internal import System
internal import Unconfined
internal import Upcall
internal import Wire

/// A descriptor that the broker's loop watches.
typealias BrokerSource = EventLoop<StartFailure>.Source

/// The privileged process: takes requests from the kernel, hands them to workers, answers. One thread, one event loop.
///
/// It stays on one thread because the descriptor that ACCEPT installs and the possession of keyrings belong to the
/// thread that asks (net/handshake/tlshd.c, security/keys/process_keys.c). Files are read by threads that end with it
/// (`FileWatch`), as a file system may not answer.
///
/// The life of a handshake is in `Handshakes`. Each part below owns its state; the others call it.
package final class Broker {
    let options: DaemonOptions
    let surroundings: Surroundings
    let log: DaemonLog
    let loop: EventLoop<StartFailure>
    let kernelTLS: KernelTLSCapabilities
    private(set) var lifecycle = Lifecycle.starting

    var configuration: Configuration
    var tags: TagFolder
    var keys: KeyStore
    var secrets: JobSecrets
    var namespaces: any NetworkNamespaces

    private(set) lazy var upcalls = Upcalls(self)
    private(set) lazy var handshakes = Handshakes(self, keptSessions: pool.slots.count * MessageLimit.keptSessions)
    private(set) lazy var pool = WorkerPool(
        self, program: workerProgram, slots: WorkerSlots(processors: surroundings.processors))
    private(set) lazy var signer = SignerService(self, program: signerProgram)
    private(set) lazy var credentials = CredentialPipeline(self)
    private(set) lazy var reload = Reload(self)
    private(set) lazy var handover = Handover(self)
    private(set) lazy var control = ControlService(self)
    let reaper: Reaper
    let outputs: ChildOutputs

    private let workerProgram: String
    private let signerProgram: String
    private let signals: SignalDescriptor
    private var signalSource: BrokerSource?
    private var nextSignOfLife = UInt64.max
    private var signsOfLife: UInt64?

    /// How long a handshake may go on once the daemon is to stop: one that is alive takes milliseconds.
    private static let patience = Duration.seconds(2)

    // MARK: Start

    /// Probes the kernel, reads the settings, and prepares all that needs no worker and no upcall.
    ///
    /// - Parameter surroundings: replaced by tests.
    /// - Throws: `StartFailure`, one line for the operator.
    package init(
        options: DaemonOptions, surroundings: Surroundings = Surroundings()
    ) throws(StartFailure) {
        self.options = options
        self.surroundings = surroundings
        log = DaemonLog(
            surroundings.journal ?? Journal(options.logsToStandardError ? .both : .automatic),
            level: options.logLevel ?? 0)
        do throws(SystemError) {
            try ProcessHardening.apply()
            ProcessHardening.ignoreBrokenPipes()
            signals = try SignalDescriptor(Signals.handled)
            loop = try EventLoop(clock: surroundings.clock, beforeWait: surroundings.beforeWait) {
                StartFailure($0.description)
            }
            namespaces = try surroundings.namespaces()
            secrets = try JobSecrets()
            let programs = surroundings.programs
            workerProgram =
                if let worker = programs.worker { worker } else { try WorkerProgram.find(WorkerProgram.worker) }
            signerProgram =
                if let signer = programs.signer { signer } else { try WorkerProgram.find(WorkerProgram.signer) }
        } catch {
            throw StartFailure(error.description)
        }
        do throws(KeyError) {
            keys = try KeyStore.establish(surroundings.keys, files: surroundings.files)
        } catch {
            throw StartFailure("keyrings cannot be used: \(error.description); remedy: a kernel with CONFIG_KEYS")
        }
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
        do {
            try watchSignals()
            try upcalls.watchNamespaces()
        } catch {
            throw StartFailure(error.description)
        }
    }

    /// What is due by the clock, in the order in which it is looked at.
    private func addSchedules() {
        upcalls.addSchedules(to: loop)
        reload.addSchedules(to: loop)
        handshakes.addSchedules(to: loop)
        outputs.addSchedules()
        pool.addSchedules(to: loop)
        signer.addSchedules(to: loop)
        loop.schedule({ [unowned self] in lifecycle.cancelsAt }) { [unowned self] _ in cancelAll() }
        loop.schedule({ [unowned self] in nextSignOfLife }) { [unowned self] now in
            nextSignOfLife = if let signsOfLife, !lifecycle.isRemainder { now + signsOfLife } else { .max }
            if !lifecycle.isRemainder { tell("WATCHDOG=1") }
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

    /// Opens the control socket, where the settings want one. Without it everything else works.
    package func openControl() { control.open() }

    /// Gives up the rights that are not needed, for good and for the whole process. To be called before `run`.
    package func reducePrivileges() throws(StartFailure) {
        ProcessPriority.raise()
        do {
            let namespaces = configuration.settings.namespaces
            let reach: Privileges.Reach =
                namespaces.processes ? .processes : namespaces.watchesOthers ? .named : .home
            for lack in try Privileges.reduce(toExecuting: [workerProgram, signerProgram], serving: reach) {
                log.notice(lack)
            }
        } catch {
            throw StartFailure("privileges cannot be given up: \(error.description)")
        }
    }

    /// Serves until a signal ends it.
    ///
    /// - Throws: `StartFailure` when it cannot begin, or not go on.
    package func run() throws(StartFailure) {
        reload.look()
        try awaitFirstWorker()
        // A daemon that never served takes nothing over from one that does.
        guard !lifecycle.isStopping else { return endProcesses() }
        handover.begin()
        try upcalls.open()
        become(.serving)
        tell("READY=1", "STATUS=\(upcalls.servingStatus)")
        handover.complete()
        // Twice as often as is asked for, as sd_watchdog_enabled(3) advises.
        signsOfLife = ServiceManager.watchdogInterval.map { $0 / 2 }
        if signsOfLife != nil { nextSignOfLife = 0 }
        log.notice("tlshd \(Version.text) is ready: \(configuration.source), worker \(workerProgram)", .ready)
        upcalls.drainAll()
        try serve()
        log.notice("tlshd has stopped", .stopped)
    }

    private func awaitFirstWorker() throws(StartFailure) {
        let deadline = loop.now + 10_000_000_000
        while pool.startProblem == nil, !pool.hasReadyWorker {
            guard loop.now < deadline, pool.startAttempts < 3 else {
                throw StartFailure("no worker came up; remedy: run \(workerProgram) with its libraries installed")
            }
            guard !lifecycle.isStopping else { return }
            try loop.turn()
        }
        // Handshakes that come meanwhile would wait for their keys, but the kernel takes only a few before READY is
        // heard.
        while credentials.awaitSigner, loop.now < deadline, !lifecycle.isStopping { try loop.turn() }
        if let problem = pool.startProblem { throw StartFailure("no handshake can be served: \(problem)") }
    }

    // MARK: Serve

    /// Whether every request that was taken is answered.
    var isIdle: Bool { handshakes.isIdle }

    /// The worker of each handshake that one runs, by the handshake's number.
    package var runners: [UInt64: WorkerID] { handshakes.table.runners }
    /// The handshakes that wait for a worker although one takes handshakes, by their numbers.
    package var neglected: [UInt64] { handshakes.neglected }

    /// Turns the event loop until there is nothing left to do. When that cannot go on, all consumers hear of it.
    func serve() throws(StartFailure) {
        defer { endProcesses() }
        do throws(StartFailure) {
            while !(lifecycle.isStopping && isIdle) { try loop.turn() }
        } catch {
            upcalls.close()
            handshakes.failAll()
            throw error
        }
    }

    /// What is done once a second, after files and keyrings were looked at.
    func lookAfter(_ now: UInt64) {
        handshakes.connections.refresh(now)
        pool.relayOutputs()
        signer.relayOutput()
        control.writeMetrics(now)
        handshakes.dispatchWaiting()
    }

    func tell(_ assignments: String...) {
        do {
            try ServiceManager.notify(assignments)
        } catch {
            log.error("the service manager could not be told: \(error.description)")
        }
    }

    // MARK: Signals and the end

    func become(_ next: Lifecycle) { lifecycle.move(to: next) }

    /// Watches the signals of this process; once more after fork(2), as epoll watches those of the process that asked.
    func watchSignals() throws(SystemError) {
        signalSource?.cancel()
        signalSource = try loop.watch(signals.number) { [unowned self] _ in handleSignals() }
    }

    private func handleSignals() {
        while let signal = nextSignal() {
            if Signals.reload.contains(signal) {
                tell("RELOADING=1", ServiceManager.monotonicStamp)
                log.notice("reading everything again")
                reload.look(force: true)
                tell("READY=1")
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

    /// First: takes what is queued, then no more, and lets the handshakes in flight finish for a moment. Again: cancels
    /// them.
    private func stop() {
        switch lifecycle {
        case .draining: cancelAll()
        case .remainder: finishRemainder()
        case .starting, .serving:
            upcalls.drainAll()
            if handover.fork() { return }
            let count = handshakes.table.count
            tell("STOPPING=1", "STATUS=Finishing \(count) handshakes")
            log.notice("stopping: no new requests, \(count) handshakes under way")
            upcalls.close()
            become(.draining(until: loop.now + Clock.nanoseconds(of: Self.patience), isRemainder: false))
        }
    }

    /// The replacement daemon is ready, or the service is stopped: no new requests, the last of ours are finished in
    /// their own time.
    func finishRemainder() {
        handover.end()
        log.notice(
            "finishing \(handshakes.table.count) handshakes, a successor takes new ones or nobody does")
        upcalls.close()
        become(.draining(until: nil, isRemainder: true))
    }

    /// Cancels what is in flight; consumers are told to try again.
    func cancelAll() {
        if case .draining(_, let isRemainder) = lifecycle { become(.draining(until: nil, isRemainder: isRemainder)) }
        guard !handshakes.table.isEmpty else { return }
        log.notice("stopping now: \(handshakes.table.count) handshakes are given up")
        handshakes.cancelAll()
    }

    /// Answers what is not answered yet, and ends workers and signer.
    func endProcesses() {
        handshakes.cutEndingsShort()
        pool.hangUp()
        signer.hangUp()
        reaper.finish()
    }
}

/// Why the daemon cannot start, or not go on: one line with the remedy.
package struct StartFailure: Error {
    package let text: String

    package init(_ text: String) {
        self.text = text
    }
}
