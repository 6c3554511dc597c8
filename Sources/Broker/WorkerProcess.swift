internal import Handshake
internal import System
internal import Wire

/// One worker process as the broker sees it: its two channels, and where it stands in the protocol.
final class WorkerProcess {
    let id: WorkerID
    let child: ChildProcess
    private let control: MessageChannel
    private let keys: MessageChannel
    private var buffer: SecretBuffer
    /// Set by its `ready`; before, it takes no handshakes.
    private(set) var abilities: WorkerAbilities?
    /// Set when its queue was full; handshakes wait until it is writable again.
    private(set) var isCongested = false
    /// It has closed a channel and is to end.
    var isGone = false
    /// Credentials that it was sent and has not judged.
    private var unjudged: [RoleCredentials] = []
    /// What its queue had no room for, oldest first; goes before any handshake.
    private var outbox: [(message: BrokerMessage, credentials: CredentialSet?)] = []
    /// What the poller was last told about the control channel.
    var interest = Poller.Interest.read
    /// More would be a worker that has stopped reading: every profile's credentials in a few generations.
    private static let outboxLimit = 8192

    /// Starts the program with its two channels.
    ///
    /// - Throws: when the process or its channels cannot be made.
    init(id: WorkerID, program: String, environment: [String]) throws(SystemError) {
        self.id = id
        var controlPair = try MessageChannel.pair()
        var keyPair = try MessageChannel.pair()
        control = controlPair.takeFirst()
        keys = keyPair.takeFirst()
        buffer = try SecretBuffer(capacity: MessageLimit.message)
        let controlEnd = controlPair.takeSecond()
        let keyEnd = keyPair.takeSecond()
        child = try ChildProcess.spawn(
            program, arguments: [program], environment: environment,
            descriptors: [
                (source: controlEnd.number, target: WorkerDescriptor.control),
                (source: keyEnd.number, target: WorkerDescriptor.keys),
            ])
    }

    var controlNumber: Int32 { control.number }
    var keyNumber: Int32 { keys.number }
    var isReady: Bool { abilities != nil }

    /// Sends a message without secrets, or keeps it until there is room.
    func send(_ message: BrokerMessage, with credentials: CredentialSet? = nil) throws(WorkerFault) {
        if case .credentials(let credentials) = message { unjudged.append(credentials) }
        if outbox.isEmpty, try transmit(message, credentials) { return }
        guard outbox.count < Self.outboxLimit else { throw .unresponsive }
        outbox.append((message, credentials))
        isCongested = true
    }

    private func transmit(_ message: BrokerMessage, _ credentials: CredentialSet?) throws(WorkerFault) -> Bool {
        let length = try WorkerFault.coding { () throws(WireError) in
            try buffer.withMutableSpan { (span) throws(WireError) in try message.encode(to: &span).length }
        }
        return try deliver(length, credentials?.descriptors ?? [])
    }

    /// Checks a verdict off: one for each set of credentials, in their order.
    func takeVerdict(_ verdict: CredentialsVerdict) -> Bool {
        guard let first = unjudged.first, first.owner == verdict.owner, first.generation == verdict.generation else {
            return false
        }
        unjudged.removeFirst()
        return isReady
    }

    /// Sends a handshake with its secrets.
    ///
    /// - Returns: `false` when the worker's queue is full: try again when its channel is writable.
    func send(_ job: HandshakeJob, socket: Int32, secrets: borrowing JobSecrets) throws(WorkerFault) -> Bool {
        let encoded = try WorkerFault.coding { () throws(WireError) in
            try buffer.withMutableSpan { (span) throws(WireError) in
                try BrokerMessage.handshake(job).encode(to: &span)
            }
        }
        if let placed = encoded.job { secrets.copy(of: job, into: &buffer, at: placed) }
        let sent = try deliver(encoded.length, [socket])
        isCongested = !sent
        return sent
    }

    /// Reads the next message of the control channel; `nil` when there is none for now.
    func receive() throws(WorkerFault) -> WorkerMessage? {
        guard let length = try receive(on: control) else { return nil }
        let message = try WorkerFault.coding { () throws(WireError) in
            try buffer.withSpan(first: length) { (span) throws(WireError) in try WorkerMessage(from: span) }
        }
        if case .ready(let abilities) = message {
            guard self.abilities == nil else { throw .brokeProtocol("ready twice") }
            self.abilities = abilities
        }
        return message
    }

    /// Reads the next question of the key channel; `nil` when there is none for now.
    func receiveLookup() throws(WorkerFault) -> KeyLookup? {
        guard let length = try receive(on: keys) else { return nil }
        return try WorkerFault.coding { () throws(WireError) in
            try buffer.withSpan(first: length) { (span) throws(WireError) in try KeyLookup(from: span) }
        }
    }

    /// Answers the question that was read last, with the key at the start of `key` if the answer is one.
    func answer(_ answer: KeyAnswer, key: borrowing SecretBuffer) throws(WorkerFault) {
        let encoded = try WorkerFault.coding { () throws(WireError) in
            try buffer.withMutableSpan { (span) throws(WireError) in try answer.encode(to: &span) }
        }
        buffer.copy(0..<encoded.key.count, of: key, to: encoded.key.lowerBound)
        defer { buffer.wipe(first: encoded.length) }
        let result = try WorkerFault.system { () throws(SystemError) in try keys.send(buffer, count: encoded.length) }
        switch result {
        case .sent: return
        case .wouldBlock: throw .unresponsive
        case .closed: throw .gone
        }
    }

    /// Tells it to end, as closing the channels does.
    func hangUp() {
        control.hangUp()
        keys.hangUp()
    }

    /// Its control channel is writable again: sends what was kept.
    func relieve() throws(WorkerFault) {
        var sent = 0
        while sent < outbox.count, try transmit(outbox[sent].message, outbox[sent].credentials) { sent += 1 }
        outbox.removeFirst(sent)
        isCongested = !outbox.isEmpty
    }

    private func receive(on channel: borrowing MessageChannel) throws(WorkerFault) -> Int? {
        let received = try WorkerFault.system { () throws(SystemError) in try channel.receive(into: &buffer) }
        switch received {
        case .wouldBlock: return nil
        case .closed: throw .gone
        case .message(let length, let descriptors):
            guard descriptors.count == 0 else { throw .brokeProtocol("descriptors from a worker") }
            return length
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
