internal import Confined
internal import Handshake
internal import PrivateKeys
internal import Sandbox
internal import SigningWire
package import System
package import Wire
internal import X509

/// A process that holds private keys: it loads them on the broker's orders and signs for workers. One thread, one
/// event loop.
package final class Signer {
    private typealias WorkerLink = ProcessChannel<SigningAnswer, SigningQuestion>
    package typealias Confine =
        (_ keeping: [Int32], _ kind: SignerKind, _ memoryLimit: UInt64) throws(SystemError) -> Confinement

    private let broker: ProcessChannel<SignerReport, SignerOrder>
    private let loop: EventLoop
    private var brokerSource: EventLoop.Source?
    private let confine: Confine
    private var keys = HeldKeys()
    private var workers: [UInt32: (link: WorkerLink, source: EventLoop.Source)] = [:]

    /// Timeout for a message to the broker while the channel is full. The broker reads whenever there is a message.
    private static let patience = Duration.seconds(3)

    /// - Parameters:
    ///   - control: a SOCK_SEQPACKET socket to the broker.
    ///   - confine: enters the sandbox, keeps the given descriptors and returns the layers. Called once, before any
    ///     key is opened.
    package init(control: consuming OwnedDescriptor, confine: @escaping Confine) throws {
        self.confine = confine
        broker = try ProcessChannel(adopting: control)
        loop = try EventLoop()
        brokerSource = try loop.watch(broker.number) { [unowned self] _ in try receiveOrders() }
    }

    /// The main function of `tlshd-signer`.
    package static func program() -> Never {
        ConfinedProcess.run(
            "tlshd-signer", channels: [SignerDescriptor.control], users: [ConfinedUser.signer, ConfinedUser.worker]
        ) { user in
            try Signer(control: OwnedDescriptor(adopting: SignerDescriptor.control)) {
                (descriptors, kind, memoryLimit) throws(SystemError) in
                switch kind {
                case .files:
                    try Sandbox.enter(keeping: descriptors, as: user, memoryLimit: memoryLimit, for: .signing)
                case .tokens:
                    try Sandbox.enterWithTokens(keeping: descriptors, as: user, memoryLimit: memoryLimit)
                }
            }.run()
        }
    }

    /// Runs until an error or a closed channel ends the process.
    package func run() throws -> Never {
        while true { try loop.turn() }
    }

    // MARK: The broker's orders

    private func receiveOrders() throws(ChannelFault) {
        while try broker.receive({ (order, descriptors, buffer) throws(ChannelFault) in
            try handle(order, descriptors, buffer)
        }) {}
    }

    private func handle(
        _ order: SignerOrder, _ descriptors: ReceivedDescriptors, _ buffer: borrowing SecretBuffer
    ) throws(ChannelFault) {
        switch order {
        case .setUp(let kind, let level, let memoryLimit): try setUp(kind, level, memoryLimit)
        case .load(let wanted): try report(.loaded(keys.load(wanted, descriptors)))
        case .release(let owner, let generation): keys.release(owner, generation)
        case .permit(let permit): keys.accept(permit, in: buffer)
        case .forget(let job): keys.forget(job)
        case .connect(let worker):
            guard let channel = descriptors.take() else { throw .brokeProtocol("no channel") }
            try connect(worker, channel)
        case .ping: try report(.alive)
        }
    }

    private func setUp(_ kind: SignerKind, _ level: UInt8, _ memoryLimit: UInt64) throws(ChannelFault) {
        GnuTLS.log(upTo: level)
        try report(
            .ready(
                try ChannelFault.of(
                    try confine([broker.number, loop.number], kind, memoryLimit),
                    context: "the sandbox cannot be entered")))
    }

    private func connect(_ worker: UInt32, _ channel: consuming OwnedDescriptor) throws(ChannelFault) {
        disconnect(worker)
        let link = try WorkerLink(adopting: channel)
        let source = try ChannelFault.of(try loop.watch(link.number) { [unowned self] _ in try serve(worker) })
        workers[worker] = (link, source)
    }

    private func report(_ report: SignerReport) throws(ChannelFault) {
        guard try broker.offer(report, within: Self.patience) else { throw .gone }
    }

    private func disconnect(_ worker: UInt32) {
        workers.removeValue(forKey: worker)?.source.cancel()
    }

    // MARK: The workers' questions

    /// Answers one question, so that workers that ask at the same time have their turns alike.
    private func serve(_ worker: UInt32) throws(ChannelFault) {
        guard let link = workers[worker]?.link else { return }
        let question: SigningQuestion?
        do throws(ChannelFault) {
            question = try link.receive()
        } catch {
            return try drop(worker, link, error)
        }
        guard let question else { return }
        let (answer, offence) = try answer(question, of: worker)
        do throws(ChannelFault) {
            // A worker waits for the answer before it asks again, so there is room for it.
            guard !link.hasMessage else { throw .brokeProtocol("a question came before the last one was answered") }
            guard try link.offer(answer) else { throw .unresponsive }
            // Not before: a worker that has given the wait for an answer up has closed the channel, and may have ended
            // the handshake. An honest one has no other question without a permit.
            if let offence { throw .brokeProtocol(offence) }
        } catch {
            try drop(worker, link, error)
        }
    }

    /// Closes the channel to a worker and reports its protocol violation.
    private func drop(_ worker: UInt32, _ link: WorkerLink, _ fault: ChannelFault) throws(ChannelFault) {
        // The broker may have replaced it.
        if workers[worker]?.link === link { disconnect(worker) }
        let what: String
        switch fault {
        case .gone: return
        case .brokeProtocol(let text): what = text
        case .unresponsive, .unsendable, .failed: what = fault.description
        }
        keys.forgetAll(of: worker)
        try report(.misbehaved(worker: worker, text: MessageText.fit(what)))
    }

    /// - Returns: the answer, and what is wrong with the question if the worker has no permit for it.
    private func answer(
        _ question: SigningQuestion, of worker: UInt32
    ) throws(ChannelFault) -> (SigningAnswer, offence: String?) {
        var use = keys.use(for: question, of: worker)
        if case .forbidden = use {
            // The broker sends the permit before it sends the job to the worker, but on another channel.
            try receiveOrders()
            use = keys.use(for: question, of: worker)
        }
        switch (use, question) {
        case (.forbidden(let why), _): return (.refused(why), offence: "it asked without a permit: \(why)")
        case (.missing, _):
            return (.refused("the signer holds no such key; it may have been replaced"), offence: nil)
        case (.key(let key, _), .describe): return (.publicKey(key.key.publicDER), offence: nil)
        case (.key(let key, let isReported), .sign(let request)):
            let answer = key.key.sign(request)
            if case .refused(let why) = answer { return (.refused(MessageText.fit(why)), offence: nil) }
            if isReported {
                let text = MessageText.fit("the key \(key.place) (\(request.scheme))")
                try report(.signed(job: request.job, worker: worker, text: text))
            }
            return (answer, offence: nil)
        }
    }
}

/// The private keys in the signer, under the references that workers use, and what they may be used for.
struct HeldKeys {
    /// A key, and its place for messages.
    typealias Held = (key: SigningKey, place: String)

    /// Judgement of a question.
    enum Use {
        case key(Held, isReported: Bool)
        /// It is permitted, but there is no such key.
        case missing
        /// It is not permitted.
        case forbidden(String)
    }

    private var roles: [KeyReference: Held] = [:]
    /// Permits that were not forgotten, by job ID.
    private var permits: [UInt64: Entry] = [:]

    private struct Entry {
        let permit: SigningPermit
        /// The key that came with it.
        let key: SigningKey?
        var mayDescribe: Bool
        var maySign = true
    }

    /// The key that a question is about, if the worker has a permit for it, which this uses up.
    mutating func use(for question: SigningQuestion, of worker: UInt32) -> Use {
        let job = question.job
        guard let entry = permits[job], entry.permit.worker == worker else {
            return .forbidden("there is no permit for it and handshake \(job)")
        }
        let permit = entry.permit
        var held = entry.key.map { (key: $0, place: "of the request") }
        switch question {
        case .describe:
            guard entry.mayDescribe else { return .forbidden("no key of handshake \(job) is left to describe") }
            permits[job]?.mayDescribe = false
        case .sign(let request):
            guard entry.maySign else { return .forbidden("handshake \(job) has been signed") }
            let isOfHandshake =
                permit.isForRequestKey ? request.key.isOfRequest : request.key.belongs(to: permit.owner)
            guard isOfHandshake, request.role == permit.owner.role else {
                return .forbidden("handshake \(job) has another key or role")
            }
            permits[job]?.maySign = false
            if !permit.isForRequestKey { held = roles[request.key] }
        }
        return held.map { .key($0, isReported: permit.isReported) } ?? .missing
    }

    /// Opens all keys of a role, or none.
    mutating func load(_ wanted: SignerKeys, _ descriptors: ReceivedDescriptors) -> SignerVerdict {
        var verdict = SignerVerdict(owner: wanted.owner, generation: wanted.generation)
        var opened: [KeyReference: Held] = [:]
        for part in wanted.parts {
            do throws(KeyOpeningError) {
                let contents = try Self.contents(of: part, descriptors)
                if part.kind == .postQuantumPrivateKey, !GnuTLS.knowsMLDSA {
                    // Workers omit this pair and log that; the other pairs are still used.
                    verdict.parts.append([])
                } else if part.isKey {
                    let key = try Self.open(part, contents)
                    let reference = KeyReference(
                        wanted.owner, generation: wanted.generation, kind: part.kind, pair: part.pair)
                    opened[reference] = (key, part.place)
                    verdict.parts.append(key.publicPEM)
                } else {
                    verdict.parts.append(try Self.certificates(part, contents))
                }
            } catch {
                verdict.problem = MessageText.fit(
                    "\(part.isKey ? "private key" : "certificate") \(part.place) cannot be used: \(error.text)")
                verdict.isPassing = error.isPassing
                verdict.parts = []
                return verdict
            }
        }
        roles.merge(opened) { _, new in new }
        return verdict
    }

    mutating func release(_ owner: CredentialsOwner, _ generation: UInt32) {
        roles = roles.filter { reference, _ in !reference.belongs(to: owner, generation: generation) }
    }

    /// Stores a permit. If the key that comes with it cannot be parsed, the request has no key.
    mutating func accept(_ permit: SigningPermit, in buffer: borrowing SecretBuffer) {
        let key = unsafe buffer.withUnsafeBytes { raw -> SigningKey? in
            guard permit.key.count > 0 else { return nil }
            return try? unsafe SigningKey(der: UnsafeRawBufferPointer(rebasing: raw[permit.key.range]))
        }
        permits[permit.job] = Entry(permit: permit, key: key, mayDescribe: permit.isForRequestKey)
    }

    mutating func forget(_ job: UInt64) {
        permits[job] = nil
    }

    /// Removes the permits of a worker.
    mutating func forgetAll(of worker: UInt32) {
        permits = permits.filter { $0.value.permit.worker != worker }
    }

    private static func contents(
        of part: SignerPart, _ descriptors: ReceivedDescriptors
    ) throws(KeyOpeningError) -> SealedContents? {
        guard part.bringsDescriptor, let descriptor = descriptors.take() else { return nil }
        do throws(SystemError) {
            return try SealedContents(of: descriptor)
        } catch {
            throw KeyOpeningError(error.description)
        }
    }

    private static func open(
        _ part: SignerPart, _ contents: consuming SealedContents?
    ) throws(KeyOpeningError) -> SigningKey {
        switch part.source {
        case .url(let url, _): return try SigningKey(url: url, pin: TokenPIN(contents))
        case .file:
            guard let contents = consume contents else { throw KeyOpeningError("no file came") }
            return try unsafe contents.withUnsafeBytes { (raw) throws(KeyOpeningError) in
                try unsafe SigningKey(pem: raw)
            }
        }
    }

    private static func certificates(
        _ part: SignerPart, _ contents: consuming SealedContents?
    ) throws(KeyOpeningError) -> [UInt8] {
        guard case .url(let url, _) = part.source else { throw KeyOpeningError("it is no URL") }
        let text = try SigningKey.certificates(url: url, pin: TokenPIN(contents))
        guard text.count <= MessageLimit.certificate else { throw KeyOpeningError("its chain is too long") }
        return text
    }
}
