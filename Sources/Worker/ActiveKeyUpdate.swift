internal import Handshake
internal import System
internal import TLS
internal import Wire

/// A key update in progress and its duplicate of the consumer's socket.
final class ActiveKeyUpdate {
    let job: KeyUpdateJob
    let startedAt: UInt64
    let secrets: TrafficSecrets
    let cipherSuite: String
    private var socket: OwnedDescriptor?
    /// Retries if the socket has no room.
    var timer: EventLoop.Timer?
    /// True if the keys of the receiving direction are updated.
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

    /// Continues as far as the socket allows. The receiving direction comes first: it sends nothing, so a failure
    /// leaves the connection as it was for the peer.
    ///
    /// - Returns: `true` if the update is complete; `false` if the socket has no room.
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
