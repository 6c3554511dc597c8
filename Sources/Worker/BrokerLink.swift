internal import Handshake
internal import System
internal import Wire

/// The worker's end of the control channel.
typealias BrokerLink = ProcessChannel<WorkerMessage, BrokerMessage>

extension BrokerLink {
    /// Maximum number of queued messages before log lines are dropped. Results are never dropped.
    private static var waitingLines: Int { 1000 }

    /// Sends a log line. A line that cannot be sent is dropped.
    func log(_ level: UInt8, job: UInt64, _ text: String) {
        guard waitingCount < Self.waitingLines else { return }
        try? send(.log(level: level, job: job, text: MessageText.fit(text)))
    }
}

extension HandshakeResult {
    /// The same result with all texts shortened to what a message allows.
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
