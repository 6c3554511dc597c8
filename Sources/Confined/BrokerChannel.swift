package import System
package import Wire

/// A confined process's end of a channel to the broker.
package final class BrokerChannel<Received: ChannelMessage, Sent: ChannelMessage> {
    private let name: String
    private let channel: MessageChannel
    private var incoming: SecretBuffer
    private var outgoing: SecretBuffer

    /// - Parameters:
    ///   - socket: a SOCK_SEQPACKET socket to the broker.
    ///   - name: for messages.
    ///   - descriptorLimit: how many descriptors one message may bring.
    ///   - capacity: of the longest message, either way.
    package init(
        adopting socket: consuming OwnedDescriptor, name: String, descriptorLimit: Int,
        capacity: Int = MessageLimit.message
    ) throws(SystemError) {
        self.name = name
        channel = MessageChannel(adopting: socket, descriptorLimit: descriptorLimit)
        incoming = try SecretBuffer(capacity: capacity)
        outgoing = try SecretBuffer(capacity: capacity)
    }

    package var number: Int32 { channel.number }

    /// Receives one message, waiting for it if asked to, and shows it with the buffer that its secrets lie in, which is
    /// wiped afterwards.
    ///
    /// - Returns: `false` when there was none.
    package func receive(
        within patience: Duration = .zero,
        _ body: (Received, ReceivedDescriptors, borrowing SecretBuffer) throws(ProcessEnd) -> Void
    ) throws(ProcessEnd) -> Bool {
        let received: MessageChannel.Received
        do throws(SystemError) {
            received = try channel.receive(into: &incoming, timeout: patience)
        } catch {
            throw .violation("\(name): \(error.description)")
        }
        switch received {
        case .closed: throw .channelClosed
        case .wouldBlock: return false
        case .message(let length, let descriptors):
            defer { incoming.wipe(first: length) }
            let message = try read(length)
            guard descriptors.count == message.descriptorCount else {
                throw .violation(
                    "\(name): \(descriptors.count) descriptors came instead of \(message.descriptorCount)")
            }
            try body(message, descriptors, incoming)
            return true
        }
    }

    /// Sends a message, waiting for room if asked to.
    ///
    /// - Returns: `false` when there was none.
    package func send(_ message: Sent, within patience: Duration = .zero) throws(ProcessEnd) -> Bool {
        let length = try write(message)
        let result = try ProcessEnd.system(name) { () throws(SystemError) in
            try channel.send(outgoing, count: length, timeout: patience)
        }
        switch result {
        case .sent: return true
        case .wouldBlock: return false
        case .closed: throw .channelClosed
        }
    }

    private func read(_ length: Int) throws(ProcessEnd) -> Received {
        do throws(WireError) {
            return try incoming.read(first: length)
        } catch {
            throw .violation("\(name): \(error.description)")
        }
    }

    private func write(_ message: Sent) throws(ProcessEnd) -> Int {
        do throws(WireError) {
            return try outgoing.write(message).length
        } catch {
            throw .systemFailure("\(name): \(error.description)")
        }
    }
}
