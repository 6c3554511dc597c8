internal import Handshake
internal import System
internal import Wire

/// One worker process as the broker sees it: its two channels, and where it stands in the protocol.
final class WorkerProcess: ServiceProcess {
    let id: WorkerID
    let process: SupervisedProcess
    /// The job that it says it computes for.
    let step: WorkerStep
    private let control: ProcessChannel<BrokerMessage, WorkerMessage>
    private let keys: ProcessChannel<KeyAnswer, KeyLookup>

    /// Starts the program with its two channels.
    ///
    /// - Throws: when the process or its channels cannot be made.
    init(
        id: WorkerID, program: String, environment: [String], starter: ProgramStarter = ProgramStarter()
    ) throws(SystemError) {
        self.id = id
        step = try WorkerStep()
        var controlPair = try MessageChannel.pair(room: starter.channelRoom)
        var keyPair = try MessageChannel.pair()
        control = try ProcessChannel(controlPair.takeFirst())
        keys = try ProcessChannel(keyPair.takeFirst())
        let controlEnd = controlPair.takeSecond()
        let keyEnd = keyPair.takeSecond()
        process = try SupervisedProcess(
            "worker", program: program, environment: environment,
            descriptors: [
                (source: controlEnd.number, target: WorkerDescriptor.control),
                (source: keyEnd.number, target: WorkerDescriptor.keys),
                (source: step.fileNumber, target: WorkerDescriptor.step),
            ], starter: starter)
        step.closeFile()
    }

    var controlNumber: Int32 { control.number }
    var keyNumber: Int32 { keys.number }
    /// Before, it takes no handshakes.
    var isReady: Bool { control.state == .ready }
    /// Set when its queue was full; handshakes wait until it is writable again.
    var isCongested: Bool { control.isCongested }

    /// Sends a message without secrets, or keeps it until there is room.
    ///
    /// - Parameter keeper: keeps the descriptors open as long as they may be needed.
    func send(
        _ message: BrokerMessage, descriptors: [Int32] = [], keeper: AnyObject? = nil
    ) throws(ChannelFault) {
        try control.send(message, descriptors: descriptors, keeper: keeper)
    }

    /// Sends a handshake with its secrets.
    ///
    /// - Returns: `false` when the worker's queue is full: try again when its channel is writable.
    func offer(_ job: HandshakeJob, socket: Int32, secrets: borrowing JobSecrets) throws(ChannelFault) -> Bool {
        try control.offer(.handshake(job), descriptors: [socket]) { placed, buffer in
            if case .handshake(let placed) = placed { secrets.copy(of: job, into: &buffer, at: placed) }
        }
    }

    /// Sends a key update.
    ///
    /// - Returns: `false` when the worker's queue is full: try again when its channel is writable.
    func offer(_ job: KeyUpdateJob, socket: Int32) throws(ChannelFault) -> Bool {
        try control.offer(.keyUpdate(job), descriptors: [socket])
    }

    /// Reads the next message of the control channel; `nil` when there is none for now.
    func receive() throws(ChannelFault) -> WorkerMessage? { try control.receive() }

    /// Reads the next question of the key channel; `nil` when there is none for now.
    func receiveLookup() throws(ChannelFault) -> KeyLookup? { try keys.receive() }

    /// Answers the question that was read last, with the key at the start of `key` if the answer is one.
    func answer(_ answer: KeyAnswer, key: borrowing SecretBuffer) throws(ChannelFault) {
        let isSent = try keys.offer(answer) { placed, buffer in
            if case .key(let place) = placed { buffer.copy(0..<place.count, of: key, to: place.range.lowerBound) }
        }
        // Who waits for an answer reads it.
        guard isSent else { throw .unresponsive }
    }

    /// Tells it to end, as closing the channels does.
    func hangUp() {
        control.hangUp()
        keys.hangUp()
    }

    /// Its control channel is writable again: sends what was kept.
    func relieve() throws(ChannelFault) { try control.relieve() }
}
