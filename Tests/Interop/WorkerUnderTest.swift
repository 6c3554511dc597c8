import CLinux
import Glibc
import Handshake
import System
import TestSupport
import Testing
import Unconfined
import Wire

/// A real worker process with the test in the broker's place.
final class WorkerUnderTest {
    private var control: MessageChannel
    private var keys: MessageChannel
    private var process: ChildProcess?
    /// Who holds its keys, once it has one.
    private(set) var signer: SignerUnderTest?
    /// What it says it computes for.
    let step: WorkerStep
    private var buffer: SecretBuffer
    private(set) var logLines: [String] = []
    /// The jobs whose peers have sent something.
    private(set) var heard: [UInt64] = []

    init(environment: [String] = []) throws {
        var controls = try MessageChannel.pair()
        var lookups = try MessageChannel.pair()
        control = controls.takeFirst()
        keys = lookups.takeFirst()
        buffer = try SecretBuffer(capacity: MessageLimit.message)
        step = try WorkerStep()
        let theirs = controls.takeSecond(), theirKeys = lookups.takeSecond()
        process = try ChildProcess.spawn(
            Self.path, arguments: ["tlshd-worker"], environment: environment,
            descriptors: [(theirs.number, 3), (theirKeys.number, 4), (step.fileNumber, 5)])
    }

    deinit {
        if let process = process.take() {
            try? process.signal(SIGKILL)
            _ = try? process.wait()
        }
    }

    static let path = Product.path("tlshd-worker")

    func send(_ message: BrokerMessage, secrets: [[UInt8]] = [], descriptors: [Int32] = []) throws {
        let (length, placed) = try buffer.write(message)
        if case .handshake(let job) = placed {
            if job.authentication == .x509, let signer, !signer.isKilled { try signer.permit(job.id, job.owner) }
            for (place, secret) in zip(job.preSharedKeys.map(\.key) + [job.privateKey], secrets) {
                buffer.fill(secret, at: place.range.lowerBound)
            }
        }
        #expect(try control.send(buffer, count: length, descriptors: descriptors, timeout: .seconds(60)) == .sent)
    }

    /// Sends bytes that may be no message at all.
    func send(raw bytes: [UInt8], descriptors: [Int32] = []) throws {
        buffer.fill(bytes)
        #expect(try control.send(buffer, count: bytes.count, descriptors: descriptors, timeout: .seconds(60)) == .sent)
    }

    /// The next message that is no log line and no word of a peer; `nil` when the worker is gone or silent.
    func next() throws -> WorkerMessage? {
        while case .message(let length, _) = try control.receive(into: &buffer, timeout: .seconds(60)) {
            let message: WorkerMessage = try buffer.read(first: length)
            if case .heard(let job) = message {
                heard.append(job)
                continue
            }
            guard case .log(_, _, let text) = message else { return message }
            logLines.append(text)
        }
        return nil
    }

    func result(of job: UInt64) throws -> HandshakeResult? {
        guard case .result(job, let result)? = try next() else { return nil }
        return result
    }

    /// Answers one question on the key channel.
    ///
    /// - Returns: the question.
    func answer(_ key: [UInt8]?) throws -> KeyLookup? {
        guard case .message(let length, _) = try keys.receive(into: &buffer, timeout: .seconds(60)) else { return nil }
        let question: KeyLookup = try buffer.read(first: length)
        #expect(step.job == question.job, "it says in whose handshake it is")
        let answer = key.map { KeyAnswer.key(SecretRange(count: $0.count)) } ?? .unknown
        let (count, placed) = try buffer.write(answer)
        if case .key(let place) = placed { buffer.fill(key ?? [], at: place.range.lowerBound) }
        #expect(try keys.send(buffer, count: count, timeout: .seconds(60)) == .sent)
        return question
    }

    /// Sends set-up and takes the answer.
    func setUp(logLevel: UInt8 = 0) throws -> WorkerAbilities? {
        let kernel = KernelTLSCapabilities(ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: true)
        try send(.setUp(WorkerSetUp(kernelTLS: kernel, logLevel: logLevel, libraryLogLevel: 0)))
        guard case .ready(let abilities)? = try next() else { return nil }
        return abilities
    }

    /// Sends a role's credentials from fixtures and takes the answer.
    func configure(
        _ role: Role, _ files: [(CredentialKind, String)], limits: NegotiationLimits = NegotiationLimits()
    ) throws -> CredentialsVerdict? {
        let listed = files.map { CredentialFile(kind: $0.0, path: Fixtures.shared.path($0.1)) }
        var sealed: [Int32] = []
        for (file, name) in zip(listed, files.map(\.1)) {
            let copy =
                file.kind == .privateKey
                ? try SealedFile.make(named: "public", holding: try moveToSigner(name, role))
                : try SealedFile(copying: file.path).takeDescriptor()
            sealed.append(copy.release())
        }
        defer { for number in sealed { close(number) } }
        try send(
            .credentials(RoleCredentials(role: role, generation: 7, files: listed, limits: limits)),
            descriptors: sealed)
        guard case .configured(let verdict)? = try next() else { return nil }
        return verdict
    }

    /// Gives a key to a signer, whose channel the worker gets.
    ///
    /// - Returns: the public half.
    private func moveToSigner(_ name: String, _ role: Role) throws -> [UInt8] {
        let signer = try SignerUnderTest()
        self.signer = signer
        try signer.setUp()
        let verdict = try signer.load([(.privateKey, .file, name)], role: role, generation: 7)
        var pair = try MessageChannel.pair()
        let theirs = pair.takeFirst(), ours = pair.takeSecond()
        try signer.send(.connect(worker: 1), descriptors: [theirs.number])
        try send(.signer(.files), descriptors: [ours.number])
        return verdict?.parts.first ?? []
    }

    /// Goes away, as a broker that dies does.
    func closeChannels() throws {
        // Fresh channels take the places of the old ones, which close.
        var pair = try MessageChannel.pair()
        control = pair.takeFirst()
        keys = pair.takeSecond()
    }

    /// How it ended, waiting for that.
    func end() throws -> ChildProcess.End? { try waitForEnd(of: &process) }

    static func deadline(_ milliseconds: Int = 60_000) -> UInt64 { Clock.deadline(in: .milliseconds(milliseconds)) }

    /// Whether this host's kernel can take keys; where it cannot, a handshake ends one step before success.
    static let hasKernelTLS: Bool = {
        guard let (near, far) = try? Loopback.pair() else { return false }
        defer {
            close(near)
            close(far)
        }
        return unsafe setsockopt(near, Int32(IPPROTO_TCP), 31, "tls", 4) == 0
    }()
}

/// How a process ended, and `nil` in its place.
func waitForEnd(of process: inout ChildProcess?) throws -> ChildProcess.End? {
    var end: ChildProcess.End?
    try wait {
        end = try process?.reapIfEnded()
        return end != nil
    }
    process = nil
    return end
}
