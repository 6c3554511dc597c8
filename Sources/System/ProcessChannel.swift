package import Wire

/// One end of the channel between two of our processes: messages over a SOCK_SEQPACKET connection, each checked against
/// the permit table of its sender (`Conversation`).
///
/// Messages for which the queue has no room are kept, in their order. Both buffers are wiped after each message.
package final class ProcessChannel<Sent: ChannelMessage, Received: ChannelMessage>
where Received.Opposite == Sent {
    private let channel: MessageChannel
    private var conversation = Conversation<Received>()
    private var incoming: SecretBuffer
    private var outgoing: SecretBuffer
    private var outbox: [(message: Sent, descriptors: [Int32], keeper: AnyObject?)] = []
    /// Set when the queue was full: nothing can be offered until the channel is writable and `relieve` was called.
    package private(set) var isCongested = false

    private let outboxLimit: Int

    /// - Parameter outboxLimit: number of waiting messages at which the other process counts as one that does not read;
    ///   the default has room for every profile's credentials in a few generations.
    package init(_ channel: consuming MessageChannel, outboxLimit: Int = 8192) throws(SystemError) {
        self.channel = channel
        self.outboxLimit = outboxLimit
        incoming = try SecretBuffer(capacity: Self.limit(of: Received.permits))
        outgoing = try SecretBuffer(capacity: Self.limit(of: Sent.permits))
    }

    /// The end of a process that the broker started, which keeps any number of messages.
    ///
    /// - Parameter socket: a SOCK_SEQPACKET socket to the other process.
    package convenience init(adopting socket: consuming OwnedDescriptor) throws(ChannelFault) {
        let limit = Received.permits.map(\.descriptors.limit).max() ?? 0
        do throws(SystemError) {
            try self.init(MessageChannel(adopting: socket, descriptorLimit: limit), outboxLimit: .max)
        } catch {
            throw .failed(error.description)
        }
    }

    private static func limit<Message>(of permits: [Permit<Message>]) -> Int { permits.map(\.limit).max() ?? 1 }

    /// The descriptor, borrowed.
    package var number: Int32 { channel.number }
    /// State of this end as the receiver of messages.
    package var state: Received.State { conversation.state }
    /// Number of messages that wait for room.
    package var waitingCount: Int { outbox.count }

    /// The oldest message of this kind that was sent and is not answered; `nil` if there is none.
    package func oldestUnanswered(_ kind: Sent.Kind) -> MessageReference? { conversation.oldestUnanswered(kind) }

    /// The other process sees the channel closed from now on.
    package func hangUp() { channel.hangUp() }

    // MARK: Sending

    /// Sends a message without secrets, or keeps it until there is room.
    ///
    /// - Parameter keeper: keeps the descriptors open as long as they may be needed.
    package func send(
        _ message: Sent, descriptors: [Int32] = [], keeper: AnyObject? = nil
    ) throws(ChannelFault) {
        if try offer(message, descriptors: descriptors) { return }
        guard outbox.count < outboxLimit else { throw .unresponsive }
        outbox.append((message, descriptors, keeper))
        conversation.note(sent: message)
        isCongested = true
    }

    /// Sends a message now, behind all that were kept.
    ///
    /// - Parameters:
    ///   - patience: time to wait for room.
    ///   - fill: copies the secrets to their places in the message.
    /// - Returns: `false` if there is no room.
    package func offer(
        _ message: Sent, descriptors: [Int32] = [], within patience: Duration = .zero,
        fill: (Sent, inout SecretBuffer) -> Void = { _, _ in }
    ) throws(ChannelFault) -> Bool {
        guard outbox.isEmpty else { return false }
        let isSent = try transmit(message, descriptors, patience, fill)
        if isSent { conversation.note(sent: message) }
        isCongested = !isSent
        return isSent
    }

    /// It is writable again: sends what was kept.
    package func relieve() throws(ChannelFault) {
        var sent = 0
        defer {
            outbox.removeFirst(sent)
            isCongested = !outbox.isEmpty
        }
        while sent < outbox.count, try transmit(outbox[sent].message, outbox[sent].descriptors) { sent += 1 }
    }

    /// Sends a message and wipes the buffer; `false` if the queue is full.
    private func transmit(
        _ message: Sent, _ descriptors: [Int32], _ patience: Duration = .zero,
        _ fill: (Sent, inout SecretBuffer) -> Void = { _, _ in }
    ) throws(ChannelFault) -> Bool {
        let length: Int, placed: Sent
        do throws(WireError) {
            (length, placed) = try outgoing.write(message)
        } catch {
            throw .unsendable(error)
        }
        fill(placed, &outgoing)
        defer { outgoing.wipe(first: length) }
        let result = try ChannelFault.of(
            try channel.send(outgoing, count: length, descriptors: descriptors, timeout: patience))
        switch result {
        case .sent: return true
        case .wouldBlock: return false
        case .closed: throw .gone
        }
    }

    // MARK: Receiving

    /// Receives one message and passes it on, with the buffer that its secrets are in.
    ///
    /// - Parameter patience: time to wait for it.
    /// - Returns: `false` if there was none.
    package func receive(
        within patience: Duration = .zero,
        _ body: (Received, ReceivedDescriptors, borrowing SecretBuffer) throws(ChannelFault) -> Void
    ) throws(ChannelFault) -> Bool {
        let received: MessageChannel.Received
        do throws(SystemError) {
            received = try channel.receive(into: &incoming, timeout: patience)
        } catch {
            incoming.wipe()
            throw error.isOfMessage ? .brokeProtocol(error.description) : .failed(error.description)
        }
        switch received {
        case .wouldBlock: return false
        case .closed: throw .gone
        case .message(let length, let descriptors):
            defer { incoming.wipe(first: length) }
            let message = try incoming.withMutableSpan { (bytes) throws(ChannelFault) in
                try conversation.receive(&bytes, length: length, descriptors: descriptors.count)
            }
            try body(message, descriptors, incoming)
            return true
        }
    }

    /// Receives one message that has neither descriptors nor secrets; `nil` if there is none.
    package func receive() throws(ChannelFault) -> Received? {
        var message: Received?
        _ = try receive { (received, _, _) throws(ChannelFault) in message = received }
        return message
    }

    /// Sends a question and waits for its answer.
    ///
    /// - Parameters:
    ///   - patience: time to wait for room, and then for the answer.
    ///   - body: gets the answer, with the buffer that its secrets are in.
    /// - Returns: `false` if there is no answer. The channel is of no use then: an answer that comes late would be
    ///   taken for that of the next question.
    package func ask(
        _ question: Sent, within patience: Duration,
        _ body: (Received, borrowing SecretBuffer) throws(ChannelFault) -> Void
    ) throws(ChannelFault) -> Bool {
        guard try offer(question, within: patience) else { return false }
        return try receive(within: patience) { (answer, _, buffer) throws(ChannelFault) in try body(answer, buffer) }
    }
}

extension ChannelFault {
    /// The value of a system call without which the process cannot continue.
    ///
    /// - Parameter context: what failed, if the description of the call does not show it.
    package static func of<Value: ~Copyable>(
        _ call: @autoclosure () throws(SystemError) -> Value, context: String? = nil
    ) throws(ChannelFault) -> Value {
        do throws(SystemError) {
            return try call()
        } catch {
            throw .failed((context.map { "\($0): " } ?? "") + error.description)
        }
    }
}

extension SystemError {
    /// True if a message is too long or has too many descriptors.
    fileprivate var isOfMessage: Bool { number == .emsgsize || number == .emfile }
}
