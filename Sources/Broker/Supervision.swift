internal import Glibc
internal import Policy
internal import System
internal import Unconfined

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
    func watch(_ loop: EventLoop<StartFailure>, _ action: @escaping () -> Void) throws(SystemError) {
        source = try loop.watch(child.number) { _ in action() }
    }

    func signal(_ number: Int32) throws(SystemError) { try child.signal(number) }

    /// Kills it where it has not ended yet; its pidfd tells of the end.
    func kill() { try? child.signal(SIGKILL) }

    /// How it has ended; `nil` while it has not. Waits for the process, so that it is no zombie.
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
        let cause = end == .killed(signal: SIGSYS) ? ", for a system call that its sandbox forbids" : ""
        return ChildEnd(text: end.description + cause, isFault: end.isFault)
    }

    /// How it has ended, where the loop says that its pidfd is readable; `nil` while it has not.
    func end(_ log: DaemonLog) -> ChildEnd? {
        do throws(SystemError) {
            return try reapIfEnded()
        } catch {
            log.error(error.description)
            return ChildEnd(text: "ended", isFault: false)
        }
    }

    /// The whole lines that it has written since. A pipe holds 64 kB, so that a child which writes more in a second
    /// loses it.
    func takeLines(isLast: Bool) -> [String] { outputLines.take(output.read(), isLast: isLast) }
}

/// How a process has ended.
struct ChildEnd {
    /// For the log, after the process's name.
    let text: String
    let isFault: Bool
}

/// Waits for the processes that were told to end, so that none stays behind as a zombie. The loop tells when they have
/// ended.
final class Reaper {
    private(set) var dying: [SupervisedProcess] = []
    private let loop: EventLoop<StartFailure>

    /// How long the processes may take to end by themselves, and then once more by SIGKILL, in nanoseconds.
    private static let patience: UInt64 = 500_000_000

    init(_ loop: EventLoop<StartFailure>) { self.loop = loop }

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
    /// By the process's label.
    private var throttle = LogThrottle<String>(most: 20, mostInAll: 100)
    private let log: DaemonLog
    private let loop: EventLoop<StartFailure>

    init(_ loop: EventLoop<StartFailure>, log: DaemonLog) {
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
                "\(summary.sender ?? "other processes"): \(summary.count) more lines in the last minute, the last: "
                    + summary.last)
        }
    }
}
