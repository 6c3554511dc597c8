internal import CStranger
internal import Foundation
internal import Glibc
package import Handshake
internal import Policy
internal import SigningWire
internal import System
internal import Wire
internal import Worker
internal import X509

/// A worker of this process, with the broker's and the signer's places taken, and what must be true of each of its
/// handshakes with a `Stranger`. It serves one after the other; each input has a connection of its own.
///
/// What is broken ends the process.
package final class Meeting {
    private let worker: Worker
    private let link: ProcessChannel<BrokerMessage, WorkerMessage>
    private let step: WorkerStep
    private let listener: Int32
    private let port: in_port_t
    private var lastJob: UInt64 = 0
    private var budget = ProcessorBudget()
    /// Bytes that the worker has allocated and not freed since the first input.
    private var kept = 0
    /// Log of the handshake.
    private var lines: [String] = []
    /// The limit of time or memory that the handshake has exceeded.
    private var excess: String?

    /// Memory of a handshake whose peer has sent only a hello, and of any other.
    private static let helloBytes = 65_536
    private static let handshakeBytes = 524_288
    /// What caches may hold.
    private static let keptBytes = 8 << 20
    /// Of a handshake whose peer keeps silent; that of others is far.
    private static let silence: UInt64 = 30_000_000
    private static let patience: UInt64 = 3_000_000_000
    /// Processor time of a turn in which the worker did something, and time for which it may go on with that.
    private static let leastWork: UInt64 = 100_000
    private static let longestWork: UInt64 = 200_000_000

    package init() throws {
        try GnuTLS.initialize()
        cstranger_begin(1)
        precondition(cstranger_prepare() == 0)
        (listener, port) = Self.listen()
        let controls = Self.pair(), lookups = Self.pair(), questions = Self.pair()
        step = try WorkerStep()
        worker = try Worker(
            control: OwnedDescriptor(adopting: controls.1), keys: OwnedDescriptor(adopting: lookups.1),
            step: WorkerStep(mapping: step.fileNumber)
        ) { _, _ in Confinement() }
        link = try ProcessChannel(MessageChannel(adopting: OwnedDescriptor(adopting: controls.0)))
        Thread.detachNewThread { Self.answer(lookups: lookups.0, questions: questions.0) }
        let all = KernelTLSCapabilities(ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: true)
        try link.send(.setUp(WorkerSetUp(kernelTLS: all, logLevel: 1, libraryLogLevel: 0)))
        let signer = OwnedDescriptor(adopting: questions.1)
        try link.send(.signer(.files), descriptors: [signer.number])
        for role in Role.allCases { try configure(role) }
        for _ in 0..<4 { try worker.turn(atMost: 0) }
        var configured = 0
        while let message = try link.receive() {
            if case .configured(let verdict) = message {
                precondition(verdict.problem.isEmpty, verdict.problem)
                configured += 1
            }
        }
        precondition(configured == 2)
        // The limit of processor time follows what good handshakes cost.
        for _ in 0..<8 {
            let result = try meet(Plan(), isFirst: true)
            guard case .success = result.outcome else { fatalError("a good handshake fails: \(result)") }
            _ = budget.exceeds(result)
        }
        kept = 0
    }

    private func configure(_ role: Role) throws {
        var count = 0
        func pem(_ start: UnsafePointer<UInt8>) throws -> OwnedDescriptor {
            try SealedFile.make(
                named: "pem", holding: unsafe Array(UnsafeBufferPointer(start: start, count: count)))
        }
        let trust = try unsafe pem(cstranger_certificate(CSTRANGER_AUTHORITY, 1, &count))
        let certificate = try unsafe pem(cstranger_certificate(CSTRANGER_WORKER, 1, &count))
        let key = try unsafe pem(cstranger_public_key(CSTRANGER_WORKER, &count))
        let files = [CredentialKind.trustStore, .certificate, .privateKey].map {
            CredentialFile(kind: $0, path: "\($0)")
        }
        try link.send(
            .credentials(RoleCredentials(role: role, generation: 1, files: files)),
            descriptors: [trust.number, certificate.number, key.number])
    }

    /// The daemon's limit, twice: this program has sanitizers, or is not optimised.
    private var limit: Duration { budget.limit * 2 }

    /// Runs one input.
    @discardableResult
    package func run(_ input: some Collection<UInt8>) -> HandshakeResult {
        let plan = Plan(input)
        do {
            var result = try meet(plan)
            // Another process may have made it slow, so that messages came together; a third time it will not.
            for _ in 0..<2 where excess != nil { result = try meet(plan) }
            require(excess == nil, "\(excess ?? ""); \(result.outcome)")
            return result
        } catch {
            fatalError("the worker ended: \(error)")
        }
    }

    private func require(_ condition: Bool, _ text: @autoclosure () -> String) {
        guard !condition else { return }
        fatalError(([text()] + lines).joined(separator: "\n"))
    }

    private func exceed(_ text: String) {
        if excess == nil { excess = text }
    }

    private func meet(_ plan: Plan, isFirst: Bool = false) throws -> HandshakeResult {
        cstranger_begin(1)
        lines = []
        excess = nil
        let descriptors = Self.lowestDescriptor()
        let (ours, theirs) = connect()
        let stranger = Stranger(plan, on: theirs)
        // The message of a key update does not wait for the peer's acknowledgement.
        if plan.keeps { TCPConnection(ours).isUndelayed = true }
        let job = try start(plan, on: ours)
        let (result, held) = try follow(job, plan, stranger, endsSoon: !isFirst)
        if !isFirst, result.processorTime > limit {
            exceed("\(result.processorTime) of processor time, at most \(limit)")
        }
        while stranger.act() {}
        if case .success(let session) = result.outcome {
            judge(result, session, plan, stranger, ours)
            if plan.keeps { try updateKeys(of: job, plan, stranger, on: ours) }
        }
        Self.reset(theirs)
        close(ours)
        // A second answer is what `ProcessChannel` does not permit.
        for _ in 0..<2 { kept += try turn(0) }
        while let message = try link.receive() {
            guard case .log = message else { fatalError("\(message) after the result") }
        }
        require(step.job == 0, "the worker computes for a job that has ended")
        require(Self.lowestDescriptor() == descriptors, "a descriptor is left open")
        kept += held
        require(kept < Self.keptBytes, "the worker keeps \(kept) bytes of handshakes that have ended")
        return result
    }

    /// Sends the job.
    private func start(_ plan: Plan, on socket: Int32) throws -> UInt64 {
        lastJob += 1
        let time = plan.ending == .silence ? Self.silence : 10 * Self.patience
        var job = HandshakeJob(
            id: lastJob, transport: plan.keeps ? .listener : .netlink, role: plan.role,
            authentication: plan.role == .server && plan.authentication == .unauthenticated
                ? .x509 : plan.authentication,
            deadline: Clock.monotonicNanoseconds() + time, keepFor: plan.keeps ? 60 : 0)
        if plan.role == .client || plan.namesClient { job.peerName = Stranger.peerName }
        if plan.role == .client, plan.authentication == .preSharedKey {
            job.preSharedKeys = [
                PreSharedKeyField(identity: Stranger.identity, key: SecretRange(count: Stranger.sharedKey.count))
            ]
        }
        let isSent = try link.offer(.handshake(job), descriptors: [socket]) { placed, buffer in
            guard case .handshake(let job) = placed, let key = job.preSharedKeys.first?.key else { return }
            Self.fill(&buffer, key.range.lowerBound, Stranger.sharedKey)
        }
        precondition(isSent)
        return lastJob
    }

    /// Lets both sides act until the worker has its result.
    ///
    /// - Parameter endsSoon: the connection ends when nothing happens, not only when nothing has happened for long.
    /// - Returns: The result, and the memory that the worker has allocated since the start and not freed.
    private func follow(
        _ job: UInt64, _ plan: Plan, _ stranger: Stranger, endsSoon: Bool
    ) throws -> (HandshakeResult, held: Int) {
        var idle = 0, held = 0, hasEnded = false, lastActivity = Clock.monotonicNanoseconds()
        while true {
            if stranger.act() {
                idle = 0
                lastActivity = Clock.monotonicNanoseconds()
            } else {
                idle += 1
            }
            // A client waits a moment for the verdict of its server.
            let isJudged = plan.role == .client && stranger.isComplete
            let processorTime = Clock.threadProcessorNanoseconds()
            held += try turn(idle < 2 ? 0 : isJudged || hasEnded ? 5_000_000 : 1_000_000)
            if Clock.threadProcessorNanoseconds() - processorTime > Self.leastWork { idle = min(idle, 2) }
            var result: HandshakeResult?
            while let message = try link.receive() {
                switch message {
                case .log(_, _, let text): lines.append(text)
                case .heard(let other): require(other == job, "heard of another job")
                case .result(let other, let made):
                    require(other == job && result == nil, "a result of another job")
                    result = made
                case .ready, .configured: fatalError("\(message) in a handshake")
                }
            }
            if let result { return (result, held) }
            let limit =
                plan.role == .server && stranger.receivedCount == 0 ? Self.helloBytes : Self.handshakeBytes
            if held >= limit { exceed("\(held) bytes for one handshake, at most \(limit)") }
            let now = Clock.monotonicNanoseconds()
            // If there is never a result, the fuzzer's own limit ends the process.
            if now - lastActivity > Self.patience {
                exceed("no result, \(hasEnded ? plan.ending : nil, default: "no end")")
            }
            let isIdle = endsSoon && idle > 4 || now - lastActivity > (endsSoon ? Self.longestWork : Self.patience / 2)
            guard !hasEnded, isIdle else { continue }
            hasEnded = true
            switch plan.ending {
            case .close: stranger.close()
            case .reset: stranger.reset()
            case .silence: break
            case .cancel: try link.send(.cancel(job: job, reason: .shuttingDown))
            }
        }
    }

    /// Runs a turn of the worker's.
    ///
    /// - Returns: Bytes that it has allocated and not freed.
    private func turn(_ limit: UInt64) throws -> Int {
        let before = cstranger_heap()
        try worker.turn(atMost: limit)
        return Int(cstranger_heap()) - Int(before)
    }

    // MARK: What must be true of a success

    private func judge(
        _ result: HandshakeResult, _ session: NegotiatedSession, _ plan: Plan, _ stranger: Stranger, _ socket: Int32
    ) {
        require(result.alertSent == nil && result.alertReceived == nil, "a success with an alert: \(result)")
        require(plan.raw == nil, "a success without a handshake")
        if plan.authentication == .preSharedKey {
            require(session.peerAuthenticated && !plan.usesWrongKey, "a success without the pre-shared key")
        } else if plan.role == .client || session.peerAuthenticated || plan.namesClient {
            require(session.peerAuthenticated && stranger.hasProof, "a success without the peer's proof: \(result)")
        }
        guard let transmit = InstalledKeys(receive: false), let receive = InstalledKeys(receive: true),
            let read = stranger.readNow
        else { fatalError("a success without keys in the kernel") }
        require(transmit.holds(read), "the kernel sends with other keys than the peer reads with")
        require(transmit.sequence == read.sequence, "the kernel sends from another number on")
        // What is left in the socket is the kernel's; its first record has the number that the kernel was given.
        let consumed = Self.consumed(of: socket)
        guard let generation = stranger.writeGenerations.firstIndex(where: receive.holds) else {
            fatalError("the kernel receives with other keys than the peer has sent with")
        }
        guard !stranger.hasBentRecords, !stranger.isClosed, stranger.isFlushed else { return }
        if let mark = stranger.marks.first(where: { $0.offset >= consumed }) {
            require(
                mark.offset == consumed,
                "the worker has read \(consumed) bytes, and the next record begins at \(mark.offset)")
            // The kernel cannot open a record that the stranger has sent with the handshake's keys after its Finished.
            require(
                mark.generation < 0 || mark.generation == generation && mark.sequence == receive.sequence,
                "the kernel expects record \(receive.sequence), and \(mark.sequence) comes")
        } else {
            require(generation == stranger.writeGenerations.count - 1, "the kernel receives with the former keys")
        }
    }

    /// Updates the keys of both directions.
    private func updateKeys(of session: UInt64, _ plan: Plan, _ stranger: Stranger, on socket: Int32) throws {
        guard let transmit = stranger.readNow?.updated, let former = InstalledKeys(receive: true),
            let receive = stranger.writeGenerations.first(where: former.holds)?.updated
        else { return }
        lastJob += 1
        let job = KeyUpdateJob(
            id: lastJob, session: session, steps: [.receive, .send],
            deadline: Clock.monotonicNanoseconds() + Self.patience, keepFor: 60)
        try link.send(.keyUpdate(job), descriptors: [socket])
        kept += try turn(0)
        var outcome: HandshakeResult.Outcome?
        while let message = try link.receive() {
            if case .result(lastJob, let result) = message { outcome = result.outcome }
        }
        // The stranger may have closed the connection.
        guard case .success = outcome else {
            require(stranger.isClosed, "a key update fails: \(String(describing: outcome))")
            return
        }
        while stranger.act() {}
        require(
            InstalledKeys(receive: true)?.holds(receive) == true
                && InstalledKeys(receive: false)?.holds(transmit) == true,
            "a key update installs other keys")
        require(stranger.takePlain().suffix(5) == [24, 0, 0, 1, 0], "a key update without its message")
    }

    // MARK: The other processes

    /// Answers as broker and signer do.
    private static func answer(lookups: Int32, questions: Int32) {
        do {
            let keys = try ProcessChannel<KeyAnswer, KeyLookup>(adopting: OwnedDescriptor(adopting: lookups))
            let signer = try ProcessChannel<SigningAnswer, SigningQuestion>(
                adopting: OwnedDescriptor(adopting: questions))
            while true {
                var entries = [lookups, questions].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
                _ = unsafe poll(&entries, 2, -1)
                if let lookup = try keys.receive() {
                    let isKnown = lookup.identity == Stranger.identity
                    _ = try keys.offer(isKnown ? .key(SecretRange(count: Stranger.sharedKey.count)) : .unknown) {
                        placed, buffer in
                        if case .key(let place) = placed { fill(&buffer, place.range.lowerBound, Stranger.sharedKey) }
                    }
                }
                guard let question = try signer.receive() else { continue }
                guard case .sign(let request) = question else {
                    try signer.send(.refused("no such key"))
                    continue
                }
                var signature = [UInt8](repeating: 0, count: 64)
                let content = request.content
                let count = unsafe cstranger_sign(
                    CSTRANGER_WORKER, content, content.count, &signature, signature.count)
                try signer.send(count > 0 ? .signature(signature) : .refused("it cannot sign"))
            }
        } catch ChannelFault.gone {
            // The worker has ended.
        } catch {
            fatalError("the place of broker and signer: \(error)")
        }
    }

    private static func fill(_ buffer: inout SecretBuffer, _ offset: Int, _ bytes: [UInt8]) {
        buffer.withMutableSpan { span in for (index, byte) in bytes.enumerated() { span[offset + index] = byte } }
    }

    // MARK: Descriptors

    private static func pair() -> (Int32, Int32) {
        var ends: [Int32] = [-1, -1]
        let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        precondition(unsafe socketpair(AF_UNIX, type, 0, &ends) == 0)
        return (ends[0], ends[1])
    }

    private static func listen() -> (Int32, in_port_t) {
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                precondition(unsafe bind(number, $0, length) == 0 && Glibc.listen(number, 8) == 0)
                precondition(unsafe getsockname(number, $0, &length) == 0)
            }
        }
        return (number, address.sin_port)
    }

    /// A connection: the worker's end, and the stranger's.
    private func connect() -> (Int32, Int32) {
        let theirs = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        address.sin_port = port
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(theirs, $0, length)
            }
        }
        // libFuzzer's timer interrupts calls; a connection is made nevertheless.
        precondition(result == 0 || errno == EINTR)
        var ours: Int32
        repeat { ours = accept(listener, nil, nil) } while ours < 0 && errno == EINTR
        precondition(ours >= 0)
        TCPConnection(theirs).isUndelayed = true
        return (ours, theirs)
    }

    /// Closes a socket with RST, which leaves no port in TIME_WAIT.
    private static func reset(_ socket: Int32) {
        Stranger.abort(socket)
        close(socket)
    }

    /// Bytes that were read of a socket. More may arrive meanwhile.
    private static func consumed(of socket: Int32) -> Int {
        while true {
            let received = cstranger_received(socket)
            var waiting: Int32 = 0
            _ = unsafe ioctl(socket, UInt(FIONREAD), &waiting)
            if received == cstranger_received(socket) { return Int(received) - Int(waiting) }
        }
    }

    private static func lowestDescriptor() -> Int32 {
        let number = dup(0)
        close(number)
        return number
    }
}

/// The keys of a direction that the worker has given to the kernel (include/uapi/linux/tls.h).
private struct InstalledKeys {
    let key: [UInt8]
    let initial: [UInt8]
    let sequence: UInt64

    init?(receive: Bool) {
        var info = [UInt8](repeating: 0, count: Int(CSTRANGER_INFO_SIZE))
        let count = unsafe cstranger_info(receive ? 1 : 0, &info)
        guard cstranger_installed(receive ? 1 : 0) > 0 else { return nil }
        // Of all ciphers: header, iv, key, salt, number of the next record.
        let saltLength = info[2] == 54 ? 0 : 4
        let ivLength = 12 - saltLength
        let salt = count - 8 - saltLength
        key = Array(info[(4 + ivLength)..<salt])
        initial = Array(info[salt..<(salt + saltLength)] + info[4..<(4 + ivLength)])
        sequence = info[(salt + saltLength)..<count].reduce(0) { $0 << 8 | UInt64($1) }
    }

    func holds(_ protection: Protection) -> Bool { protection.key == key && protection.initial == initial }
}
