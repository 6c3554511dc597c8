import Foundation
import Glibc
import Handshake
import Policy
import System
import TestSupport
import Testing

@testable import TLS

/// Peers that nobody trusts and that send what is expensive to look at: Tests/VM/fake/stranger.py.
@Suite("Strangers that have us compute", .serialized)
struct StrangerTests {
    private static let program = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../VM/fake/stranger.py").path

    /// What a handshake with a stranger came to.
    struct Outcome {
        var failure: HandshakeFailure?
        /// Processor time of all steps, in milliseconds.
        var milliseconds = 0.0
        var log: [String] = []
        /// It has keys.
        var isDone = false
        var isAuthenticated = false
        var tags: [String] = []
        /// What the stranger printed, which has ended.
        var said = ""

        /// Whether the stranger sent what it was to send: all of it, or as much as we let it.
        var wasServed: Bool {
            guard !said.contains("Traceback") else { return false }
            let sent = said.split(separator: "\n").first { $0.hasPrefix("bytes ") }?.split(separator: " ")[1]
            guard let count = sent.flatMap({ Int($0) }), count > 0 else { return false }
            return said.contains("sent ") || (failure.map { $0.reason != .peerClosed } ?? false)
        }
    }

    /// Has the engine shake hands with a client, or a server, that sends `input`.
    ///
    /// - Parameter prepare: called before the first step.
    private func meet(
        _ side: Role, _ input: String, certificate: String? = nil, _ change: (inout Engine.Plan) -> Void = { _ in },
        prepare: (Engine) -> Void = { _ in }
    ) throws -> Outcome {
        var plan = side == .client ? Engine.Plan.server() : Engine.Plan()
        change(&plan)
        let (program, socket) = try start(side, input, certificate)
        let engine = try Engine(plan, on: socket)
        prepare(engine)
        var outcome = Outcome()
        let end = Clock.deadline(in: .seconds(60))
        loop: while Clock.monotonicNanoseconds() < end {
            let start = Clock.threadProcessorNanoseconds()
            let step = engine.session.step()
            outcome.milliseconds += Double(Clock.threadProcessorNanoseconds() - start) / 1_000_000
            switch step {
            case .failed(let failure):
                outcome.failure = failure
                break loop
            case .finished:
                outcome.isDone = true
                break loop
            case .wants:
                // All that it has to send was read.
                if program.hasSaid("sent"), Loopback.waiting(socket) == 0 { break loop }
                var entry = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
                _ = unsafe poll(&entry, 1, 100)
            }
        }
        // What it still has to send goes out, and then it ends.
        shutdown(socket, Int32(SHUT_WR))
        var rest = [UInt8](repeating: 0, count: 65_536)
        while awaitInput(socket), unsafe recv(socket, &rest, rest.count, 0) > 0 {}
        #expect(program.wait(for: "ended "), "\(program.text)")
        outcome.said = program.text
        outcome.log = engine.log
        outcome.isAuthenticated = engine.session.isPeerVerified
        outcome.tags = engine.session.result(elapsed: .zero).tags
        return outcome
    }

    /// Starts the stranger and gives our end of its connection.
    private func start(_ side: Role, _ input: String, _ certificate: String?) throws -> (PeerProgram, Int32) {
        let more = certificate.map { ["--certificate", $0] } ?? []
        if side == .client {
            let (listener, port) = try Loopback.listen()
            defer { close(listener) }
            let program = try PeerProgram("/usr/bin/python3", [Self.program, "client", "\(port)", input] + more)
            return (program, try Loopback.accept(listener))
        }
        let program = try PeerProgram("/usr/bin/python3", [Self.program, "server", "0", input] + more)
        #expect(program.wait(for: "listening-") && program.wait(for: "\n"), "\(program.text)")
        let port = program.text.components(after: "listening-").prefix { $0.isNumber }
        return (program, try Loopback.connect(UInt16(port) ?? 0))
    }

    /// Every input, as the stranger lists them, with the role that it plays.
    static let inputs = (try? Command("python3", program, "--list").text)?.split(separator: "\n").map(String.init) ?? []

    @Test("there are as many inputs as the stranger has")
    func allInputs() {
        #expect(Self.inputs.count >= 65)
    }

    /// The daemon's limit on this machine, in milliseconds: it follows what good handshakes cost. Our own code is not
    /// optimised in a debug build; the VM cases nfs-cost-* hold the programs to the limit itself.
    private static let budget = Result { () throws -> Double in
        var budget = ProcessorBudget()
        for _ in 0..<8 {
            let result = HandshakeResult(
                outcome: .success(
                    NegotiatedSession(
                        cipherSuite: "", group: "", applicationProtocol: "", peerAuthenticated: false)),
                processorTime: try goodHandshake())
            _ = budget.exceeds(result)
        }
        #if DEBUG
            let slowness = 2.0
        #else
            let slowness = 1.0
        #endif
        return slowness * Double(Clock.nanoseconds(of: budget.limit)) / 1_000_000
    }

    /// The processor time of a server for a client that it lets in.
    private static func goodHandshake() throws -> Duration {
        let (left, right) = try Loopback.pair()
        let server = try Engine(.server(), on: left), client = try Engine(Engine.Plan(), on: right)
        var time: UInt64 = 0
        var isClientDone = false
        let end = Clock.deadline(in: .seconds(60))
        while true {
            try #require(Clock.monotonicNanoseconds() < end)
            if !isClientDone, case .finished = client.session.step() { isClientDone = true }
            let start = Clock.threadProcessorNanoseconds()
            let step = server.session.step()
            time += Clock.threadProcessorNanoseconds() - start
            switch step {
            case .finished: return .nanoseconds(Int64(time))
            case .failed(let failure): throw failure
            case .wants: break
            }
        }
    }

    @Test("none costs more than a stranger may, and none is let in", arguments: inputs)
    func withinBudget(line: String) throws {
        let words = line.split(separator: " ").map(String.init)
        let outcome = try meet(words[0] == "client" ? .client : .server, words[1])
        #expect(outcome.milliseconds < (try Self.budget.get()))
        #expect(!outcome.isDone)
        #expect(outcome.wasServed, "\(outcome.said)")
    }

    @Test(
        "a certificate that costs too much is refused with what is too much, before its signature is verified",
        arguments: [
            ("rsa-32768-exponent-32768", "CN=stranger: an RSA key of 32768 bits, at most 8192 are taken"),
            ("rsa-8192-exponent-8192", "CN=stranger: an RSA key with an exponent of 8192 bits, at most 64 are taken"),
            ("dsa-16384", "CN=stranger: a DSA key of 16384 and 16384 bits, at most 3072 and 256 are taken"),
            ("chain-of-100", "100 certificates, at most 16 are taken"),
            ("staples-16", "16 stapled OCSP responses for 16 certificates"),
            ("staple-rsa-32768", "CN=signer: an RSA key of 32768 bits, at most 8192 are taken"),
        ])
    func tooCostly(input: String, detail: String) throws {
        for side in Role.allCases {
            let outcome = try meet(side, input)
            #expect(outcome.failure == HandshakeFailure(.certificateTooCostly, detail))
        }
    }

    @Test("a chain that nobody trusts is refused for that, and its signature is not verified")
    func strangersSignature() throws {
        for side in Role.allCases {
            // The signature is wrong, and would be the reason if it were looked at.
            #expect(try meet(side, "rsa-2048").failure?.reason == .certificateUnknownAuthority)
        }
    }

    @Test("a chain that is trusted proves nothing as long as the peer's signature is wrong")
    func borrowedChain() throws {
        let file = Fixtures.shared.path("rsa.pem")
        for side in Role.allCases {
            let outcome = try meet(side, "borrowed", certificate: file)
            #expect(outcome.failure?.reason == .certificateSignatureInvalid)
            #expect(!outcome.isAuthenticated && outcome.tags.isEmpty)
        }
    }

    @Test("finite-field groups are taken only where settings name them")
    func finiteFields() throws {
        #expect(try meet(.client, "share-FFDHE2048").failure?.reason == .noCommonGroup)
        let named = try meet(.client, "share-FFDHE2048") { $0.limits.groups = ["X25519", "FFDHE2048"] }
        // Half of all random shares are in the wrong subgroup, which takes computing to see.
        #expect(named.failure?.reason != .noCommonGroup)
        let alone = try meet(.client, "share-FFDHE2048") { $0.restriction = ":-GROUP-ALL:+GROUP-FFDHE2048" }
        #expect(alone.failure?.reason != .noCommonGroup)
    }

    @Test("a hello that is too long is refused by its header, and messages behind it when they are too long together")
    func tooLong() throws {
        let hello = try meet(.client, "hello-of-120000-unfinished")
        #expect(
            hello.failure
                == HandshakeFailure(.handshakeTooLong, "a hello of 121000 bytes, at most 16384 are taken"))
        #expect(hello.log.contains("sent alert illegal_parameter"))
        #expect(try meet(.client, "certificate-of-80000-unfinished").failure == nil)
        let certificate = try meet(.client, "certificate-of-200000-unfinished")
        #expect(
            certificate.failure
                == HandshakeFailure(.handshakeTooLong, "more than 98304 bytes, [limits] handshake_bytes"))
        #expect(
            try meet(.client, "certificate-of-200000-unfinished", { _ in }) { $0.session.limitIncoming(262_144) }
                .failure == nil)
    }
}
