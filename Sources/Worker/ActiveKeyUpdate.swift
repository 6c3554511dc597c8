internal import Confined
internal import Handshake
internal import System
internal import TLS
internal import Wire

/// A key update that runs, with the consumer's socket.
final class ActiveKeyUpdate {
    let job: KeyUpdateJob
    let startedAt: UInt64
    let secrets: TrafficSecrets
    let cipherSuite: String
    private var socket: OwnedDescriptor?
    /// Tries again where the socket took nothing.
    var timer: EventLoop<ProcessEnd>.Timer?
    /// The peer's direction is done.
    private var hasReceived = false

    init(
        _ job: KeyUpdateJob, on socket: consuming OwnedDescriptor, _ secrets: TrafficSecrets, cipherSuite: String
    ) {
        self.job = job
        self.secrets = secrets
        self.cipherSuite = cipherSuite
        startedAt = Clock.monotonicNanoseconds()
        self.socket = consume socket
    }

    /// Goes on as far as the socket allows. Receiving comes first: it sends nothing, and if it fails nothing has been
    /// said yet.
    ///
    /// - Returns: whether it is done; `false` when the socket takes nothing for now.
    func step() throws(HandshakeFailure) -> Bool {
        guard let number = socket?.number else { throw HandshakeFailure(.libraryFailure, "no socket") }
        if job.steps.contains(.receive), !hasReceived {
            try secrets.advance(receive: true, on: number)
            hasReceived = true
        }
        guard job.steps.contains(.send) else { return true }
        guard try KeyUpdateMessage.send(asking: job.steps.contains(.updateRequested), on: number) else { return false }
        try secrets.advance(receive: false, on: number)
        return true
    }

    func close() {
        timer = nil
        socket.take()?.close()
    }
}
