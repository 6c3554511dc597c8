/// A worker process, by the broker's own count.
package struct WorkerID: Sendable, Hashable {
    package let number: Int

    package init(_ number: Int) {
        self.number = number
    }

    /// The same in messages to the signer.
    package var channelNumber: UInt32 { UInt32(truncatingIfNeeded: number) }
}

/// The handshakes that are accepted and not yet answered, and who works on them: a value, so that every order of events
/// can be tested without a kernel. It holds the promise that each accepted request is answered exactly once.
package struct JobTable: Sendable {
    /// Where a job stands.
    package enum Phase: Sendable, Equatable {
        /// Accepted; no worker was ready yet.
        case waiting
        /// A worker runs it.
        case running(WorkerID)
        /// Its result is known and held back until then (CLOCK_MONOTONIC nanoseconds).
        case heldBack(until: UInt64, HandshakeResult)
    }

    private struct Entry: Sendable {
        var phase: Phase
        /// CLOCK_MONOTONIC nanoseconds at which the broker answers by itself.
        let backstop: UInt64
        /// What it is answered with, should it wait until then.
        var lack = HandshakeFailure(.noWorkerReady)
    }

    /// What is to be answered now, and by whose doing.
    package struct Answer: Sendable, Equatable {
        package let job: UInt64
        package let result: HandshakeResult
    }

    /// Why a message of a worker about a job is refused; the worker has broken the protocol.
    package enum Violation: Error, Sendable, Equatable {
        case unknownJob(UInt64)
        case anothersJob(UInt64)
    }

    private var entries: [UInt64: Entry] = [:]
    private var lastID: UInt64 = 0
    private var loads: [WorkerID: Int] = [:]

    package init() {}

    package var count: Int { entries.count }
    package var isEmpty: Bool { entries.isEmpty }

    /// Takes a request in.
    ///
    /// - Parameter backstop: when the broker answers by itself, should the worker have said nothing.
    package mutating func accept(backstop: UInt64) -> UInt64 {
        lastID += 1
        entries[lastID] = Entry(phase: .waiting, backstop: backstop)
        return lastID
    }

    package func phase(of job: UInt64) -> Phase? { entries[job]?.phase }

    /// The jobs that wait for a worker, oldest first.
    package var waiting: [UInt64] {
        entries.filter { $0.value.phase == .waiting }.keys.sorted()
    }

    /// The jobs that a worker runs, oldest first.
    package func running(on worker: WorkerID) -> [UInt64] {
        entries.filter { $0.value.phase == .running(worker) }.keys.sorted()
    }

    package func load(of worker: WorkerID) -> Int { loads[worker, default: 0] }

    /// Notes what a job waits for: its failure, should that not come in time.
    package mutating func note(_ job: UInt64, lacks failure: HandshakeFailure) {
        entries[job]?.lack = failure
    }

    /// Notes that the job was handed to a worker.
    package mutating func dispatch(_ job: UInt64, to worker: WorkerID) {
        guard entries[job]?.phase == .waiting else { return }
        entries[job]?.phase = .running(worker)
        loads[worker, default: 0] += 1
    }

    /// Has a job wait again: its worker ended before it began with it.
    package mutating func requeue(_ job: UInt64) {
        guard case .running(let worker) = entries[job]?.phase else { return }
        entries[job]?.phase = .waiting
        loads[worker, default: 1] -= 1
    }

    /// Checks that a worker may speak about a job.
    package func check(_ job: UInt64, belongsTo worker: WorkerID) throws(Violation) {
        guard let entry = entries[job] else { throw .unknownJob(job) }
        guard entry.phase == .running(worker) else { throw .anothersJob(job) }
    }

    /// A worker's result.
    ///
    /// - Parameter until: when it may be told, for the setting that delays it; `nil` for at once.
    /// - Returns: the answer, or `nil` while it is held back.
    package mutating func finish(
        _ job: UInt64, with result: HandshakeResult, from worker: WorkerID, heldBackUntil until: UInt64? = nil
    ) throws(Violation) -> Answer? {
        try check(job, belongsTo: worker)
        loads[worker, default: 1] -= 1
        if let until {
            entries[job]?.phase = .heldBack(until: until, result)
            return nil
        }
        entries[job] = nil
        return Answer(job: job, result: result)
    }

    /// Gives a job up on the broker's own account.
    package mutating func fail(_ job: UInt64, _ failure: HandshakeFailure) -> Answer? {
        guard let entry = entries.removeValue(forKey: job) else { return nil }
        if case .running(let worker) = entry.phase { loads[worker, default: 1] -= 1 }
        if case .heldBack(_, let result) = entry.phase { return Answer(job: job, result: result) }
        return Answer(job: job, result: HandshakeResult(outcome: .failure(failure)))
    }

    /// A worker died: all that it ran is answered at once.
    package mutating func lose(_ worker: WorkerID, _ detail: String) -> [Answer] {
        defer { loads[worker] = nil }
        return running(on: worker).compactMap { fail($0, HandshakeFailure(.workerLost, detail)) }
    }

    /// What is due at `now`: results held back until then, and jobs whose worker overran the backstop.
    package mutating func due(at now: UInt64) -> (answers: [Answer], overrun: Set<WorkerID>) {
        var answers: [Answer] = []
        var overrun: Set<WorkerID> = []
        for (job, entry) in entries.sorted(by: { $0.key < $1.key }) {
            switch entry.phase {
            case .heldBack(let until, _) where until <= now:
                answers += fail(job, HandshakeFailure(.deadlineExceeded)).map { [$0] } ?? []
            case .running(let worker) where entry.backstop <= now:
                overrun.insert(worker)
                answers +=
                    fail(job, HandshakeFailure(.deadlineExceeded, "the worker gave no answer")).map { [$0] } ?? []
            case .waiting where entry.backstop <= now:
                answers += fail(job, entry.lack).map { [$0] } ?? []
            case .waiting, .running, .heldBack: break
            }
        }
        return (answers, overrun)
    }

    /// The workers that run a job whose backstop is over.
    package func overdueWorkers(at now: UInt64) -> Set<WorkerID> {
        var workers: Set<WorkerID> = []
        for entry in entries.values where entry.backstop <= now {
            if case .running(let worker) = entry.phase { workers.insert(worker) }
        }
        return workers
    }

    /// The next moment at which `due` has something; `nil` for never.
    package var nextDue: UInt64? {
        entries.values.map { entry in
            if case .heldBack(let until, _) = entry.phase { return until }
            return entry.backstop
        }.min()
    }
}
