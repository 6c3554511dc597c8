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

    private let broker: ProcessChannel<SignerReport, SignerOrder>
    private let loop: EventLoop
    private var brokerSource: EventLoop.Source?
    private let confine: (_ keeping: [Int32], _ kind: SignerKind) throws(SystemError) -> [String]
    private var keys = HeldKeys()
    private var workers: [UInt32: (link: WorkerLink, source: EventLoop.Source)] = [:]

    /// Timeout for a message to the broker while the channel is full. The broker reads whenever there is a message.
    private static let patience = Duration.seconds(3)

    /// - Parameters:
    ///   - control: a SOCK_SEQPACKET socket to the broker.
    ///   - confine: enters the sandbox, keeps the given descriptors and returns the restrictions that could not be
    ///     applied. Called once, before any key is opened.
    package init(
        control: consuming OwnedDescriptor,
        confine: @escaping (_ keeping: [Int32], _ kind: SignerKind) throws(SystemError) -> [String]
    ) throws {
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
                (descriptors, kind) throws(SystemError) in
                switch kind {
                case .files: try Sandbox.enter(keeping: descriptors, as: user, for: .signing)
                case .tokens: try Sandbox.enterWithTokens(keeping: descriptors, as: user)
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
        case .setUp(let kind, let level): try setUp(kind, level)
        case .load(let wanted): try report(.loaded(keys.load(wanted, descriptors)))
        case .release(let owner, let generation): keys.release(owner, generation)
        case .hold(let job, let worker, let key): keys.hold(job, for: worker, key, in: buffer)
        case .forget(let job): keys.forget(job)
        case .connect(let worker):
            guard let channel = descriptors.take() else { throw .brokeProtocol("no channel") }
            try connect(worker, channel)
        case .ping: try report(.alive)
        }
    }

    private func setUp(_ kind: SignerKind, _ level: UInt8) throws(ChannelFault) {
        GnuTLS.log(upTo: level)
        let lacking = try ChannelFault.of(
            try confine([broker.number, loop.number], kind), context: "the sandbox cannot be entered")
        try report(.ready(unconfined: MessageText.fit(lacking.joined(separator: "; "))))
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
            return try drop(worker, error)
        }
        guard let question else { return }
        let answer = try answer(question, of: worker)
        do throws(ChannelFault) {
            // A worker waits for the answer before it asks again, so there is room for it.
            guard !link.hasMessage else { throw .brokeProtocol("a question came before the last one was answered") }
            guard try link.offer(answer) else { throw .unresponsive }
        } catch {
            try drop(worker, error)
        }
    }

    /// Closes the channel to a worker and reports its protocol violation.
    private func drop(_ worker: UInt32, _ fault: ChannelFault) throws(ChannelFault) {
        disconnect(worker)
        let what: String
        switch fault {
        case .gone: return
        case .brokeProtocol(let text): what = text
        case .unresponsive, .unsendable, .failed: what = fault.description
        }
        keys.forgetAll(of: worker)
        try report(.misbehaved(worker: worker, text: MessageText.fit(what)))
    }

    private func answer(_ question: SigningQuestion, of worker: UInt32) throws(ChannelFault) -> SigningAnswer {
        let reference =
            switch question {
            case .sign(let request): request.key
            case .describe(let key): key
            }
        var key = keys.find(reference, for: worker)
        if key == nil {
            // The broker sends the key before it sends the job to the worker, but on another channel.
            try receiveOrders()
            key = keys.find(reference, for: worker)
        }
        guard let key else { return .refused("the signer holds no such key; it may have been replaced") }
        switch question {
        case .sign(let request):
            let answer = key.sign(request)
            guard case .refused(let why) = answer else { return answer }
            return .refused(MessageText.fit(why))
        case .describe: return .publicKey(key.publicDER)
        }
    }
}

/// The private keys in the signer, under the references that workers use.
struct HeldKeys {
    private var roles: [KeyReference: SigningKey] = [:]
    /// Keys that came with requests, keyed by job ID, each with the only worker that may use it.
    private var requests: [UInt64: (worker: UInt32, key: SigningKey?)] = [:]

    /// Looks up a key. Role keys are usable by every worker, per-request keys only by the worker that runs the request.
    func find(_ reference: KeyReference, for worker: UInt32) -> SigningKey? {
        guard reference.isOfJob else { return roles[reference] }
        guard let held = requests[reference.rawValue & ~(1 << 63)], held.worker == worker else { return nil }
        return held.key
    }

    /// Opens all keys of a role, or none.
    mutating func load(_ wanted: SignerKeys, _ descriptors: ReceivedDescriptors) -> SignerVerdict {
        var verdict = SignerVerdict(owner: wanted.owner, generation: wanted.generation)
        var opened: [KeyReference: SigningKey] = [:]
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
                    opened[reference] = key
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

    /// Stores the key of a request. If it cannot be parsed, the request has no key.
    mutating func hold(_ job: UInt64, for worker: UInt32, _ key: SecretRange, in buffer: borrowing SecretBuffer) {
        let opened = unsafe buffer.withUnsafeBytes { raw -> SigningKey? in
            try? unsafe SigningKey(der: UnsafeRawBufferPointer(rebasing: raw[key.range]))
        }
        requests[job] = (worker, opened)
    }

    mutating func forget(_ job: UInt64) {
        requests[job] = nil
    }

    /// Removes the request keys of a worker.
    mutating func forgetAll(of worker: UInt32) {
        requests = requests.filter { $0.value.worker != worker }
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
