internal import Handshake
internal import System
internal import Wire

/// The signer as the broker sees it: its channel, and where it stands in the protocol.
final class SignerProcess: ServiceProcess {
    /// Grows with each start.
    let number: Int
    let process: SupervisedProcess
    /// True if it may use tokens. This is fixed at its start.
    let opensTokens: Bool
    private let control: ProcessChannel<SignerOrder, SignerReport>
    /// Since when it owes an answer; CLOCK_MONOTONIC nanoseconds.
    private(set) var owesSince: UInt64?
    /// When it was last heard of, or started; CLOCK_MONOTONIC nanoseconds.
    private(set) var heardAt: UInt64
    private let clock: () -> UInt64

    init(
        number: Int, program: String, opensTokens: Bool, environment: [String], starter: ProgramStarter,
        clock: @escaping () -> UInt64
    ) throws(SystemError) {
        self.clock = clock
        heardAt = clock()
        self.number = number
        self.opensTokens = opensTokens
        var pair = try MessageChannel.pair(room: starter.channelRoom)
        control = try ProcessChannel(pair.takeFirst())
        let end = pair.takeSecond()
        process = try SupervisedProcess(
            "signer", program: program, environment: environment,
            descriptors: [(source: end.number, target: SignerDescriptor.control)], starter: starter)
    }

    var controlNumber: Int32 { control.number }
    var isCongested: Bool { control.isCongested }
    var isReady: Bool { control.state == .ready }
    /// True while it starts or opens keys, which may take long.
    var isOpening: Bool { !isReady || control.oldestUnanswered(.load) != nil }

    /// Credentials whose keys it is opening.
    var opening: (owner: CredentialsOwner, generation: UInt32)? {
        guard isReady, case .credentials(let owner, let generation)? = control.oldestUnanswered(.load) else {
            return nil
        }
        return (owner, generation)
    }

    /// Sends an order, or keeps it until there is room.
    ///
    /// - Parameter keeper: keeps the descriptors open as long as they may be needed.
    func send(_ order: SignerOrder, descriptors: [Int32] = [], keeper: AnyObject? = nil) throws(ChannelFault) {
        try control.send(order, descriptors: descriptors, keeper: keeper)
        switch order {
        case .setUp, .load, .ping: owe()
        case .release, .hold, .forget, .connect: break
        }
    }

    /// Sends a request's key.
    ///
    /// - Returns: `false` when its queue is full.
    func hold(
        job: UInt64, for worker: WorkerID, _ key: SecretRange, in secrets: borrowing JobSecrets
    ) throws(ChannelFault) -> Bool {
        let order = SignerOrder.hold(job: job, worker: worker.channelNumber, key: SecretRange(count: key.count))
        return try control.offer(order) { placed, buffer in
            if case .hold(_, _, let place) = placed { secrets.copy(key, into: &buffer, at: place.range) }
        }
    }

    /// Reads its next report; `nil` when there is none for now.
    func receive() throws(ChannelFault) -> SignerReport? {
        guard let report = try control.receive() else { return nil }
        owesSince = nil
        heardAt = clock()
        if control.oldestUnanswered(.load) != nil || control.oldestUnanswered(.ping) != nil { owe() }
        return report
    }

    /// Tells it to end, as closing the channel does.
    func hangUp() { control.hangUp() }

    /// Its channel is writable again: sends what was kept.
    func relieve() throws(ChannelFault) { try control.relieve() }

    private func owe() {
        owesSince = owesSince ?? clock()
    }
}
