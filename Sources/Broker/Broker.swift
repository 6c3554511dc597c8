package import Handshake
internal import Keyrings
package import Settings
internal import System
internal import Upcall
internal import Wire

/// The privileged process: takes requests from the kernel, hands them to workers, answers. One thread, one event loop.
///
/// It stays on one thread because the descriptor that ACCEPT installs and the possession of keyrings belong to the
/// thread that asks (net/handshake/tlshd.c, security/keys/process_keys.c). Files are read by threads that end with it
/// (`FileWatch`), as a file system may not answer.
package final class Broker {
    let options: DaemonOptions
    let log: DaemonLog
    let loop: EventLoop<StartFailure>
    let signals: SignalDescriptor
    private var signalSource: BrokerSource?
    private var namespaceSource: BrokerSource?
    let kernelTLS: KernelTLSCapabilities
    let workerProgram: String
    let signerProgram: String

    var configuration: Configuration
    var credentials: [CredentialsOwner: RoleCredentialState] = [:]
    /// What the settings say for each of them.
    var roleSettings: [CredentialsOwner: RoleSettings] = [:]
    var profiles = ProfileTable()
    var tags: TagFolder
    var exposure = SettingsExposure()
    var keys: KeyStore
    var secrets: JobSecrets

    var takenListeners: [TakenListener] = []
    /// In the order in which they were opened.
    var ways: [Int: WayIn] = [:]
    var lastWay = 0
    var namespaces: NamespaceCensus
    var served: [NamespaceIdentity: ServedNamespace] = [:]
    /// What was said last about a namespace that cannot be served, so that it is said once.
    var namespaceProblems: [NamespaceIdentity: String] = [:]
    var censusProblems: [String] = []
    var nextCensus: UInt64 = 0
    /// Set when a way in had more requests than were taken in one turn.
    var isBehind = false
    /// Set when ways in are to be opened: not before there is a worker.
    var isOpen = false
    var nextRivalLook: UInt64 = 0
    var table = JobTable()
    var admission = Admission()
    var penalties = Penalties()
    var reconnections = Reconnections()
    var processorBudget = ProcessorBudget()
    var formerConnections = FormerConnections()
    /// Lines about handshakes that strangers let fail at our servers.
    var strangers = LogThrottle<FailingPeer>(most: 20, mostInAll: 200)
    /// Lines that workers and signer write to their standard error, by the process's name.
    var childLines = LogThrottle<String>(most: 20, mostInAll: 100)
    var sessions: SessionTable
    var jobs: [UInt64: Job] = [:]
    /// Failed handshakes whose kernel is not yet told.
    var endings = Endings()
    var workers: [WorkerID: WorkerProcess] = [:]
    var slots: WorkerSlots
    var signer = SignerState()
    /// Signers that were killed and not yet waited for.
    var signerGraves: [SignerProcess] = []
    /// What the signer's sandbox lacks on this kernel, said once.
    var signerUnconfined = ""
    /// Set by SIGTERM or SIGINT: no new requests, an end when the last job is answered.
    var isStopping = false
    /// When a daemon that is to stop gives up what is under way; CLOCK_MONOTONIC nanoseconds.
    var patienceEnds = UInt64.max
    /// What a predecessor left with the service manager; until everything is served.
    var heritage: KeptDescriptors?
    /// Tells, after this process was passed on, that a successor serves.
    var succession: SuccessionPipe?
    var successionSource: BrokerSource?
    /// It is what is left of a service that was told to stop, and no longer the service.
    var isRemainder = false
    private var nextLook: UInt64 = 0
    /// When each role's files, and the settings' under `nil`, were last looked at for a request.
    var lookedAt: [CredentialsOwner?: UInt64] = [:]
    var keyringsLookedAt: UInt64 = 0
    /// How long what was looked at counts as seen, in nanoseconds: a look for each request would cost a fifth of its
    /// system calls.
    var freshness: UInt64 = 50_000_000
    private var nextSignOfLife = UInt64.max
    private var signsOfLife: UInt64?
    /// Workers that were killed and not yet waited for.
    var graves: [WorkerProcess] = []
    /// What the workers' sandbox lacks on this kernel, said once.
    var unconfined = ""
    /// Workers that died or were killed since the start.
    var deaths = 0
    /// Workers that died before they were ready, in a row.
    var startAttempts = 0
    let control = ControlService()
    let metricsFile = MetricsFile()
    /// Why the workers' library can serve nothing at all, such as a crypto policy that forbids everything.
    var startProblem: String?

    /// Probes the kernel, reads the settings, and prepares all that needs no worker and no upcall.
    ///
    /// - Parameters:
    ///   - kernelTLS: what the kernel's TLS can do, for tests; probed by default.
    ///   - workerProgram: the worker's program file, for tests; found by default.
    ///   - signerProgram: the signer's, likewise.
    /// - Throws: `StartFailure`, one line for the operator.
    package init(
        options: DaemonOptions, kernelTLS known: KernelTLSCapabilities? = nil, workerProgram program: String? = nil,
        signerProgram: String? = nil
    ) throws(StartFailure) {
        self.options = options
        log = DaemonLog(
            Journal(options.logsToStandardError ? .both : .automatic), level: options.logLevel ?? 0)
        do throws(SystemError) {
            try ProcessHardening.apply()
            signals = try SignalDescriptor(Signals.handled)
            loop = try EventLoop { StartFailure($0.description) }
            namespaces = try NamespaceCensus()
            secrets = try JobSecrets()
            workerProgram = if let program { program } else { try WorkerProgram.find(WorkerProgram.worker) }
            self.signerProgram =
                if let signerProgram { signerProgram } else { try WorkerProgram.find(WorkerProgram.signer) }
        } catch {
            throw StartFailure(error.description)
        }
        do throws(KeyError) {
            keys = try KeyStore.establish()
        } catch {
            throw StartFailure("keyrings cannot be used: \(error.description); remedy: a kernel with CONFIG_KEYS")
        }
        configuration = try Configuration(options: options, log: log)
        tags = try TagFolder(log: log)
        if let known {
            kernelTLS = known
        } else {
            kernelTLS = try KernelSupport.probe(log: log)
        }
        slots = WorkerSlots(processors: Host.processorCount())
        sessions = SessionTable(instance: .random(in: 1...(.max)), limit: slots.count * MessageLimit.keptSessions)
        applyLogLevels()
        noteKeyUpdateSupport()
        if WorkerProgram.isKeyLogWanted {
            log.notice("\(WorkerProgram.keyLog) is ignored: the secrets of sessions are never written")
        }
        addSchedules()
        do {
            try watchSignals()
            try watchNamespaces()
        } catch {
            throw StartFailure(error.description)
        }
    }

    /// Watches the signals of this process; once more after fork(2), as epoll watches those of the process that asked.
    func watchSignals() throws(SystemError) {
        signalSource?.cancel()
        signalSource = try loop.watch(signals.number) { [unowned self] _ in handleSignals() }
    }

    /// Watches the folder of the namespaces' names.
    func watchNamespaces() throws(SystemError) {
        namespaceSource?.cancel()
        namespaceSource = try loop.watch(namespaces.number) { [unowned self] _ in takeCensus(loop.now) }
    }

    /// Serves until a signal ends it.
    ///
    /// - Throws: `StartFailure` when it cannot begin, or not go on.
    package func run() throws(StartFailure) {
        look()
        try awaitFirstWorker()
        // Who never served takes nothing over from who does.
        guard !isStopping else { return endProcesses() }
        heritage = KeptDescriptors()
        try openUpcalls()
        tell("READY=1", "STATUS=\(servingStatus)")
        takeOver()
        // Twice as often as is asked for, as sd_watchdog_enabled(3) advises.
        signsOfLife = ServiceManager.watchdogInterval.map { $0 / 2 }
        if signsOfLife != nil { nextSignOfLife = 0 }
        log.notice("tlshd \(Version.text) is ready: \(configuration.source), worker \(workerProgram)", .ready)
        drainAll()
        try serve()
        log.notice("tlshd has stopped", .stopped)
    }

    /// Whether every request that was taken is answered.
    var isIdle: Bool { table.isEmpty && endings.isEmpty }

    /// Turns the event loop until there is nothing left to do. When that cannot go on, all consumers hear of it.
    func serve() throws(StartFailure) {
        defer { endProcesses() }
        do throws(StartFailure) {
            while !(isStopping && isIdle) { try loop.turn() }
        } catch {
            closeWays()
            for job in jobs.keys.sorted() { fail(job, HandshakeFailure(.shuttingDown)) }
            throw error
        }
    }

    /// What is due by the clock, in the order in which it is looked at.
    private func addSchedules() {
        loop.schedule({ [unowned self] in isBehind ? 0 : nil }) { [unowned self] _ in catchUp() }
        loop.schedule({ [unowned self] in nextLook }) { [unowned self] now in
            look()
            nextLook = nextLook(after: now)
            lookAfterConnections(now)
            relayOutputs()
            writeMetrics(now)
            dispatchWaiting()
        }
        loop.schedule({ [unowned self] in nextCensus }) { [unowned self] now in takeCensus(now) }
        loop.schedule({ [unowned self] in nextRivalLook }) { [unowned self] now in lookForRivals(now) }
        loop.schedule({ [unowned self] in table.nextDue }) { [unowned self] now in settleDue(now) }
        loop.schedule({ [unowned self] in endings.nextLook }) { [unowned self] now in
            for one in endings.look(now) { conclude(one.job, one.result) }
        }
        loop.schedule({ [unowned self] in [strangers.nextDue, childLines.nextDue].compactMap(\.self).min() }) {
            [unowned self] now in summarise(now)
        }
        loop.schedule({ [unowned self] in slots.nextStart }) { [unowned self] now in startWorkers(now) }
        loop.schedule({ [unowned self] in nextSignerCheck }) { [unowned self] now in tendSigner(now) }
        loop.schedule({ [unowned self] in signer.nextStart }) { [unowned self] now in startSigner(now) }
        loop.schedule({ [unowned self] in takenListeners.map(\.nextTry).min() }) {
            [unowned self] (now) throws(StartFailure) in try retryListeners(now)
        }
        loop.schedule({ [unowned self] in patienceEnds }) { [unowned self] _ in giveUpAll() }
        loop.schedule({ [unowned self] in nextSignOfLife }) { [unowned self] now in
            nextSignOfLife = if let signsOfLife, !isRemainder { now + signsOfLife } else { .max }
            if !isRemainder { tell("WATCHDOG=1") }
        }
        loop.schedule({ [unowned self] in control.nextExpiry }) { [unowned self] now in control.expire(now) }
    }

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

    private func awaitFirstWorker() throws(StartFailure) {
        let deadline = Clock.monotonicNanoseconds() + 10_000_000_000
        while startProblem == nil, !workers.values.contains(where: \.isReady) {
            guard Clock.monotonicNanoseconds() < deadline, startAttempts < 3 else {
                throw StartFailure("no worker came up; remedy: run \(workerProgram) with its libraries installed")
            }
            guard !isStopping else { return }
            try loop.turn()
        }
        // Handshakes that come meanwhile would wait for their keys, but the kernel takes only a few before READY is
        // heard.
        while credentials.values.contains(where: \.awaitsSigner), Clock.monotonicNanoseconds() < deadline, !isStopping {
            try loop.turn()
        }
        if let startProblem { throw StartFailure("no handshake can be served: \(startProblem)") }
    }

    func tell(_ assignments: String...) {
        do {
            try ServiceManager.notify(assignments)
        } catch {
            log.error("the service manager could not be told: \(error.description)")
        }
    }
}

/// A descriptor that the broker's loop watches.
typealias BrokerSource = EventLoop<StartFailure>.Source

/// Why the daemon cannot start, or not go on: one line with the remedy.
package struct StartFailure: Error {
    package let text: String

    package init(_ text: String) {
        self.text = text
    }
}
