internal import Handshake
internal import System
internal import Wire

/// The worker's end of the control channel. Messages that the channel has no room for wait here, in their order.
final class BrokerLink {
    /// The level up to which lines are passed on.
    var logLevel: UInt8 = 0

    private let channel: MessageChannel
    private var incoming: SecretBuffer
    private var outgoing: SecretBuffer
    private var waiting: [WorkerMessage] = []

    /// Log lines that may wait; more are dropped, results never.
    private static let waitingLines = 1000

    init(adopting socket: consuming OwnedDescriptor) throws(SystemError) {
        channel = MessageChannel(adopting: socket, descriptorLimit: MessageLimit.descriptors)
        incoming = try SecretBuffer(capacity: MessageLimit.message)
        outgoing = try SecretBuffer(capacity: MessageLimit.message)
    }

    var number: Int32 { channel.number }

    /// Whether messages wait for room.
    var isWaiting: Bool { !waiting.isEmpty }

    /// Receives one message and shows it, with the buffer that its secrets lie in, which is wiped afterwards.
    ///
    /// - Returns: `false` when there was none.
    func receive(
        _ body: (BrokerMessage, ReceivedDescriptors, borrowing SecretBuffer) throws(WorkerEnd) -> Void
    ) throws(WorkerEnd) -> Bool {
        let received: MessageChannel.Received
        do throws(SystemError) {
            received = try channel.receive(into: &incoming)
        } catch {
            throw .violation("control channel: \(error.description)")
        }
        switch received {
        case .closed: throw .channelClosed
        case .wouldBlock: return false
        case .message(let length, let descriptors):
            defer { incoming.wipe(first: length) }
            let message = try decode(length)
            guard descriptors.count == message.descriptorCount else {
                throw .violation("\(descriptors.count) descriptors came instead of \(message.descriptorCount)")
            }
            try body(message, descriptors, incoming)
            return true
        }
    }

    /// Sends a message, now or as soon as there is room.
    func send(_ message: WorkerMessage) throws(WorkerEnd) {
        if case .log = message, waiting.count >= Self.waitingLines { return }
        waiting.append(message)
        try flush()
    }

    /// Sends a log line if it is wanted. A line that cannot be sent is lost.
    func log(_ level: UInt8, job: UInt64, _ text: String) {
        guard level <= logLevel else { return }
        try? send(.log(level: level, job: job, text: MessageText.fit(text)))
    }

    /// Sends what waits, as far as there is room.
    func flush() throws(WorkerEnd) {
        while let message = waiting.first {
            let result: MessageChannel.SendResult
            do throws(SystemError) {
                result = try channel.send(outgoing, count: try encode(message))
            } catch {
                throw .systemFailure("control channel: \(error.description)")
            }
            switch result {
            case .sent: waiting.removeFirst()
            case .wouldBlock: return
            case .closed: throw .channelClosed
            }
        }
    }

    private func decode(_ length: Int) throws(WorkerEnd) -> BrokerMessage {
        do throws(WireError) {
            return try incoming.withSpan(first: length) { (bytes) throws(WireError) in try BrokerMessage(from: bytes) }
        } catch {
            throw .violation(error.description)
        }
    }

    private func encode(_ message: WorkerMessage) throws(SystemError) -> Int {
        do throws(WireError) {
            return try outgoing.withMutableSpan { (bytes) throws(WireError) in try message.encode(to: &bytes) }
        } catch {
            throw SystemError("encode", 0, error.description)
        }
    }
}

extension HandshakeResult {
    /// The same with all texts fit for a message.
    var fitForMessage: HandshakeResult {
        var fit = self
        fit.pskIdentity = pskIdentity.map(MessageText.fit)
        fit.remarks = remarks.map(MessageText.fit)
        fit.peerCertificate = peerCertificate.map(\.fitForMessage)
        switch outcome {
        case .success(var session):
            session.applicationProtocol = MessageText.fit(session.applicationProtocol)
            fit.outcome = .success(session)
        case .failure(let failure):
            fit.outcome = .failure(HandshakeFailure(failure.reason, MessageText.fit(failure.detail)))
        }
        return fit
    }
}
