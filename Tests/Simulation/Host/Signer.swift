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
    /// Permits that were not used, by job.
    private var permits: [UInt64: SigningPermit] = [:]
    private var usedPermits: Set<UInt64> = []
    /// Workers that have a channel to it.
    private var workers: Set<UInt32> = []

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
            return send(.ready(Confinement()))
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
        case 0: send(.ready(Confinement()))
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
        case .setUp(let kind, _, _): self.kind = kind
        case .load(let keys):
            let isOnToken = keys.parts.contains { $0.source != .file }
            world.check(isOnToken == (kind == .tokens), "\(label) is to open keys that another signer has")
            unjudged.append(keys)
        case .permit(let permit):
            let job = permit.job
            world.check(
                permit.key.count == 0 || world.scratch.contains(MadeUpKeys.secret, first: length),
                "\(label) gets what is no private key")
            world.check(permit.key.count == 0 || kind == .files, "\(label) gets the key of a request")
            world.check(
                permits[job] == nil && !usedPermits.contains(job), "\(label) gets a second permit for job \(job)")
            permits[job] = permit
        case .forget(let job):
            permits[job] = nil
            usedPermits.remove(job)
        case .connect(let worker): workers.insert(worker)
        case .ping: pings += 1
        case .release: break
        }
        return true
    }

    /// Answers a worker that asks for a signature.
    ///
    /// - Returns: whether it has one; `nil` if it would wait for an answer.
    func sign(_ job: UInt64, for worker: WorkerID, byRequestKey: Bool) -> Bool? {
        guard end == nil, !hangs, isReady else { return nil }
        // As the signer does before it refuses.
        while takeOrder() {}
        let number = UInt32(worker.number)
        guard end == nil, workers.contains(number) else { return nil }
        guard let permit = permits[job], permit.worker == number, permit.isForRequestKey == byRequestKey else {
            return false
        }
        permits[job] = nil
        usedPermits.insert(job)
        if permit.isReported { send(.signed(job: job, worker: number, text: "the key")) }
        return true
    }
}
