import CLinux
import Glibc
import Handshake
import System
import TestSupport
import Testing
import Unconfined
import Wire

@Suite("the worker process") struct WorkerProcessTests {
    @Test("it says what it can do, and what of a role's credentials is in force")
    func setUp() throws {
        let worker = try WorkerUnderTest()
        let abilities = try #require(try worker.setUp())
        #expect(abilities.problem.isEmpty)
        #expect(abilities.libraryVersion.hasPrefix("3."))
        #expect(abilities.cipherSuites.contains("TLS_AES_128_GCM_SHA256"))
        let good = try #require(try worker.configure(.client, [(.trustStore, "ca.pem")]))
        #expect(good.problem.isEmpty && good.generation == 7 && good.owner.role == .client)
        #expect(good.summary.contains("trusts 1 authority of"))
        #expect(good.facts.authorities == 1)
        let bad = try #require(try worker.configure(.client, [(.trustStore, "rsa.key")]))
        #expect(bad.problem.contains("rsa.key holds no certificate"))
    }

    @Test("limits that cannot be kept are told with the credentials, not only when somebody connects")
    func limits() throws {
        let worker = try WorkerUnderTest()
        _ = try worker.setUp()
        var limits = NegotiationLimits()
        limits.groups = ["X25519", "SECP192R1"]
        let verdict = try #require(try worker.configure(.client, [(.trustStore, "ca.pem")], limits: limits))
        #expect(verdict.problem.hasPrefix("tls.groups: SECP192R1 is not possible: the crypto policy forbids it"))
        #expect(verdict.problem.contains("remedy: write suites and groups"))
        let near = try Loopback.pair()
        defer {
            close(near.0)
            close(near.1)
        }
        let job = HandshakeJob(
            id: 1, role: .client, authentication: .unauthenticated, deadline: WorkerUnderTest.deadline(),
            peerName: "server.test", limits: limits)
        try worker.send(.handshake(job), descriptors: [near.0])
        guard case .failure(let failure)? = try worker.result(of: 1)?.outcome else {
            Issue.record("it was served")
            return
        }
        #expect(failure.reason == .limitsUnusable)
    }

    @Test("it ends with status 0 when the broker goes, and with 70 after anything that the protocol does not permit")
    func ends() throws {
        let (near, far) = try Loopback.pair()
        defer {
            close(near)
            close(far)
        }
        let violations: [(WorkerUnderTest) throws -> Void] = [
            { try $0.send(raw: [99]) },
            { try $0.send(raw: [4, 0, 0]) },
            { try $0.send(.cancel(job: 1, reason: .shuttingDown)) },
            { worker in
                _ = try worker.setUp()
                try worker.send(.cancel(job: 1, reason: .shuttingDown), descriptors: [2])
            },
            { worker in
                _ = try worker.setUp()
                try worker.send(.handshake(HandshakeJob(id: 1, role: .server, authentication: .x509, deadline: .max)))
            },
            { worker in
                _ = try worker.setUp()
                let job = HandshakeJob(
                    id: 1, role: .server, authentication: .preSharedKey, deadline: WorkerUnderTest.deadline())
                try worker.send(.handshake(job), descriptors: [near])
                try worker.send(.handshake(job), descriptors: [near])
            },
        ]
        for violation in violations {
            let worker = try WorkerUnderTest()
            try violation(worker)
            #expect(try worker.end() == .exited(status: 70))
        }
        let worker = try WorkerUnderTest()
        _ = try worker.setUp()
        try worker.closeChannels()
        #expect(try worker.end() == .exited(status: 0))
    }

    @Test("a handshake is carried to the kernel, the socket closed before the result, its options as they were")
    func handshake() throws {
        let worker = try WorkerUnderTest()
        _ = try worker.setUp(logLevel: 1)
        _ = try worker.configure(.client, [(.trustStore, "ca.pem")])
        let (program, port) = try Peers.opensslServer(mode: WorkerUnderTest.hasKernelTLS ? ["-rev"] : [])
        let socket = try Loopback.connect(port)
        defer { close(socket) }
        let job = HandshakeJob(
            id: 42, role: .client, authentication: .unauthenticated, deadline: WorkerUnderTest.deadline(),
            peerName: "server.test")
        try worker.send(.handshake(job), descriptors: [socket])
        let result = try #require(try worker.result(of: 42))
        #expect(result.peerCertificate?.subject == "CN=ecdsa")
        #expect(worker.logLines.contains { $0.hasPrefix("sent FINISHED") })
        var delay: Int32 = 1
        var size = socklen_t(4)
        _ = unsafe getsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &delay, &size)
        #expect(delay == 0)
        if WorkerUnderTest.hasKernelTLS {
            guard case .success = result.outcome else {
                Issue.record("\(result)")
                return
            }
            _ = unsafe send(socket, "drawer\n", 7, 0)
            var answer = [UInt8](repeating: 0, count: 7)
            _ = unsafe recv(socket, &answer, 7, Int32(MSG_WAITALL))
            #expect(answer == Array("reward\n".utf8))
        } else {
            #expect(result.outcome == .failure(HandshakeFailure(.kernelTLSUnavailable, "TCP_ULP: ENOENT")))
            #expect(result.alertSent == .internalError)
            #expect(program.wait(for: "alert number 80"), "\(program.text)")
        }
    }

    @Test("a server asks the broker for its client's PSK, and takes no for an answer", arguments: [true, false])
    func keyLookup(_ isKnown: Bool) throws {
        let worker = try WorkerUnderTest()
        _ = try worker.setUp()
        let (program, socket) = try Peers.opensslClient(["-psk_identity", Peers.identity, "-psk", Peers.keyText])
        defer { close(socket) }
        let job = HandshakeJob(
            id: 3, role: .server, authentication: .preSharedKey, deadline: WorkerUnderTest.deadline())
        try worker.send(.handshake(job), descriptors: [socket])
        let question = try #require(try worker.answer(isKnown ? Peers.key : nil))
        #expect(question == KeyLookup(job: 3, identity: Array(Peers.identity.utf8)))
        let result = try #require(try worker.result(of: 3))
        #expect(result.pskIdentity == Peers.identity)
        if isKnown {
            #expect(result.alertSent == (WorkerUnderTest.hasKernelTLS ? nil : .internalError))
        } else {
            #expect(result.outcome == .failure(HandshakeFailure(.pskIdentityUnknown)))
            #expect(program.wait(for: "alert number 115"), "\(program.text)")
        }
    }

    @Test(
        "peers that say nothing hold nobody up; their handshakes end at the deadline, and the worker says nothing to them"
    )
    func stalled() throws {
        let worker = try WorkerUnderTest()
        _ = try worker.setUp()
        _ = try worker.configure(
            .server, [(.trustStore, "ca.pem"), (.certificate, "rsa.pem"), (.privateKey, "rsa.key")])
        let pairs = try (0..<40).map { _ in try Loopback.pair() }
        defer { for (near, far) in pairs { close(near); close(far) } }
        func stall(_ indices: Range<Int>, until deadline: UInt64) throws {
            for index in indices {
                let job = HandshakeJob(
                    id: UInt64(100 + index), role: .server, authentication: .x509, deadline: deadline)
                try worker.send(.handshake(job), descriptors: [pairs[index].0])
            }
        }
        try stall(0..<20, until: .max)
        let (program, socket) = try Peers.opensslClient()
        defer { close(socket) }
        try worker.send(
            .handshake(HandshakeJob(id: 1, role: .server, authentication: .x509, deadline: WorkerUnderTest.deadline())),
            descriptors: [socket])
        #expect(try worker.result(of: 1) != nil)
        _ = program
        let deadline = WorkerUnderTest.deadline(500)
        try stall(20..<40, until: deadline)
        var ended = Set<UInt64>()
        while ended.count < 20, case .result(let job, let result)? = try worker.next() {
            ended.insert(job)
            #expect(result.outcome == .failure(HandshakeFailure(.deadlineExceeded)))
            #expect(result.alertSent == nil)
            #expect(Clock.monotonicNanoseconds() >= deadline)
        }
        #expect(ended == Set(120..<140))
        #expect(Loopback.waiting(pairs[20].1) == 0)
    }

    @Test(
        "a cancelled handshake is reported with the reason; one that is unknown is passed over",
        arguments: CancelReason.allCases)
    func cancelled(reason: CancelReason) throws {
        let worker = try WorkerUnderTest()
        _ = try worker.setUp()
        let (near, far) = try Loopback.pair()
        defer {
            close(near)
            close(far)
        }
        let job = HandshakeJob(
            id: 5, role: .server, authentication: .preSharedKey, deadline: WorkerUnderTest.deadline())
        try worker.send(.handshake(job), descriptors: [near])
        try worker.send(.cancel(job: 6, reason: .shuttingDown))
        try worker.send(.cancel(job: 5, reason: reason))
        let result = try #require(try worker.result(of: 5))
        #expect(result.outcome == .failure(reason.failure))
        #expect(result.alertSent == nil, "its client has said nothing yet: the broker tells it later")
    }

    @Test("a crypto policy in a file of the library's is read before the sandbox, and not looked for inside it")
    func policyFile() throws {
        let text = """
            [priorities]
            TEST = NORMAL:-GROUP-ALL:+GROUP-SECP384R1:+GROUP-SECP256R1
            [overrides]
            default-priority-string = @TEST

            """
        Fixtures.shared.write(Array(text.utf8), as: "gnutls.config")
        let worker = try WorkerUnderTest(
            environment: ["GNUTLS_SYSTEM_PRIORITY_FILE=\(Fixtures.shared.path("gnutls.config"))"])
        #expect(try worker.setUp()?.problem == "")
        var limits = NegotiationLimits()
        limits.groups = ["SECP384R1"]
        let verdict = try #require(try worker.configure(.client, [(.trustStore, "ca.pem")], limits: limits))
        #expect(verdict.problem == "")
        limits.groups = ["X25519"]
        let forbidden = try #require(try worker.configure(.client, [(.trustStore, "ca.pem")], limits: limits))
        #expect(forbidden.problem.hasPrefix("tls.groups: X25519 is not possible: the crypto policy forbids it"))

        // The consumer's string cannot be had from a file either.
        let near = try Loopback.pair()
        defer {
            close(near.0)
            close(near.1)
        }
        let job = HandshakeJob(
            id: 1, transport: .listener, role: .client, authentication: .unauthenticated,
            deadline: WorkerUnderTest.deadline(), peerName: "server.test", priorities: " @TEST")
        try worker.send(.handshake(job), descriptors: [near.0])
        let result = try #require(try worker.result(of: 1))
        #expect(
            result.outcome
                == .failure(
                    HandshakeFailure(
                        .prioritiesUnusable, "\" @TEST\": it names a file's entry, and no file is read here")))
    }

    @Test("a role without credentials is refused; a client says so in clear, a server leaves it to the broker")
    func notConfigured() throws {
        let worker = try WorkerUnderTest()
        _ = try worker.setUp()
        let (near, far) = try Loopback.pair()
        defer {
            close(near)
            close(far)
        }
        var job = HandshakeJob(id: 4, role: .server, authentication: .x509, deadline: WorkerUnderTest.deadline())
        try worker.send(.handshake(job), descriptors: [near])
        var result = try #require(try worker.result(of: 4))
        #expect(result.outcome == .failure(HandshakeFailure(.roleNotConfigured)))
        #expect(result.alertSent == nil && Loopback.waiting(far) == 0)
        job = HandshakeJob(id: 5, role: .client, authentication: .x509, deadline: WorkerUnderTest.deadline())
        try worker.send(.handshake(job), descriptors: [near])
        result = try #require(try worker.result(of: 5))
        #expect(result.outcome == .failure(HandshakeFailure(.roleNotConfigured)))
        #expect(result.alertSent == .accessDenied)
        var alert = [UInt8](repeating: 0, count: 20)
        #expect(unsafe recv(far, &alert, alert.count, 0) == 7)
        #expect(alert[6] == 49)
    }

    @Test("a reset in the middle of a handshake is reported at once")
    func reset() throws {
        let worker = try WorkerUnderTest()
        _ = try worker.setUp()
        _ = try worker.configure(.client, [(.trustStore, "ca.pem")])
        let (near, far) = try Loopback.pair()
        defer { close(near) }
        let job = HandshakeJob(
            id: 5, role: .client, authentication: .unauthenticated, deadline: WorkerUnderTest.deadline(),
            peerName: "x.test")
        try worker.send(.handshake(job), descriptors: [near])
        #expect(awaitInput(far))
        // It is unread, so this close resets.
        close(far)
        let result = try #require(try worker.result(of: 5))
        #expect(result.outcome == .failure(HandshakeFailure(.connectionReset, "ECONNRESET")))
    }

    @Test(
        "a server's handshake is signed by the signer; when that is silent or gone the reason is said, and others go on"
    )
    func signer() throws {
        let worker = try WorkerUnderTest()
        _ = try worker.setUp()
        let verdict = try worker.configure(
            .server, [(.trustStore, "ca.pem"), (.certificate, "ecdsa.pem"), (.privateKey, "ecdsa.key")])
        #expect(verdict?.problem == "")
        func shake(_ id: UInt64, meanwhile look: () -> Void = {}) throws -> HandshakeResult {
            let (program, socket) = try Peers.opensslClient()
            defer { close(socket) }
            let job = HandshakeJob(
                id: id, role: .server, authentication: .x509, deadline: WorkerUnderTest.deadline())
            try worker.send(.handshake(job), descriptors: [socket])
            defer { _ = program }
            look()
            return try #require(try worker.result(of: id))
        }
        let first = try shake(1)
        #expect(first.processorTime > .zero && first.processorTime <= first.elapsed)
        if WorkerUnderTest.hasKernelTLS {
            guard case .success = first.outcome else {
                Issue.record("\(first)")
                return
            }
        } else {
            #expect(first.outcome == .failure(HandshakeFailure(.kernelTLSUnavailable, "TCP_ULP: ENOENT")))
        }
        try worker.signer?.signal(SIGSTOP)
        let waiting = try shake(2) {
            // It waits for the signer for 2 s.
            sleep(1)
            #expect(worker.step.job == 0, "the peer is not to blame")
        }
        guard case .failure(let silent) = waiting.outcome, case .failure(let still) = try shake(3).outcome else {
            Issue.record("who signed?")
            return
        }
        #expect(silent.reason == .signerUnavailable && silent.detail.contains("it was silent for 2.0 seconds"))
        #expect(still.reason == .signerUnavailable)
        try worker.signer?.signal(SIGCONT)
        _ = try worker.configure(
            .server, [(.trustStore, "ca.pem"), (.certificate, "ecdsa.pem"), (.privateKey, "ecdsa.key")])
        #expect(try shake(4).outcome == first.outcome)
        try worker.signer?.signal(SIGKILL)
        guard case .failure(let gone) = try shake(5).outcome else {
            Issue.record("who signed?")
            return
        }
        #expect(gone == HandshakeFailure(.signerUnavailable, "it has ended"))
    }
}
