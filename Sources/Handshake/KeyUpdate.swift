/// A consumer's request to update the traffic keys of a connection (RFC 8446 §4.6.3). An extension of AF_TLSH; see
/// docs/af-tlsh.md.
package struct KeyUpdate: Sendable, Equatable {
    /// Directions to update, and whether the peer is asked to update too. Values of the kernel.
    package struct Steps: OptionSet, Sendable, Equatable {
        package let rawValue: UInt8

        package init(rawValue: UInt8) { self.rawValue = rawValue }

        /// RX: the peer's KeyUpdate has been read, and the next record is under its new key.
        package static let receive = Steps(rawValue: 1)
        /// TX: send a KeyUpdate, and use a new key after it.
        package static let send = Steps(rawValue: 2)
        /// With `send`: set update_requested in our KeyUpdate.
        package static let updateRequested = Steps(rawValue: 4)

        /// True if at least one direction is set, no unknown bit is, and update_requested comes with `send`.
        package var isValid: Bool {
            !isDisjoint(with: [.receive, .send]) && isSubset(of: [.receive, .send, .updateRequested])
                && (contains(.send) || !contains(.updateRequested))
        }
    }

    /// The reference that the kernel received at the handshake.
    package var session: SessionReference
    package var steps: Steps

    package init(session: SessionReference, steps: Steps) {
        self.session = session
        self.steps = steps
    }
}

/// Identifies a connection in a later key update. Opaque to the kernel; not valid in another daemon instance.
package struct SessionReference: Sendable, Hashable {
    package static let size = 16

    /// Random number of the daemon instance.
    package let instance: UInt64
    /// Job number of the handshake.
    package let session: UInt64

    package init(instance: UInt64, session: UInt64) {
        self.instance = instance
        self.session = session
    }

    /// `nil` unless there are exactly `size` bytes.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.size else { return nil }
        func number(_ part: ArraySlice<UInt8>) -> UInt64 { part.reduce(0) { $0 << 8 | UInt64($1) } }
        instance = number(bytes[..<8])
        session = number(bytes[8...])
    }

    package var bytes: [UInt8] {
        [instance, session].flatMap { number in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> UInt64($0)) }
        }
    }
}

/// Connections whose secrets a worker keeps: their worker and their socket. Contains no secrets.
package struct SessionTable: Sendable {
    package struct Session: Sendable, Equatable {
        package var worker: WorkerID
        /// Socket cookie (SO_COOKIE), the same for each descriptor of a socket.
        package var socket: UInt64
        /// Request of the connection's handshake.
        package var request: HandshakeRequest
        /// End of its lifetime, CLOCK_MONOTONIC nanoseconds.
        package var until: UInt64

        package init(worker: WorkerID, socket: UInt64, request: HandshakeRequest, until: UInt64) {
            self.worker = worker
            self.socket = socket
            self.request = request
            self.until = until
        }
    }

    package let instance: UInt64
    private let limit: Int
    private var sessions: [UInt64: Session] = [:]

    /// - Parameters:
    ///   - instance: a random number, so that references from other daemon instances are refused.
    ///   - limit: maximum number of sessions. If it is reached, the one that expires first is dropped.
    package init(instance: UInt64, limit: Int) {
        self.instance = instance
        self.limit = limit
    }

    package var count: Int { sessions.count }

    /// Adds a session whose secrets a worker keeps.
    ///
    /// - Parameter job: job number of its handshake.
    /// - Returns: The reference for the kernel.
    package mutating func keep(_ job: UInt64, _ session: Session, now: UInt64) -> SessionReference {
        if sessions.count >= limit {
            sessions = sessions.filter { $0.value.until > now }
            if sessions.count >= limit, let first = sessions.min(by: { $0.value.until < $1.value.until }) {
                sessions[first.key] = nil
            }
        }
        sessions[job] = session
        return SessionReference(instance: instance, session: job)
    }

    /// Finds a session for a key update on `socket`.
    ///
    /// - Throws: `.sessionUnknown` or `.sessionElsewhere`.
    package mutating func find(
        _ reference: SessionReference, socket: UInt64, now: UInt64
    ) throws(HandshakeFailure) -> Session {
        guard reference.instance == instance else {
            throw HandshakeFailure(.sessionUnknown, "not a reference of this daemon")
        }
        guard let session = sessions[reference.session] else {
            throw HandshakeFailure(.sessionUnknown, "no such session, or it has expired")
        }
        guard session.until > now else {
            sessions[reference.session] = nil
            throw HandshakeFailure(.sessionUnknown, "it has expired, [listener] key_update_lifetime")
        }
        guard session.socket == socket else { throw HandshakeFailure(.sessionElsewhere) }
        return session
    }

    /// Restarts the lifetime of a session after a key update.
    package mutating func renew(_ session: UInt64, until: UInt64) {
        sessions[session]?.until = until
    }

    /// Removes a session whose worker has dropped its secrets.
    package mutating func forget(_ session: UInt64) {
        sessions[session] = nil
    }

    /// Removes the sessions of a worker that has ended.
    package mutating func lose(_ worker: WorkerID) {
        sessions = sessions.filter { $0.value.worker != worker }
    }
}
