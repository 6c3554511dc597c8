import Testing

@testable import Handshake

@Suite("Every accepted request is answered exactly once")
struct JobTableTests {
    private let first = WorkerID(1)
    private let second = WorkerID(2)
    private let success = HandshakeResult(
        outcome: .success(
            NegotiatedSession(
                cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "", peerAuthenticated: true
            )))

    private func running(_ table: inout JobTable, on worker: WorkerID, backstop: UInt64 = 100) -> UInt64 {
        let job = table.accept(backstop: backstop)
        table.dispatch(job, to: worker)
        return job
    }

    @Test("a result from the worker that runs the job is the answer, once")
    func result() throws {
        var table = JobTable()
        let job = running(&table, on: first)
        #expect(try table.finish(job, with: success, from: first) == .init(job: job, result: success))
        #expect(throws: JobTable.Violation.unknownJob(job)) { try table.finish(job, with: success, from: first) }
        #expect(table.isEmpty)
        #expect(table.load(of: first) == 0)
    }

    @Test("a result for another worker's job, or for one that waits, is a violation and changes nothing")
    func violation() throws {
        var table = JobTable()
        let job = running(&table, on: first)
        let waiting = table.accept(backstop: 100)
        #expect(throws: JobTable.Violation.anothersJob(job)) { try table.finish(job, with: success, from: second) }
        #expect(throws: JobTable.Violation.anothersJob(waiting)) {
            try table.finish(waiting, with: success, from: first)
        }
        #expect(table.count == 2)
        #expect(table.phase(of: job) == .running(first))
        #expect(table.phase(of: waiting) == .waiting)
    }

    @Test("a worker's death answers all that it ran and nothing else")
    func death() {
        var table = JobTable()
        let lost = [running(&table, on: first), running(&table, on: first)]
        let kept = running(&table, on: second)
        let answers = table.lose(first, "signal 9")
        #expect(answers.map(\.job) == lost)
        #expect(answers.allSatisfy { $0.result.outcome == .failure(HandshakeFailure(.workerLost, "signal 9")) })
        #expect(table.phase(of: kept) == .running(second))
        #expect(table.lose(first, "signal 9").isEmpty)
    }

    @Test("a job that a dead worker had not begun with waits again, and is another's from then on")
    func requeued() throws {
        var table = JobTable()
        let job = running(&table, on: first)
        table.requeue(job)
        #expect(table.waiting == [job])
        #expect(table.load(of: first) == 0)
        #expect(table.lose(first, "signal 9").isEmpty)
        table.dispatch(job, to: second)
        #expect(throws: JobTable.Violation.anothersJob(job)) { try table.finish(job, with: success, from: first) }
        #expect(try table.finish(job, with: success, from: second) == .init(job: job, result: success))
        table.requeue(job)
        #expect(table.isEmpty)
    }

    @Test("a worker that overruns the backstop is named and its job answered")
    func backstop() {
        var table = JobTable()
        let job = running(&table, on: first, backstop: 50)
        #expect(table.nextDue == 50)
        #expect(table.due(at: 49).answers.isEmpty)
        let due = table.due(at: 50)
        #expect(due.overrun == [first])
        #expect(due.answers.map(\.job) == [job])
        #expect(table.nextDue == nil)
    }

    @Test("a request for which no worker was ready in time is answered with that")
    func neverDispatched() {
        var table = JobTable()
        let job = table.accept(backstop: 10)
        let due = table.due(at: 10)
        #expect(due.overrun.isEmpty)
        #expect(due.answers.first?.job == job)
        #expect(
            due.answers.first?.result.outcome == .failure(HandshakeFailure(.noWorkerReady)))
    }

    @Test("a request that waited for something else is answered with that")
    func lacked() {
        var table = JobTable()
        let job = table.accept(backstop: 10)
        let failure = HandshakeFailure(.signerUnavailable, "it does not answer")
        table.note(job, lacks: failure)
        #expect(table.due(at: 10).answers.first?.result.outcome == .failure(failure))
        table.note(job, lacks: failure)
        #expect(table.isEmpty)
    }

    @Test("a result held back is told when its time comes, unchanged, even if its worker dies meanwhile")
    func heldBack() throws {
        var table = JobTable()
        let job = running(&table, on: first)
        #expect(try table.finish(job, with: success, from: first, heldBackUntil: 70) == nil)
        #expect(table.lose(first, "signal 9").isEmpty)
        #expect(table.due(at: 69).answers.isEmpty)
        #expect(table.due(at: 70).answers == [.init(job: job, result: success)])
    }

    @Test("a result held back is told unchanged when the daemon gives up waiting")
    func heldBackAtShutdown() throws {
        var table = JobTable()
        let job = running(&table, on: first)
        _ = try table.finish(job, with: success, from: first, heldBackUntil: 70)
        #expect(table.fail(job, HandshakeFailure(.shuttingDown))?.result == success)
    }

    @Test("waiting jobs are handed out oldest first, and loads follow")
    func order() {
        var table = JobTable()
        let jobs = (0..<20).map { _ in table.accept(backstop: 100) }
        #expect(table.waiting == jobs)
        for job in jobs { table.dispatch(job, to: job % 2 == 0 ? first : second) }
        #expect(table.load(of: first) == 10)
        #expect(table.load(of: second) == 10)
        #expect(table.waiting.isEmpty)
    }
}
