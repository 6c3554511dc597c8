internal import Handshake
internal import System
internal import Wire

/// The signer as the broker sees it: its channel, and where it stands in the protocol.
final class SignerProcess {
    /// Grows with each start.
    let number: Int
    let child: ChildProcess
    /// Whether it may use tokens; it cannot change its mind.
    let opensTokens: Bool
    private let control: MessageChannel
    private var buffer: SecretBuffer
    /// What its queue had no room for, oldest first.
    private var outbox: [(order: SignerOrder, descriptors: [Int32], keeper: AnyObject?)] = []
    private(set) var isReady = false
    /// Loads that it has not judged, oldest first.
    private var unjudged: [SignerKeys] = []
    /// Pings that it has not answered.
    private var pings = 0
    /// Since when it owes an answer; CLOCK_MONOTONIC nanoseconds.
    private(set) var owesSince: UInt64?
    /// When it was last heard of, or started; CLOCK_MONOTONIC nanoseconds.
    private(set) var heardAt = Clock.monotonicNanoseconds()
    /// What the poller was last told.
    var interest = Poller.Interest.read

    /// More would be a signer that has stopped reading.
    private static let outboxLimit = 8192

    init(number: Int, program: String, opensTokens: Bool, environment: [String]) throws(SystemError) {
        self.number = number
        self.opensTokens = opensTokens
        var pair = try MessageChannel.pair()
        control = pair.takeFirst()
        buffer = try SecretBuffer(capacity: MessageLimit.message)
        let end = pair.takeSecond()
        child = try ChildProcess.spawn(
            program, arguments: [program], environment: environment,
            descriptors: [(source: end.number, target: SignerDescriptor.control)])
    }

    var controlNumber: Int32 { control.number }
    var isCongested: Bool { !outbox.isEmpty }
    /// Whether it is at what may take long: starting, or opening keys.
    var isOpening: Bool { !isReady || !unjudged.isEmpty }

    /// Sends an order, or keeps it until there is room.
    ///
    /// - Parameter keeper: keeps the descriptors open as long as they may be needed.
    func send(_ order: SignerOrder, descriptors: [Int32] = [], keeper: AnyObject? = nil) throws(WorkerFault) {
        switch order {
        case .load(let keys):
            unjudged.append(keys)
            owe()
        case .ping:
            pings += 1
            owe()
        case .setUp: owe()
        case .release, .hold, .forget, .connect: break
        }
        if outbox.isEmpty, try transmit(order, descriptors) { return }
        guard outbox.count < Self.outboxLimit else { throw .unresponsive }
        outbox.append((order, descriptors, keeper))
    }

    /// Sends a request's key.
    ///
    /// - Returns: `false` when its queue is full.
    func hold(
        job: UInt64, for worker: WorkerID, _ key: SecretRange, in secrets: borrowing JobSecrets
    ) throws(WorkerFault) -> Bool {
        guard outbox.isEmpty else { return false }
        let order = SignerOrder.hold(job: job, worker: worker.channelNumber, key: SecretRange(count: key.count))
        let encoded = try encode(order)
        secrets.copy(key, into: &buffer, at: encoded.key)
        return try deliver(encoded.length, [])
    }

    /// Reads its next report; `nil` when there is none for now.
    func receive() throws(WorkerFault) -> SignerReport? {
        let received = try WorkerFault.system { () throws(SystemError) in try control.receive(into: &buffer) }
        switch received {
        case .wouldBlock: return nil
        case .closed: throw .gone
        case .message(let length, let descriptors):
            guard descriptors.count == 0 else { throw .brokeProtocol("descriptors from the signer") }
            let report = try WorkerFault.coding { () throws(WireError) in
                try buffer.withSpan(first: length) { (span) throws(WireError) in try SignerReport(from: span) }
            }
            owesSince = nil
            heardAt = Clock.monotonicNanoseconds()
            try check(report)
            if !unjudged.isEmpty || pings > 0 { owe() }
            return report
        }
    }

    /// Its channel is writable again: sends what was kept.
    func relieve() throws(WorkerFault) {
        var sent = 0
        while sent < outbox.count, try transmit(outbox[sent].order, outbox[sent].descriptors) { sent += 1 }
        outbox.removeFirst(sent)
    }

    private func check(_ report: SignerReport) throws(WorkerFault) {
        switch report {
        case .ready:
            guard !isReady else { throw .brokeProtocol("ready twice") }
            isReady = true
        case .loaded(let verdict):
            guard isReady, let first = unjudged.first, first.owner == verdict.owner,
                first.generation == verdict.generation,
                verdict.parts.count == (verdict.problem.isEmpty ? first.parts.count : 0)
            else { throw .brokeProtocol("a verdict that was not asked for") }
            unjudged.removeFirst()
        case .alive:
            guard isReady, pings > 0 else { throw .brokeProtocol("an answer to no ping") }
            pings -= 1
        case .misbehaved:
            guard isReady else { throw .brokeProtocol("a report before ready") }
        }
    }

    private func owe() {
        owesSince = owesSince ?? Clock.monotonicNanoseconds()
    }

    private func transmit(_ order: SignerOrder, _ descriptors: [Int32]) throws(WorkerFault) -> Bool {
        try deliver(try encode(order).length, descriptors)
    }

    private func encode(_ order: SignerOrder) throws(WorkerFault) -> (length: Int, key: Range<Int>) {
        try WorkerFault.coding { () throws(WireError) in
            try buffer.withMutableSpan { (span) throws(WireError) in try order.encode(to: &span) }
        }
    }

    /// Sends the first `length` bytes of the buffer and wipes them; `false` when the queue is full.
    private func deliver(_ length: Int, _ descriptors: [Int32]) throws(WorkerFault) -> Bool {
        defer { buffer.wipe(first: length) }
        let result = try WorkerFault.system { () throws(SystemError) in
            try control.send(buffer, count: length, descriptors: descriptors)
        }
        switch result {
        case .sent: return true
        case .wouldBlock: return false
        case .closed: throw .gone
        }
    }
}
