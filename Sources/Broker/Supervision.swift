internal import Handshake
internal import Policy
internal import System
internal import Unconfined
internal import Wire

/// A worker or the signer: a process with a control channel, and its state in the protocol.
protocol ServiceProcess: AnyObject {
    associatedtype Message

    var process: SupervisedProcess { get }
    /// The control channel's descriptor, borrowed.
    var controlNumber: Int32 { get }
    /// Set by its `ready`.
    var isReady: Bool { get }
    /// Set when the queue of the control channel was full; `relieve` is called when it is writable again.
    var isCongested: Bool { get }

    /// Sends what was kept while the queue was full.
    func relieve() throws(ChannelFault)
    /// Reads the next message of the control channel; `nil` if there is none.
    func receive() throws(ChannelFault) -> Message?
    /// Closes the channels, at which the process ends.
    func hangUp()
}

/// The owner of supervisors. It knows how its processes are started, what they are told, and what their end means.
protocol SupervisorUser: AnyObject {
    associatedtype Process: ServiceProcess

    /// Starts the program.
    func makeProcess() throws(SystemError) -> Process
    /// Watches the channels besides the control channel.
    ///
    /// - Returns: the sources, which the supervisor cancels.
    func watchOtherChannels(of process: Process) throws(SystemError) -> [BrokerSource]
    /// Sends a new process what it must know.
    func introduce(_ process: Process)
    /// The process could not be started; its place is free again.
    func startFailed(_ error: SystemError)

    /// The name of the process in the log.
    func name(of process: Process) -> String
    /// The control channel has room again.
    func hasRoom(_ process: Process)
    func handle(_ message: Process.Message, from process: Process) throws(ChannelFault)

    /// Ends a process that cannot be used any longer; calls `vacate`.
    func dismiss(_ process: Process, _ why: String)
    /// The process has ended; calls `vacate`.
    func ended(_ process: Process, _ end: ChildEnd)
}

/// The place of one process, which is filled again after each end:
///
///     free --start--> starting --`ready`--> serving --> gone --vacate--> free, until the back-off is over
///
/// A process can leave each state for `gone` (it has closed a channel or has ended), and by `vacate` or `discard`.
final class Supervisor<User: SupervisorUser> {
    /// The process in this place.
    private(set) var process: User.Process?
    /// It has closed a channel, or has ended.
    private var isGone = false
    /// The sources of its channels, as long as they are watched; the first is that of the control channel.
    private var sources: [BrokerSource] = []
    private var backOff: BackOff
    /// The place stays free.
    private var isClosed = false
    private unowned let user: User
    private unowned let broker: Broker

    /// Number of messages of one process before others get their turn, however fast it sends.
    private static var messagesPerTurn: Int { 16 }

    init(_ user: User, _ broker: Broker, backOff: BackOff) {
        self.user = user
        self.broker = broker
        self.backOff = backOff
    }

    /// The process is ready and has not ended.
    var isServing: Bool { process?.isReady == true && !isGone }

    // MARK: Start

    /// Time from which the place may be filled; `nil` while it is not free, and after `hangUp`.
    var nextStart: UInt64? { process == nil && !isClosed ? backOff.notBefore : nil }

    func canStart(_ now: UInt64) -> Bool { nextStart.map { $0 <= now } == true }

    /// Starts a process if the place is free and its time has come.
    func start(_ now: UInt64) {
        guard canStart(now) else { return }
        backOff.started(now)
        let started: User.Process
        do throws(SystemError) {
            started = try user.makeProcess()
            process = started
            try watch(started)
        } catch {
            vacate(served: false, now: now)
            return user.startFailed(error)
        }
        user.introduce(started)
    }

    private func watch(_ process: User.Process) throws(SystemError) {
        sources = [
            try broker.loop.watch(process.controlNumber) { [unowned self] event in
                receive(isWritable: event.isWritable)
            }
        ]
        sources += try user.watchOtherChannels(of: process)
        try process.process.watch(broker.loop) { [weak self, weak process, unowned broker] in
            // A process that has left its place is only waited for.
            guard let self, let process, process === self.process else { return broker.reaper.reap() }
            checkEnd()
        }
    }

    // MARK: Messages

    /// Does something with the process; a fault ends it. Watches for room in its queue if that was full.
    func attempt(_ body: (User.Process) throws(ChannelFault) -> Void) {
        guard let process else { return }
        do throws(ChannelFault) {
            try body(process)
            if process === self.process { watchForRoom(process) }
        } catch {
            // What was done may have ended the process already.
            guard process === self.process else { return }
            switch error {
            case .gone: abandon(process)
            case .unsendable:
                broker.log.error("a message to \(user.name(of: process)) was dropped: \(error.description)")
            case .unresponsive, .brokeProtocol, .failed: user.dismiss(process, error.description)
            }
        }
    }

    private func watchForRoom(_ process: User.Process) {
        do throws(SystemError) {
            try sources.first?.watch(for: process.isCongested ? [.read, .write] : .read)
        } catch {
            broker.log.error(error.description)
        }
    }

    /// Takes messages of the control channel.
    func receive(isWritable: Bool = false) {
        attempt { process throws(ChannelFault) in
            if isWritable, process.isCongested {
                try process.relieve()
                user.hasRoom(process)
            }
            for _ in 0..<Self.messagesPerTurn {
                guard let message = try process.receive() else { return }
                try user.handle(message, from: process)
            }
        }
    }

    // MARK: End

    /// The process has closed a channel, most likely because it is dying; its pidfd will report the exit status.
    private func abandon(_ process: User.Process) {
        isGone = true
        unwatch()
        process.process.kill()
    }

    /// The pidfd is readable: passes the end on if the process has ended.
    func checkEnd() {
        guard let process, let end = process.process.end(broker.log) else { return }
        isGone = true
        user.ended(process, end)
    }

    /// Kills what is left of the process, and frees the place.
    ///
    /// - Parameters:
    ///   - served: the process was ready.
    ///   - isScarce: hardly another process is left.
    @discardableResult
    func vacate(served: Bool, isScarce: Bool = false, now: UInt64) -> BackOff.Vacancy {
        discard()
        return backOff.ended(served: served, isScarce: isScarce, now: now)
    }

    /// Kills the process, and frees the place at once.
    func discard() {
        guard let process = release() else { return }
        process.process.kill()
        broker.reaper.add(process.process)
    }

    /// Closes the channels of the process, at which it ends. No other is started.
    func hangUp() {
        isClosed = true
        guard let process = release() else { return }
        process.hangUp()
        broker.reaper.add(process.process)
    }

    private func release() -> User.Process? {
        unwatch()
        isGone = false
        return process.take()
    }

    private func unwatch() {
        for source in sources { source.cancel() }
        sources = []
    }

    /// Writes to the log what the process has written to its standard error.
    func relayOutput() {
        if let process { broker.outputs.relay(process.process) }
    }
}

/// The time at which a place is filled again: at once after a process that served, ever later after several in a row
/// that died before they were ready, or young. A value; it starts nothing.
struct BackOff {
    /// Young deaths in a row after which the place is filled at once.
    let forgiven: Int
    /// Every death counts in a row of young deaths: that of a process that was not ready, and, as the first of a new
    /// row, that of one that lived long. Otherwise the former are counted apart and never forgiven, and the latter
    /// ends the row.
    let countsEveryDeath: Bool

    /// Deaths of processes in a row that were not ready.
    private var failures = 0
    /// Deaths of processes in a row that served and died young.
    private var youngDeaths = 0
    /// CLOCK_MONOTONIC nanoseconds.
    private var startedAt: UInt64 = 0
    /// Time from which the place may be filled, in CLOCK_MONOTONIC nanoseconds.
    private(set) var notBefore: UInt64 = 0

    /// A process that lived this long, in nanoseconds, died for a reason of its own.
    static let youth: UInt64 = 30_000_000_000

    init(forgiven: Int, countsEveryDeath: Bool = false) {
        self.forgiven = forgiven
        self.countsEveryDeath = countsEveryDeath
    }

    mutating func started(_ now: UInt64) { startedAt = now }

    /// The meaning of a death for its place.
    struct Vacancy: Equatable {
        /// Deaths in a row of processes that served and died young.
        var youngDeaths = 0
        /// Nanoseconds until the place is filled again.
        var pause: UInt64 = 0
    }

    /// Notes the end of a process, or that it could not be started.
    ///
    /// - Parameters:
    ///   - served: the process was ready.
    ///   - isScarce: hardly another process is left. A longer pause would then do a stranger's work.
    @discardableResult
    mutating func ended(served: Bool, isScarce: Bool = false, now: UInt64) -> Vacancy {
        var pause: UInt64
        if served || countsEveryDeath {
            failures = 0
            let lived = now > startedAt ? now - startedAt : 0
            youngDeaths = lived < Self.youth ? youngDeaths + 1 : countsEveryDeath ? 1 : 0
            // A process that dies of what a stranger sends ends others' handshakes, each time.
            pause = Self.pause(after: youngDeaths - forgiven)
        } else {
            failures += 1
            pause = Self.pause(after: failures)
        }
        if served, isScarce { pause = min(pause, Self.pause(after: 1)) }
        notBefore = now + pause
        return Vacancy(youngDeaths: youngDeaths, pause: pause)
    }

    /// 0.1 s, doubled each time, 10 s at most.
    private static func pause(after failures: Int) -> UInt64 {
        guard failures > 0 else { return 0 }
        return min(100_000_000 << UInt64(min(failures - 1, 7)), 10_000_000_000)
    }
}

extension Confinement {
    /// Takes what a process reports. The log names the layers that are missing once, not for each process of a kind.
    ///
    /// - Parameter text: what the log says of the processes.
    mutating func note(_ reported: Confinement, _ text: String, _ log: DaemonLog) {
        defer { self = reported }
        guard lacking != reported.lacking, !reported.lacking.isEmpty else { return }
        log.notice("\(text): \(reported.lacking.joined(separator: "; "))", .lessConfined)
    }
}

/// A program that the broker has started: its process, and what it writes to its standard error.
final class SupervisedProcess {
    private let child: any StartedProgram
    private let output: ChildOutput
    private var outputLines = OutputLines()
    /// Such as `worker 4711`, for the log.
    let label: String
    private var source: BrokerSource?

    /// - Parameters:
    ///   - kind: `worker` or `signer`.
    ///   - descriptors: what it inherits, besides the pipe for its standard error.
    init(
        _ kind: String, program: String, environment: [String], descriptors: [(source: Int32, target: Int32)],
        starter: ProgramStarter
    ) throws(SystemError) {
        output = try ChildOutput()
        child = try starter.start(
            program, environment, [(source: output.childNumber, target: 2)] + descriptors)
        output.closeChildEnd()
        label = "\(kind) \(child.identifier)"
    }

    var identifier: Int32 { child.identifier }
    /// The pidfd, borrowed.
    var number: Int32 { child.number }

    /// Watches for its end, until it was waited for.
    func watch(_ loop: EventLoop, _ action: @escaping () -> Void) throws(SystemError) {
        source = try loop.watch(child.number) { _ in action() }
    }

    func signal(_ number: Int32) throws(SystemError) { try child.signal(number) }

    /// Kills it where it has not ended yet; its pidfd tells of the end.
    func kill() { try? child.signal(Signal.kill) }

    /// The end of the process; `nil` while it runs. A process that has ended is waited for, so that it is no zombie.
    ///
    /// - Throws: `waitid`; ECHILD where it was waited for before.
    func reapIfEnded() throws(SystemError) -> ChildEnd? {
        let end: ChildProcess.End
        do throws(SystemError) {
            guard let ended = try child.reapIfEnded() else { return nil }
            end = ended
        } catch {
            source?.cancel()
            throw error
        }
        source?.cancel()
        let cause = end == .killed(signal: Signal.forbiddenCall) ? ", for a system call that its sandbox forbids" : ""
        return ChildEnd(text: end.description + cause, isFault: end.isFault)
    }

    /// The end of the process whose pidfd is readable; `nil` while it runs.
    func end(_ log: DaemonLog) -> ChildEnd? {
        do throws(SystemError) {
            return try reapIfEnded()
        } catch {
            // After fork(2) the workers are the parent's.
            if error.number != .echild { log.error(error.description) }
            return ChildEnd(text: "ended", isFault: false)
        }
    }

    /// The whole lines that it has written since. A pipe holds 64 kB, so that a child which writes more in a second
    /// loses it.
    func takeLines(isLast: Bool) -> [String] { outputLines.take(output.read(), isLast: isLast) }
}

/// The end of a process.
struct ChildEnd {
    /// For the log, after the process's name.
    let text: String
    let isFault: Bool
}

/// Waits for the processes that were told to end, so that none stays behind as a zombie. The loop tells when they have
/// ended.
final class Reaper {
    private(set) var dying: [SupervisedProcess] = []
    private let loop: EventLoop

    /// Maximum time for the processes to end by themselves, and again after SIGKILL, in nanoseconds.
    private static let patience: UInt64 = 500_000_000

    init(_ loop: EventLoop) { self.loop = loop }

    /// Takes a process that ends soon, or has ended.
    func add(_ process: SupervisedProcess) {
        dying.append(process)
        reap()
    }

    /// Collects the exit statuses of those that have ended.
    func reap() {
        dying.removeAll { process in
            do {
                return try process.reapIfEnded() != nil
            } catch {
                // It has been waited for already.
                return true
            }
        }
    }

    /// Waits a moment for all to end, so that none is left where the service manager looks; then kills those that hang.
    func finish() {
        awaitEnds()
        for process in dying { process.kill() }
        awaitEnds()
    }

    private func awaitEnds() {
        let until = loop.now + Self.patience
        while !dying.isEmpty, loop.now < until {
            reap()
            // Their ends wake it.
            loop.waitIdly(atMost: 10_000_000)
        }
    }
}

/// Writes to the log what processes have written to their standard error.
final class ChildOutputs {
    /// Lines of each process, by its label.
    private var throttle = LogThrottle<String>(most: 20, mostInAll: 100)
    private let log: DaemonLog
    private let loop: EventLoop

    init(_ loop: EventLoop, log: DaemonLog) {
        self.loop = loop
        self.log = log
    }

    func addSchedules() {
        loop.schedule({ [unowned self] in throttle.nextDue }) { [unowned self] now in summarise(now) }
    }

    func relay(_ process: SupervisedProcess, isLast: Bool = false) {
        for line in process.takeLines(isLast: isLast)
        where throttle.admits(process.label, about: line, now: loop.now) {
            log.warning("\(process.label): \(line)")
        }
    }

    /// Says how many lines were left out in a minute that is over.
    func summarise(_ now: UInt64) {
        for summary in throttle.summaries(at: now) {
            log.warning(
                "\(summary.sender ?? "other processes"): \(summary.count.counted("more line")) in the last minute, the last: "
                    + summary.last)
        }
    }
}

/// The program files of workers and signer, and their environment.
enum WorkerProgram {
    static let worker = "tlshd-worker"
    static let signer = "tlshd-signer"

    /// Finds a program next to our own (in a build), or where it is installed: distributions without /usr/libexec use
    /// /usr/lib.
    ///
    /// - Throws: ENOENT with all paths that were tried.
    static func find(_ name: String) throws(SystemError) -> String {
        let folder = try Host.executableFolder()
        let places = ["", "../libexec/tlshd/", "../lib/tlshd/"].map { "\(folder)/\($0)\(name)" }
        guard let found = places.first(where: Host.isExecutable) else {
            throw SystemError("find", 2, "the program at \(places.joined(separator: " or "))")
        }
        return found
    }

    /// Environment of workers: variables of GnuTLS, such as its policy file and FIPS mode, and no others.
    static func environment() -> [String] {
        Host.environment { $0.hasPrefix("GNUTLS_") } + ["SWIFT_BACKTRACE=enable=no"]
    }

    /// Environment of a signer. PKCS #11 modules have variables of their own, so that for tokens gets all except those
    /// for tlshd.
    static func environment(of signer: SignerKind) -> [String] {
        guard signer == .tokens else { return environment() }
        let ours = [
            keyLog, "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "SWIFT_BACKTRACE",
        ]
        return Host.environment { !ours.contains(String($0)) } + ["SWIFT_BACKTRACE=enable=no"]
    }

    /// Names a file to which GnuTLS would write the secrets of every session. Never passed on.
    static let keyLog = "SSLKEYLOGFILE"

    /// True if the variable is set.
    static var isKeyLogWanted: Bool { !Host.environment { $0 == keyLog }.isEmpty }
}
