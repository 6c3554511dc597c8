internal import Handshake
internal import Upcall
internal import Wire

/// A request under way: what the kernel asked, and what the broker needs to answer it.
final class Job {
    let accepted: AcceptedHandshake
    let upcall: any Upcall
    /// CLOCK_MONOTONIC nanoseconds.
    let startedAt: UInt64
    /// What the worker is told; `nil` until the request is prepared, and without its secrets once it is sent.
    var order: HandshakeJob?
    /// The PSKs that this handshake may end with, offered by us or looked up for the peer.
    var pskSerials: [[UInt8]: KeySerial] = [:]
    /// How many identities the worker has looked up.
    var lookups = 0

    init(_ accepted: AcceptedHandshake, from upcall: any Upcall, startedAt: UInt64) {
        self.accepted = accepted
        self.upcall = upcall
        self.startedAt = startedAt
    }

    /// The serial that the kernel is told as the peer's identity (REMOTE_AUTH): the PSK's own; for a certificate the marker's.
    func remoteIdentity(for result: HandshakeResult, marker: KeySerial) -> KeySerial? {
        guard case .success(let session) = result.outcome, session.peerAuthenticated else { return nil }
        guard accepted.request.authentication == .preSharedKey else { return marker }
        return result.pskIdentity.flatMap { pskSerials[Array($0.utf8)] }
    }
}
