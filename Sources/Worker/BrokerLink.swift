internal import Confined
internal import Handshake
internal import System
internal import Wire

/// The worker's end of the control channel. Messages that the channel has no room for wait here, in their order.
final class BrokerLink {
    /// The level up to which lines are passed on.
    var logLevel: UInt8 = 0

    private let channel: BrokerChannel<BrokerMessage, WorkerMessage>
    private var waiting: [WorkerMessage] = []

    /// Log lines that may wait; more are dropped, results never.
    private static let waitingLines = 1000

    init(adopting socket: consuming OwnedDescriptor) throws(SystemError) {
        channel = try BrokerChannel(
            adopting: socket, name: "control channel", descriptorLimit: MessageLimit.descriptors)
    }

    var number: Int32 { channel.number }

    /// Whether messages wait for room.
    var isWaiting: Bool { !waiting.isEmpty }

    /// Receives one message and shows it, with the buffer that its secrets lie in, which is wiped afterwards.
    ///
    /// - Returns: `false` when there was none.
    func receive(
        _ body: (BrokerMessage, ReceivedDescriptors, borrowing SecretBuffer) throws(ProcessEnd) -> Void
    ) throws(ProcessEnd) -> Bool {
        try channel.receive(body)
    }

    /// Sends a message, now or as soon as there is room.
    func send(_ message: WorkerMessage) throws(ProcessEnd) {
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
    func flush() throws(ProcessEnd) {
        while let message = waiting.first, try channel.send(message) { waiting.removeFirst() }
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
