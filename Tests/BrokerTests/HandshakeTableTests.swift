import Glibc
import Handshake
import Policy
import Testing
import Wire

@testable import Broker
@testable import System
@testable import Unconfined
@testable import Upcall

@Suite("Every accepted request is answered exactly once")
final class HandshakeTableTests {
    private let upcall = ScriptedUpcall()
    private var table = HandshakeTable()
    private var accepted: [AcceptedHandshake] = []
    private let first = WorkerID(1)
    private let second = WorkerID(2)
    private let success = HandshakeResult(
        outcome: .success(
            NegotiatedSession(
                cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "", peerAuthenticated: true
            )))

    deinit {
        for one in accepted { one.takeSocket()?.close() }
    }

    private func accept() throws -> Handshake {
        let connection = try LoopbackConnection()
        let request = HandshakeRequest(transport: .netlink, role: .client, authentication: .x509)
        let one = AcceptedHandshake(socket: try connection.client.duplicate(), request: .success(request))
        accepted.append(one)
        return table.accept(one, request, from: upcall)
    }

    private func running(on worker: WorkerID) throws -> Handshake {
        let handshake = try accept()
        table.dispatch(handshake, to: worker)
        return handshake
    }

    private func failure(_ ended: HandshakeTable.Ended?) -> HandshakeFailure? {
        if case .failure(let failure)? = ended?.result.outcome { failure } else { nil }
    }

    @Test("a result from the worker that runs the handshake ends it, once")
    func result() throws {
        let handshake = try running(on: first)
        let ended = try table.finish(handshake.id, with: success, from: first)
        #expect(ended?.handshake === handshake && ended?.result == success && handshake.state == .over)
        #expect(throws: ChannelFault.self) {
            try table.finish(handshake.id, with: success, from: first)
        }
        let again = table.fail(handshake, HandshakeFailure(.shuttingDown))
        #expect(again == nil)
        #expect(table.isEmpty && table.load(of: first) == 0)
    }

    @Test("a result for another worker's handshake, or for one that waits, is a violation and changes nothing")
    func violation() throws {
        let handshake = try running(on: first), waiting = try accept()
        #expect(throws: ChannelFault.self) {
            try table.finish(handshake.id, with: success, from: second)
        }
        #expect(throws: ChannelFault.self) {
            try table.finish(waiting.id, with: success, from: first)
        }
        #expect(table.count == 2 && handshake.state == .running(on: first))
        #expect(waiting.state == .waiting(for: HandshakeFailure(.noWorkerReady)))
    }

    @Test("a client whose server has not sent one byte until the deadline is told of the MTU, and no other failure is")
    func timeout() throws {
        let connection = try LoopbackConnection()
        let request = HandshakeRequest(transport: .netlink, role: .client, authentication: .x509)
        let one = AcceptedHandshake(socket: try connection.client.duplicate(), request: .success(request))
        accepted.append(one)
        let handshake = table.accept(one, request, from: upcall)
        let timeout = HandshakeResult.Outcome.failure(HandshakeFailure(.deadlineExceeded))
        guard case .failure(let silent) = handshake.explainTimeout(timeout) else { return }
        #expect(silent.reason == .deadlineExceeded)
        #expect(silent.detail.contains("large packets seem to be lost on the way (MTU)"), "\(silent.detail)")
        for other in [
            HandshakeFailure(.deadlineExceeded, "the worker gave no answer"), HandshakeFailure(.peerClosed),
        ] {
            #expect(handshake.explainTimeout(.failure(other)) == .failure(other))
        }
        #expect(handshake.explainTimeout(success.outcome) == success.outcome)
        var byte: UInt8 = 22
        #expect(unsafe send(connection.server.number, &byte, 1, 0) == 1)
        #expect(unsafe recv(connection.client.number, &byte, 1, Int32(MSG_WAITALL)) == 1)
        #expect(handshake.explainTimeout(timeout) == timeout)
    }

    @Test("a worker's death ends all that it ran and nothing else")
    func death() throws {
        let lost = [try running(on: first), try running(on: first)]
        let kept = try running(on: second)
        let ended = table.lose(first, "signal 9")
        #expect(ended.map(\.handshake.id) == lost.map(\.id))
        #expect(ended.allSatisfy { failure($0) == HandshakeFailure(.workerLost, "signal 9") })
        #expect(kept.state == .running(on: second))
        let again = table.lose(first, "signal 9")
        #expect(again.isEmpty)
    }

    @Test("a handshake that a dead worker had not begun with waits again, and is another's from then on")
    func requeued() throws {
        let handshake = try running(on: first)
        table.requeue(handshake)
        #expect(table.waiting.map(\.id) == [handshake.id] && table.load(of: first) == 0)
        let lost = table.lose(first, "signal 9")
        #expect(lost.isEmpty)
        table.dispatch(handshake, to: second)
        #expect(throws: ChannelFault.self) {
            try table.finish(handshake.id, with: success, from: first)
        }
        let ended = try table.finish(handshake.id, with: success, from: second)
        #expect(ended?.handshake === handshake)
        table.requeue(handshake)
        table.dispatch(handshake, to: first)
        table.note(handshake, waitsFor: HandshakeFailure(.noWorkerReady))
        #expect(table.isEmpty && handshake.state == .over, "what is over stays so")
    }

    @Test("a worker that overruns the backstop is named and its handshake ends")
    func backstop() throws {
        let handshake = try running(on: first)
        #expect(table.nextDue == handshake.backstop)
        let early = table.due(at: handshake.backstop - 1)
        #expect(early.ended.isEmpty && table.overdueWorkers(at: handshake.backstop - 1).isEmpty)
        #expect(table.overdueWorkers(at: handshake.backstop) == [first])
        let due = table.due(at: handshake.backstop)
        #expect(due.overrun == [first] && due.ended.map(\.handshake.id) == [handshake.id])
        #expect(table.nextDue == nil)
    }

    @Test("a request that waited in vain is answered with what it waited for")
    func neverDispatched() throws {
        let handshake = try accept(), other = try accept()
        let lack = HandshakeFailure(.signerUnavailable, "it does not answer")
        table.note(other, waitsFor: lack)
        let due = table.due(at: max(handshake.backstop, other.backstop))
        #expect(due.overrun.isEmpty)
        #expect(due.ended.map(failure) == [HandshakeFailure(.noWorkerReady), lack])
        #expect(table.isEmpty)
    }

    @Test("a result held back is told when its time comes, unchanged, even if its worker dies meanwhile")
    func heldBack() throws {
        let handshake = try running(on: first)
        let ended = try table.finish(handshake.id, with: success, from: first, heldBackUntil: 70)
        #expect(ended == nil && table.nextDue == 70)
        let lost = table.lose(first, "signal 9"), early = table.due(at: 69)
        #expect(lost.isEmpty && early.ended.isEmpty)
        let due = table.due(at: 70)
        #expect(due.ended.map(\.result) == [success] && due.ended.first?.handshake === handshake)
    }

    @Test("a result held back is told unchanged when the daemon gives up waiting")
    func heldBackAtShutdown() throws {
        let handshake = try running(on: first)
        _ = try table.finish(handshake.id, with: success, from: first, heldBackUntil: 70)
        let ended = table.fail(handshake, HandshakeFailure(.shuttingDown))
        #expect(ended?.result == success)
    }

    @Test("those that wait are handed out oldest first, and loads follow")
    func order() throws {
        let handshakes = try (0..<20).map { _ in try accept() }
        #expect(table.waiting.map(\.id) == handshakes.map(\.id))
        for one in handshakes { table.dispatch(one, to: one.id % 2 == 0 ? first : second) }
        #expect(table.load(of: first) == 10 && table.load(of: second) == 10 && table.waiting.isEmpty)
        #expect(table.running(on: first).map(\.id) == handshakes.map(\.id).filter { $0 % 2 == 0 })
    }
}
