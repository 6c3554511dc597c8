import Glibc
import Handshake
import SigningWire
import System
import Wire

/// A worker under somebody else's command. What it does is its file's name: tests start it by a symbolic link.
enum Conduct: String {
    /// Serves: answers every handshake as a failure, as a worker would.
    case honest
    case crash, hang, spin, garbage, truncated, empty, descriptor
    /// A success for another worker's handshake; for one that never was; twice for its own.
    case another, unknown, twice
    case readyTwice, early, verdict, hearTwice, hearAnother, lookup, flood
    /// A line for the log below the levels that are a worker's.
    case shout
    /// A result, and then its end at once.
    case lastWords
    /// A failure after longer than there is time; a success with no PSK that it was given.
    case ages, boast
    /// A failure after a tenth of a second, of which it says that it computed for an hour.
    case costly
    /// Writes to its standard error what looks like another's lines, and more than anybody reads; then its end.
    case forge
    /// Says in whose handshake it is, and crashes, or hangs.
    case blame, blameHang
    /// The first that gets a second handshake crashes in the one that it had; all are honest from then on.
    case blameOne
    /// Connections have keys, and get new ones; says in a file for how long it was to keep the secrets.
    case rekeys
    /// The first that gets a handshake dies before it begins with it, or when it has read a byte; the next is honest.
    case fickle, nibble
    /// The first that gets a handshake allocates memory until it gets no more; the next is honest.
    case gorge
    /// Cannot be confined on this kernel; can serve nothing.
    case bare, useless
    /// Never becomes ready.
    case mute
    /// To the signer: no question, one that is too long, one with a descriptor, many before the first is answered.
    case askGarbage, askLong, askDescriptor, askAhead
    /// The worker of the first handshake has it signed when a file says so. Any other has signed what it may not: with
    /// the key of another profile, for the first handshake, for its own twice, for its own after its end, or for its
    /// own that has no key. What it should not have got it tells as a success.
    case signOther, signFirst, signTwice, signEnded, signKeyless
    /// Keeps the sockets of handshakes that are over.
    case hoard
    /// The first process that gets credentials of a client after a file has appeared refuses them; others are honest.
    case refuse
    /// Asks for a second identity.
    case lookupTwice
    /// Crashes in each third handshake.
    case crashOdd
}

final class HostileWorker {
    let control = MessageChannel(adopting: OwnedDescriptor(adopting: 3), descriptorLimit: 8)
    let keys = MessageChannel(adopting: OwnedDescriptor(adopting: 4), descriptorLimit: 0)
    var buffer: SecretBuffer
    var signer: MessageChannel?
    var socket: Int32 = -1
    let conduct: Conduct
    /// A message that is sent in a state, whether the protocol permits it or not.
    let trial: (state: ProcessState, message: WorkerMessage)?
    var isSetUp = false
    /// Not answered yet.
    var held: UInt64?
    var hoarded: [Int32] = []

    init(_ conduct: Conduct, trial: (state: ProcessState, message: WorkerMessage)? = nil) throws {
        self.conduct = conduct
        self.trial = trial
        buffer = try SecretBuffer(capacity: MessageLimit.message)
    }

    func send(_ message: WorkerMessage) throws {
        let count = try buffer.write(message).length
        _ = try control.send(buffer, count: count, timeout: .seconds(30))
    }

    func send(raw bytes: [UInt8], descriptors: [Int32] = []) throws {
        buffer.withMutableSpan { span in for (index, byte) in bytes.enumerated() { span[index] = byte } }
        _ = try control.send(buffer, count: bytes.count, descriptors: descriptors, timeout: .seconds(30))
    }

    private func takeSigner(_ descriptors: ReceivedDescriptors) throws {
        guard let socket = descriptors.take() else { return }
        signer = MessageChannel(adopting: socket, descriptorLimit: 0)
    }

    private func ask(_ bytes: [UInt8], descriptors: [Int32] = []) throws {
        buffer.withMutableSpan { span in for (index, byte) in bytes.enumerated() { span[index] = byte } }
        _ = try signer?.send(buffer, count: bytes.count, descriptors: descriptors, timeout: .seconds(30))
    }

    /// Has a handshake signed with a key of a profile.
    private func isSigned(_ job: UInt64, profile: ProfileNumber = .standard) throws -> Bool {
        let key = KeyReference(CredentialsOwner(profile, .server), generation: 1, kind: .privateKey, pair: 0)
        let question = SigningQuestion.sign(
            SigningRequest(
                job: job, key: key, scheme: .ecdsaSecp256r1SHA256, role: .server, digest: Array(repeating: 0, count: 32)
            ))
        let count = try buffer.write(question).length
        _ = try signer?.send(buffer, count: count, timeout: .seconds(30))
        guard case .message(let length, _)? = try signer?.receive(into: &buffer, timeout: .seconds(30)) else {
            return false
        }
        let answer: SigningAnswer = try buffer.read(first: length)
        if case .signature = answer { return true } else { return false }
    }

    private func waitFor(_ ending: String) {
        while unsafe access(CommandLine.arguments[0] + ending, F_OK) != 0 { usleep(10_000) }
    }

    private func sign(_ job: UInt64) throws {
        guard job > 1 else {
            waitFor(".attacked")
            return try send(try isSigned(job) ? failure(job) : success(job))
        }
        var isMore = false
        switch conduct {
        case .signOther: isMore = try isSigned(job, profile: ProfileNumber(1))
        case .signFirst: isMore = try isSigned(1)
        case .signTwice: if try isSigned(job) { isMore = try isSigned(job) }
        case .signEnded:
            try send(failure(job))
            waitFor(".ended")
            // There is nothing left that it could say.
            if try isSigned(job) { note("signed", in: ".signed") }
            return
        default: isMore = try isSigned(job)
        }
        if isMore { try send(success(job)) }
    }

    func run() throws {
        while case .message(let length, let descriptors) = try control.receive(into: &buffer, timeout: .seconds(600)) {
            let message: BrokerMessage = try buffer.read(first: length)
            switch message {
            case .setUp(let setUp): try self.setUp(setUp.memoryLimit)
            case .credentials(let credentials) where conduct != .mute:
                let hasBegun = unsafe access(CommandLine.arguments[0] + ".begin", F_OK) == 0
                let refuses = conduct == .refuse && credentials.role == .client && hasBegun && isFirst()
                try send(
                    .configured(
                        CredentialsVerdict(
                            owner: credentials.owner, generation: credentials.generation,
                            problem: refuses ? "I lie" : "", summary: "fine")))
            case .handshake(let job):
                if conduct == .nibble, let taken = descriptors.take() { socket = taken.release() }
                if conduct == .hoard, let taken = descriptors.take() { hoarded.append(taken.release()) }
                try handle(job.id)
            case .keyUpdate(let order) where conduct == .rekeys:
                note("\(order.keepFor)", in: ".kept")
                try send(success(order.id))
            case .credentials, .withdraw, .cancel, .tags, .keyUpdate: break
            case .signer(.files): try takeSigner(descriptors)
            case .signer(.tokens): break
            }
        }
    }

    private func setUp(_ memoryLimit: UInt64) throws {
        // Once more when settings have changed.
        guard !isSetUp, conduct != .mute else { return }
        isSetUp = true
        if conduct == .gorge { try ResourceLimit.data.set(to: UInt(clamping: memoryLimit)) }
        if conduct == .early { try send(success(1)) }
        if let trial, trial.state == .starting {
            try send(trial.message)
            if case .ready = trial.message { return }
        }
        var confinement = Confinement()
        if conduct == .bare { confinement.lacks("there is no sandbox") }
        let ready = WorkerMessage.ready(
            WorkerAbilities(
                libraryVersion: "0", bindsSHA384: true, cipherSuites: "",
                problem: conduct == .useless ? "nothing is allowed" : "", confinement: confinement))
        try send(ready)
        if conduct == .readyTwice { try send(ready) }
        if let trial, trial.state == .ready { try send(trial.message) }
        if conduct == .verdict {
            try send(
                .configured(
                    CredentialsVerdict(
                        owner: CredentialsOwner(.standard, .client), generation: 999, problem: "",
                        summary: "not asked for")))
        }
    }

    /// Whether this is the first process that asks.
    private func isFirst() -> Bool {
        let number = unsafe open(CommandLine.arguments[0] + ".first", O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        return number >= 0
    }

    private func note(_ text: String, in ending: String) {
        let number = unsafe open(CommandLine.arguments[0] + ending, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0o600)
        _ = unsafe write(number, Array(text.utf8), text.utf8.count)
        close(number)
    }

    /// That job was taken up, by us.
    private func handle(_ job: UInt64) throws {
        switch conduct {
        case .honest, .readyTwice, .early, .verdict, .bare, .useless, .mute, .refuse: try send(failure(job))
        case .hoard: try send(success(job))
        case .shout: try send(.log(level: 0, job: job, text: "hear, hear"))
        case .lastWords:
            try send(failure(job))
            kill(getpid(), SIGKILL)
        case .ages: try send(failure(job, after: .microseconds(Int64.max)))
        case .costly: try send(failure(job, computed: .seconds(3600)))
        case .boast: try send(success(job))
        case .askGarbage: try ask((0..<60).map { UInt8(truncatingIfNeeded: $0 * 151) })
        case .askLong: try ask(Array(repeating: 1, count: 20_000))
        case .askDescriptor: try ask([2, 0, 0, 0, 0, 0, 0, 0, 0], descriptors: [STDERR_FILENO])
        case .askAhead: for _ in 0..<1000 { try ask([2, 0, 0, 0, 0, 0, 0, 0, 0]) }
        case .signOther, .signFirst, .signTwice, .signEnded, .signKeyless: try sign(job)
        case .crash: kill(getpid(), SIGSEGV)
        case .crashOdd:
            if job % 3 == 0 { kill(getpid(), SIGSEGV) }
            try send(failure(job))
        case .forge:
            let line = Array("fine\n<3>tlshd[1]: forged \u{1B}[2J\n".utf8)
            for _ in 0..<5000 { _ = unsafe write(STDERR_FILENO, line, line.count) }
            kill(getpid(), SIGSEGV)
        case .blame, .blameHang:
            try WorkerStep(mapping: WorkerDescriptor.step).job = job
            if conduct == .blame { kill(getpid(), SIGSEGV) }
            while true { sleep(60) }
        case .blameOne:
            if unsafe access(CommandLine.arguments[0] + ".first", F_OK) == 0 { return try send(failure(job)) }
            guard let first = held else {
                held = job
                return
            }
            try WorkerStep(mapping: WorkerDescriptor.step).job = first
            if isFirst() { kill(getpid(), SIGSEGV) }
        case .rekeys: try send(success(job))
        case .fickle, .nibble:
            if isFirst() {
                var byte: UInt8 = 0
                if conduct == .nibble { _ = unsafe recv(socket, &byte, 1, 0) }
                kill(getpid(), SIGKILL)
            }
            try send(failure(job))
        case .gorge:
            if isFirst() {
                while unsafe mmap(nil, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                    != MAP_FAILED
                {}
                note("", in: ".gorged")
                kill(getpid(), SIGABRT)
            }
            try send(failure(job))
        case .hang, .spin, .flood:
            try WorkerStep(mapping: WorkerDescriptor.step).job = job
            while true {
                if conduct == .hang { sleep(60) }
                if conduct == .flood { try send(.log(level: 9, job: job, text: String(repeating: "x", count: 1000))) }
            }
        case .garbage: try send(raw: (0..<200).map { UInt8(truncatingIfNeeded: $0 * 151) })
        case .truncated: try send(raw: [67, 0, 0])
        case .empty: try send(raw: [0])
        case .descriptor:
            try send(raw: [68, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], descriptors: [STDERR_FILENO])
        case .another: if job > 1 { try send(success(job - 1)) }
        case .unknown: try send(success(1_000_000))
        case .twice:
            try send(failure(job))
            try send(success(job))
        case .hearTwice:
            try send(.heard(job: job))
            try send(.heard(job: job))
        case .hearAnother: try send(.heard(job: 1_000_000))
        case .lookup: try lookUp("NVMe0R01 a b", for: job)
        case .lookupTwice:
            try lookUp("host", for: job)
            _ = try keys.receive(into: &buffer, timeout: .seconds(30))
            try lookUp("host2", for: job)
        }
    }

    private func lookUp(_ identity: String, for job: UInt64) throws {
        let count = try buffer.write(KeyLookup(job: job, identity: Array(identity.utf8))).length
        _ = try keys.send(buffer, count: count, timeout: .seconds(30))
    }

    private func success(_ job: UInt64) -> WorkerMessage {
        .result(
            job: job,
            HandshakeResult(
                outcome: .success(
                    NegotiatedSession(
                        cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "",
                        peerAuthenticated: true))))
    }

    private func failure(
        _ job: UInt64, after elapsed: Duration = .zero, computed: Duration = .zero
    ) -> WorkerMessage {
        .result(
            job: job,
            HandshakeResult(
                outcome: .failure(HandshakeFailure(.alertReceived)), elapsed: elapsed, processorTime: computed))
    }
}

/// STATE.KIND, as in `starting.result`: an honest worker but for this message in this state.
func trial(_ name: String) -> (state: ProcessState, message: WorkerMessage)? {
    let parts = name.split(separator: ".")
    guard parts.count == 2, let state = ProcessState(rawValue: String(parts[0])),
        let kind = WorkerMessage.Kind.allCases.first(where: { "\($0)" == parts[1] })
    else { return nil }
    return (state, kind == .log ? .log(level: 1, job: 0, text: "hello") : WorkerMessage(kind))
}

let name = CommandLine.arguments[0].split(separator: "/").last.map(String.init) ?? ""
let wanted = trial(name)
guard let conduct = wanted == nil ? Conduct(rawValue: name) : .honest else { exit(2) }
do {
    try HostileWorker(conduct, trial: wanted).run()
} catch {
    exit(3)
}
