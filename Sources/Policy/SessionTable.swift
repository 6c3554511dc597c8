package import Handshake

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

    /// Returns `true` if a worker keeps secrets of a session.
    package func isKept(by worker: WorkerID, now: UInt64) -> Bool {
        sessions.values.contains { $0.worker == worker && $0.until > now }
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
