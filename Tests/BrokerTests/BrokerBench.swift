import Foundation
import Glibc
import Handshake
import Policy
import Settings
import Synchronization
import TestSupport
import Testing
import Unconfined
import Wire

@testable import Broker
@testable import System

/// A clock that a test can stop and put forward. Otherwise it goes as CLOCK_MONOTONIC does.
final class TestClock: Sendable {
    private let state = Mutex<(stoppedAt: UInt64?, passed: UInt64)>((nil, 0))

    /// CLOCK_MONOTONIC nanoseconds, and what was let pass.
    func now() -> UInt64 {
        state.withLock { ($0.stoppedAt ?? Clock.monotonicNanoseconds()) + $0.passed }
    }

    func stop() { state.withLock { $0.stoppedAt = Clock.monotonicNanoseconds() } }

    /// Lets so many nanoseconds pass at once.
    func pass(_ time: UInt64) { state.withLock { $0.passed += time } }
}

/// Brokers whose processes end with this object. If zombies remained, exit tests would never end: Swift Testing waits
/// for any child, and finds the same zombie again.
final class Brokers {
    private var all: [Broker] = []

    func keep(_ broker: Broker) -> Broker {
        all.append(broker)
        return broker
    }

    deinit { for broker in all { broker.endProcesses() } }
}

/// The real broker in the test's hands: the kernel is scripted, the programs are those beside the tests, and all files
/// are in a folder that goes with it.
class BrokerBench {
    let upcall = ScriptedUpcall()
    let folder = TemporaryDirectory()

    /// The time of this bench's brokers and upcall. Workers and the signer have the system's.
    let clock = TestClock()

    private let brokers = Brokers()

    init() throws { upcall.clock = clock.now }

    /// Nanoseconds that one look waits for files, which answer late on a busy machine.
    static let patience: UInt64 = 60_000_000_000
    /// The same for this suite's brokers.
    var patience: UInt64 { Self.patience }

    func path(_ name: String) -> String { folder.path(name) }

    /// A broker with these settings.
    func broker(
        _ configuration: String = "", worker: String? = nil, signer: String? = nil, rekeys: Bool = false,
        start: ProgramStarter.Start? = nil
    ) throws -> Broker {
        try Data(configuration.utf8).write(to: URL(filePath: path("tlshd.conf")))
        var options = DaemonOptions()
        options.configuration = path("tlshd.conf")
        let all = KernelTLSCapabilities(
            ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: false, rekeys: rekeys)
        var surroundings = Surroundings(
            kernelTLS: all, worker: worker ?? Product.path("tlshd-worker"),
            signer: signer ?? Product.path("tlshd-signer"))
        surroundings.clock = clock.now
        surroundings.files = FileThreads(clock: clock.now)
        if let start { surroundings.programs.start = start }
        let broker = brokers.keep(try Broker(options: options, surroundings: surroundings))
        broker.reload.patience = patience
        try broker.upcalls.add(upcall)
        return broker
    }

    /// A broker whose workers know by their name how to behave (Tests/HostileWorker).
    func broker(of conduct: String, configuration: String = "", rekeys: Bool = false) throws -> Broker {
        try FileManager.default.createSymbolicLink(
            atPath: path(conduct), withDestinationPath: Product.path("HostileWorker"))
        return try broker(configuration, worker: path(conduct), rekeys: rekeys)
    }

    /// Turns the broker's loop until `condition` holds; the limit is for what never happens.
    func turn(_ broker: Broker, until condition: () -> Bool) throws {
        // As `Broker.run` does, which waits for a worker before.
        if broker.lifecycle == .starting { broker.become(.serving) }
        func step() throws {
            broker.upcalls.drainAll()
            try broker.loop.turn(atMost: 20_000_000)
        }
        try wait(meanwhile: step, until: condition)
    }

    /// Turns it until no handshake is under way, then lets the time pass that their connections may take to end.
    func conclude(_ broker: Broker) throws {
        broker.upcalls.drainAll()
        try turn(broker) { broker.handshakes.table.isEmpty }
        clock.pass(Endings.patience)
        try turn(broker) { broker.isIdle }
    }

    /// Turns it until every place has a worker, and all are ready.
    ///
    /// - Parameter role: the role that gets as many workers as one that is used.
    func ready(_ broker: Broker, using role: Role? = nil) throws {
        if let role { broker.pool.use(role) }
        try turn(broker) {
            broker.pool.workers.count == broker.pool.wanted && broker.pool.workers.allSatisfy(\.isReady)
        }
    }

    /// Cancels all handshakes, as the second signal does.
    func cancelAll(_ broker: Broker) {
        broker.become(.draining(until: nil, isHandedOver: false))
        broker.cancelAll()
    }

    /// Makes `name.key` and `name.pem`, a certificate for `server.test` that it signed itself.
    func issue(_ name: String, _ algorithm: [String] = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]) throws {
        let key = path(name + ".key")
        try Command.run(["openssl", "genpkey", "-out", key, "-algorithm"] + algorithm)
        try Command.run(
            "openssl", "req", "-x509", "-key", key, "-subj", "/CN=\(name)", "-addext", "subjectAltName=DNS:server.test",
            "-days", "30", "-out", path(name + ".pem"))
    }

    /// `openssl s_client` as the peer.
    func opensslClient(_ listener: LoopbackListener, _ arguments: [String] = []) throws -> PeerProgram {
        try PeerProgram.opensslClient(listener.port, ["-brief"] + arguments)
    }

    /// `openssl s_server` as the peer, for one connection, with what ``issue(_:_:)`` has made.
    func opensslServer(_ name: String, _ arguments: [String] = []) throws -> (PeerProgram, port: UInt16) {
        let pair = ["-cert", path(name + ".pem"), "-key", path(name + ".key")]
        return try PeerProgram.opensslServer(["-naccept", "1"] + pair + arguments)
    }

    /// A client's request that needs no credentials. Its time is never up before `turn` gives up: what ends it earlier
    /// is what the test is about.
    let client = HandshakeRequest(
        transport: .netlink, role: .client, authentication: .unauthenticated, peerName: "nfs1.example",
        timeout: .seconds(600))
}

extension Surroundings {
    /// Those of this process, but for the kernel's TLS and the programs.
    init(kernelTLS: KernelTLSCapabilities, worker: String, signer: String = "/bin/false") {
        self.init()
        self.kernelTLS = kernelTLS
        programs.worker = worker
        programs.signer = signer
    }
}

extension RoleCredentialState {
    /// Counts the verdict of a worker on a set that it was sent.
    mutating func judge(_ verdict: CredentialsVerdict, by worker: Int = 1) -> Judgement {
        if let set = set(verdict.generation) { noteSent(set, to: WorkerID(worker)) }
        return judge(verdict, from: WorkerID(worker))
    }
}
