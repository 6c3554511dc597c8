import Testing

@testable import Handshake
@testable import Policy

struct ProcessorBudgetTests {
    private func expect(_ budget: inout ProcessorBudget, _ milliseconds: Int, fails: Bool, is isOver: Bool) {
        let found = budget.exceeds(result(milliseconds, fails: fails))
        #expect(found == isOver, "\(milliseconds) ms")
    }

    private func result(_ milliseconds: Int, fails: Bool) -> HandshakeResult {
        let session = NegotiatedSession(cipherSuite: "", group: "", applicationProtocol: "", peerAuthenticated: false)
        var result = HandshakeResult(
            outcome: fails ? .failure(HandshakeFailure(.protocolViolation)) : .success(session))
        result.processorTime = .milliseconds(milliseconds)
        return result
    }

    @Test("before a handshake has succeeded a second is allowed, then 50 ms, and more only where good ones take long")
    func limits() {
        var budget = ProcessorBudget()
        expect(&budget, 1001, fails: true, is: true)
        expect(&budget, 1000, fails: true, is: false)
        expect(&budget, 1, fails: false, is: false)
        #expect(budget.limit == .milliseconds(50))
        expect(&budget, 51, fails: true, is: true)
        expect(&budget, 50, fails: true, is: false)
        var slow = ProcessorBudget()
        expect(&slow, 100, fails: false, is: false)
        expect(&slow, 800, fails: true, is: false)
        expect(&slow, 801, fails: true, is: true)
    }

    @Test("a success is never over budget, and one costly success raises the limit by a quarter at most")
    func costlySuccess() {
        var budget = ProcessorBudget()
        for _ in 0..<10 { _ = budget.exceeds(result(10, fails: false)) }
        let before = budget.limit
        expect(&budget, 60_000, fails: false, is: false)
        #expect(budget.limit > before && budget.limit <= before * 1.25)
    }
}
