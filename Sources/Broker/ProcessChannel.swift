internal import System
internal import Wire

/// The broker's end of a channel to a process that it started. What the queue has no room for is kept, in its order.
final class ProcessChannel<Sent: ChannelMessage, Received: ChannelMessage> {
    private let channel: MessageChannel
    private var buffer: SecretBuffer
    private var outbox: [(message: Sent, descriptors: [Int32], keeper: AnyObject?)] = []
    /// Set when the queue was full: nothing can be offered until the channel is writable and `relieve` was called.
    private(set) var isCongested = false

    /// More would be a process that has stopped reading: every profile's credentials in a few generations.
    private static var outboxLimit: Int { 8192 }

    /// - Parameter capacity: of the longest message, either way.
    init(_ channel: consuming MessageChannel, capacity: Int = MessageLimit.message) throws(SystemError) {
        self.channel = channel
        buffer = try SecretBuffer(capacity: capacity)
    }

    var number: Int32 { channel.number }

    /// Sends a message without secrets, or keeps it until there is room.
    ///
    /// - Parameter keeper: keeps the descriptors open as long as they may be needed.
    func send(_ message: Sent, descriptors: [Int32] = [], keeper: AnyObject? = nil) throws(WorkerFault) {
        if try offer(message, descriptors: descriptors) { return }
        guard outbox.count < Self.outboxLimit else { throw .unresponsive }
        outbox.append((message, descriptors, keeper))
        isCongested = true
    }

    /// Sends a message now, behind all that were kept.
    ///
    /// - Parameter fill: copies the secrets to their places in the message; the buffer is wiped afterwards.
    /// - Returns: `false` when there is no room.
    func offer(
        _ message: Sent, descriptors: [Int32] = [], fill: (Sent, inout SecretBuffer) -> Void = { _, _ in }
    ) throws(WorkerFault) -> Bool {
        guard outbox.isEmpty else { return false }
        let isSent = try transmit(message, descriptors, fill)
        isCongested = !isSent
        return isSent
    }

    /// It is writable again: sends what was kept.
    func relieve() throws(WorkerFault) {
        var sent = 0
        while sent < outbox.count, try transmit(outbox[sent].message, outbox[sent].descriptors) { sent += 1 }
        outbox.removeFirst(sent)
        isCongested = !outbox.isEmpty
    }

    /// Reads the next message; `nil` when there is none for now.
    func receive() throws(WorkerFault) -> Received? {
        let received = try WorkerFault.system { () throws(SystemError) in try channel.receive(into: &buffer) }
        switch received {
        case .wouldBlock: return nil
        case .closed: throw .gone
        case .message(let length, let descriptors):
            guard descriptors.count == 0 else { throw .brokeProtocol("descriptors came with a message") }
            return try WorkerFault.reading { () throws(WireError) in try buffer.read(first: length) }
        }
    }

    /// The process sees it closed from now on.
    func hangUp() { channel.hangUp() }

    /// Sends a message and wipes the buffer; `false` when the queue is full.
    private func transmit(
        _ message: Sent, _ descriptors: [Int32], _ fill: (Sent, inout SecretBuffer) -> Void = { _, _ in }
    ) throws(WorkerFault) -> Bool {
        let (length, placed) = try WorkerFault.writing { () throws(WireError) in try buffer.write(message) }
        fill(placed, &buffer)
        defer { buffer.wipe(first: length) }
        let result = try WorkerFault.system { () throws(SystemError) in
            try channel.send(buffer, count: length, descriptors: descriptors)
        }
        switch result {
        case .sent: return true
        case .wouldBlock: return false
        case .closed: throw .gone
        }
    }
}
