internal import Handshake
internal import Keyrings
internal import System
internal import Upcall
internal import Wire

/// A request under way: what the kernel asked, and what the broker needs to answer it.
final class Job {
    let accepted: AcceptedHandshake
    let request: HandshakeRequest
    let upcall: any Upcall
    /// Whose credentials and keyrings; as long as none is chosen, none.
    var profile = ProfileTable.Choice(number: .standard, name: nil, keyrings: .only([]))
    /// The PSKs that this handshake may end with, offered by us or looked up for the peer.
    var pskSerials: [[UInt8]: KeySerial] = [:]
    /// Whether the signer holds the key that the request named.
    var heldKey = false
    /// Seconds for which its secrets are kept; 0 for not at all.
    var keepFor: UInt32 = 0
    /// The worker that runs it, and keeps them.
    var keeper: WorkerID?
    /// How many identities the worker has looked up.
    var lookups = 0
    /// What had been read and written when it was accepted; `nil` where that cannot be told.
    let progress: StreamProgress?
    /// How many workers have died before they began with it.
    var reruns = 0
    static let mostReruns = 3

    init(_ accepted: AcceptedHandshake, _ request: HandshakeRequest, from upcall: any Upcall) {
        self.accepted = accepted
        self.request = request
        self.upcall = upcall
        progress = StreamProgress(of: accepted.number)
    }

    /// Whether the connection of this failed handshake is brought to its end before the kernel is told. A client that
    /// no worker has run has said nothing on it.
    var needsEnding: Bool { request.keyUpdate == nil && (request.role == .server || keeper != nil) }

    /// Who is at the other end, for the log.
    var peer: PeerAddress { PeerAddress(socketAddress: accepted.peerAddress, name: request.peerName) }

    /// Whom the peer counts as, with others of its kind.
    private(set) lazy var peers = PeerGroup(socketAddress: accepted.peerAddress)

    /// What is believed of a worker's result: with a PSK no success but by one that it was given. Without its serial an
    /// NVMe target of Linux 6.12 would take the queue for one that needs no TLS (drivers/nvme/target/tcp.c).
    func judge(_ result: HandshakeResult) -> HandshakeResult.Outcome {
        guard case .success = result.outcome, request.authentication == .preSharedKey, request.keyUpdate == nil,
            pskSerial(of: result) == nil
        else { return result.outcome }
        return .failure(HandshakeFailure(.libraryFailure, "the worker names no PSK that it was given"))
    }

    /// Turns a success into a failure where the connection has ended, or an alert has come, since the worker looked.
    /// The NFS client's kernel would use the dead socket and send on it without end (docs/kernel-faults.md).
    func checkConnection(_ outcome: HandshakeResult.Outcome) -> HandshakeResult.Outcome {
        guard case .success = outcome, request.keyUpdate == nil else { return outcome }
        let connection = TCPConnection(accepted.number)
        let state = connection.state
        if state == .ended { return .failure(HandshakeFailure(.connectionReset, "right behind the handshake")) }
        // A client may have sent its request and closed; a server speaks when it is asked.
        guard request.role == .client else { return outcome }
        switch connection.waitingRecord {
        case .alert:
            return .failure(
                HandshakeFailure(.alertReceived, "the server ended the connection right behind the handshake"))
        case .data: return outcome
        case .other, nil:
            return state == .closedByPeer
                ? .failure(HandshakeFailure(.peerClosed, "right behind the handshake")) : outcome
        }
    }

    private func pskSerial(of result: HandshakeResult) -> KeySerial? {
        result.pskIdentity.flatMap { pskSerials[Array($0.utf8)] }
    }

    /// The serial that the kernel is told as the peer's identity (REMOTE_AUTH): the PSK's own; for a certificate the
    /// marker's.
    func remoteIdentity(for result: HandshakeResult, marker: KeySerial) -> KeySerial? {
        guard case .success(let session) = result.outcome, session.peerAuthenticated else { return nil }
        guard request.authentication == .preSharedKey else { return marker }
        return pskSerial(of: result)
    }
}
