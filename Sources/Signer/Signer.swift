internal import Glibc
internal import Handshake
package import System
internal import TLS
internal import Wire

/// The process that holds private keys: it does what the broker orders, and signs handshakes for workers. One thread, one event loop.
package final class Signer {
    private let link: BrokerLink
    private let poller: Poller
    private let confine: (_ keeping: [Int32], _ opensTokens: Bool) throws(SystemError) -> [String]
    private var isSetUp = false
    private var keys = KeyCabinet()
    private var workers: [UInt32: WorkerLink] = [:]

    private static let controlToken: UInt64 = .max
    /// Questions of one worker before others get their turn.
    private static let questionsPerTurn = 32

    /// - Parameters:
    ///   - control: a SOCK_SEQPACKET socket to the broker.
    ///   - confine: enters the sandbox, keeping the descriptors given, and returns what it lacks. Called once, before anything is opened.
    package init(
        control: consuming OwnedDescriptor,
        confine: @escaping (_ keeping: [Int32], _ opensTokens: Bool) throws(SystemError) -> [String]
    ) throws(SystemError) {
        self.confine = confine
        link = try BrokerLink(adopting: control)
        poller = try Poller()
        try poller.add(link.number, token: Self.controlToken, interest: .read)
    }

    /// Serves until there is a reason to end.
    package func run() -> SignerEnd {
        do throws(SignerEnd) {
            while true { try turn() }
        } catch {
            return error
        }
    }

    private func turn() throws(SignerEnd) {
        let events = try SignerEnd.system { () throws(SystemError) in try poller.wait(timeout: nil) }
        for event in events {
            if event.token == Self.controlToken {
                try obeyAll()
            } else {
                try serve(UInt32(truncatingIfNeeded: event.token))
            }
        }
    }

    // MARK: The broker's orders

    private func obeyAll() throws(SignerEnd) {
        while try link.receive({ (order, descriptors, buffer) throws(SignerEnd) in
            try obey(order, descriptors, buffer)
        }) {}
    }

    private func obey(
        _ order: SignerOrder, _ descriptors: ReceivedDescriptors, _ buffer: borrowing SecretBuffer
    ) throws(SignerEnd) {
        if case .setUp(let opensTokens, let level) = order { return try setUp(opensTokens, level) }
        guard isSetUp else { throw .violation("an order before setUp") }
        switch order {
        case .setUp: return
        case .load(let wanted): try link.send(.loaded(keys.load(wanted, descriptors)))
        case .release(let owner, let generation): keys.release(owner, generation)
        case .hold(let job, let worker, let key): keys.hold(job, for: worker, key, in: buffer)
        case .forget(let job): keys.forget(job)
        case .connect(let worker):
            guard let channel = descriptors.take() else { throw .violation("no channel") }
            try connect(worker, channel)
        case .ping: try link.send(.alive)
        }
    }

    private func setUp(_ opensTokens: Bool, _ level: UInt8) throws(SignerEnd) {
        guard !isSetUp else { throw .violation("setUp twice") }
        isSetUp = true
        GnuTLS.log(upTo: level)
        let lacking = try SignerEnd.system { () throws(SystemError) in
            try confine([link.number, poller.number], opensTokens)
        }
        try link.send(.ready(unconfined: MessageText.fit(lacking.joined(separator: "; "))))
    }

    private func connect(_ worker: UInt32, _ channel: consuming OwnedDescriptor) throws(SignerEnd) {
        disconnect(worker)
        do throws(SystemError) {
            let link = try WorkerLink(adopting: channel)
            try poller.add(link.number, token: UInt64(worker), interest: .read)
            workers[worker] = link
        } catch {
            throw .systemFailure(error.description)
        }
    }

    private func disconnect(_ worker: UInt32) {
        guard let link = workers.removeValue(forKey: worker) else { return }
        try? poller.remove(link.number)
    }

    // MARK: The workers' questions

    private func serve(_ worker: UInt32) throws(SignerEnd) {
        guard let link = workers[worker] else { return }
        for _ in 0..<Self.questionsPerTurn {
            switch link.receive() {
            case .none: return
            case .closed: return disconnect(worker)
            case .violation(let what):
                disconnect(worker)
                keys.forgetAll(of: worker)
                return try self.link.send(.misbehaved(worker: worker, text: MessageText.fit(what)))
            case .question(let question):
                let answer = try answer(question, of: worker)
                guard link.send(answer) else { return disconnect(worker) }
            }
        }
    }

    private func answer(_ question: SigningQuestion, of worker: UInt32) throws(SignerEnd) -> SigningAnswer {
        let reference =
            switch question {
            case .sign(let request): request.key
            case .describe(let key): key
            }
        var key = keys.find(reference, for: worker)
        if key == nil {
            // The broker sends the order before the worker hears of the key, but on another channel.
            try obeyAll()
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
