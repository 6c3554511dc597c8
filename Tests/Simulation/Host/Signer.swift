internal import Handshake
internal import System
internal import Wire

/// A simulated signer.
final class MadeUpSigner: MadeUpProcess {
    private var isReady = false
    /// Set by its set-up.
    private(set) var kind: SignerKind?
    private var unjudged: [SignerKeys] = []
    private var pings = 0

    override var label: String { "signer \(identifier)" }

    override func act() {
        guard end == nil, !hangs else { return }
        for _ in 0..<world.random.within(1...4) {
            guard end == nil, takeOrder() else { break }
        }
        guard end == nil else { return }
        if !isReady {
            guard kind != nil, !world.random.happens(200) else { return }
            isReady = true
            return send(.ready(unconfined: ""))
        }
        if let keys = unjudged.first, world.random.happens(800) {
            unjudged.removeFirst()
            let isBad = world.random.happens(100)
            send(
                .loaded(
                    SignerVerdict(
                        owner: keys.owner, generation: keys.generation, problem: isBad ? "no" : "",
                        isPassing: isBad && world.random.happens(500),
                        parts: isBad ? [] : keys.parts.map { _ in Array("PUBLIC".utf8) })))
        }
        if pings > 0 {
            pings -= 1
            send(.alive)
        }
        guard world.hasMaliciousProcesses, world.random.happens(15) else { return }
        world.note("\(label) violates the protocol")
        switch world.random.below(4) {
        case 0: send(.ready(unconfined: ""))
        case 1: send(.alive)
        case 2: send(.misbehaved(worker: UInt32(world.random.within(1...4)), text: "it lied"))
        default:
            send(.loaded(SignerVerdict(owner: CredentialsOwner(.standard, .server), generation: 999, problem: "no")))
        }
    }

    private func send(_ report: SignerReport) {
        guard let count = try? world.scratch.buffer.write(report).length, let channel = control.take() else { return }
        send(count, over: channel)
        if end == nil { control = consume channel }
    }

    private func takeOrder() -> Bool {
        guard let channel = control.take() else { return false }
        let received = receive(from: channel)
        if end == nil { control = consume channel }
        guard let (length, descriptors) = received else { return false }
        let order: SignerOrder
        do throws(WireError) {
            order = try world.scratch.buffer.read(first: length)
        } catch {
            world.fail("\(label) got what is no order: \(error.description)")
            return false
        }
        world.check(
            descriptors.count == order.descriptorCount, "\(label) got \(descriptors.count) descriptors with an order")
        switch order {
        case .setUp(let kind, _): self.kind = kind
        case .load(let keys):
            let isOnToken = keys.parts.contains { $0.source != .file }
            world.check(isOnToken == (kind == .tokens), "\(label) is to open keys that another signer has")
            unjudged.append(keys)
        case .hold:
            world.check(
                world.scratch.contains(MadeUpKeys.secret, first: length), "\(label) is to hold what is no private key")
        case .ping: pings += 1
        case .release, .forget, .connect: break
        }
        return true
    }
}
