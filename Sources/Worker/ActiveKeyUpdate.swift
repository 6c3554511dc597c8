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

/// Connections whose traffic secrets are kept for key updates, limited in number and lifetime.
struct KeptSessions {
    private struct Entry {
        let secrets: TrafficSecrets
        let cipherSuite: String
        /// End of the lifetime; CLOCK_MONOTONIC nanoseconds.
        var until: UInt64
    }

    /// Keyed by the job ID of the connection's handshake.
    private var entries: [UInt64: Entry] = [:]

    /// Keeps the secrets of a session, which have a page of their own. If the limit is reached, the session that
    /// expires first is wiped.
    mutating func keep(
        _ secrets: TrafficSecrets, of session: UInt64, cipherSuite: String, for lifetime: Duration, now: UInt64
    ) {
        expire(now)
        if entries.count >= MessageLimit.keptSessions, let first = entries.min(by: { $0.value.until < $1.value.until })
        {
            entries[first.key] = nil
        }
        entries[session] = Entry(
            secrets: secrets, cipherSuite: cipherSuite, until: now + Clock.nanoseconds(of: lifetime))
    }

    /// The secrets of a session; `nil` if they are not kept or have expired.
    mutating func find(_ session: UInt64, now: UInt64) -> (secrets: TrafficSecrets, cipherSuite: String)? {
        expire(now)
        return entries[session].map { ($0.secrets, $0.cipherSuite) }
    }

    /// Restarts the lifetime of a session whose keys were updated. The broker determines its length.
    mutating func renew(_ session: UInt64, for lifetime: Duration, now: UInt64) {
        entries[session]?.until = now + Clock.nanoseconds(of: lifetime)
    }

    /// Wipes the secrets of a session.
    mutating func forget(_ session: UInt64) {
        entries[session] = nil
    }

    /// Wipes the secrets of expired sessions.
    mutating func expire(_ now: UInt64) {
        guard let next = nextExpiry, next <= now else { return }
        entries = entries.filter { $0.value.until > now }
    }

    /// Time at which the next session expires; CLOCK_MONOTONIC nanoseconds.
    var nextExpiry: UInt64? { entries.values.map(\.until).min() }

    var count: Int { entries.count }
}
