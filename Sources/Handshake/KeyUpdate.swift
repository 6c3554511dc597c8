/// What a consumer asks for once a connection has keys: new ones (RFC 8446 §4.6.3). Our extension of AF_TLSH;
/// docs/af-tlsh.md.
package struct KeyUpdate: Sendable, Equatable {
    /// The two directions, and what the peer is to be told; the kernel's numbers.
    package struct Steps: OptionSet, Sendable, Equatable {
        package let rawValue: UInt8

        package init(rawValue: UInt8) { self.rawValue = rawValue }

        /// The peer's KeyUpdate has been read; the next record is under its new key.
        package static let receive = Steps(rawValue: 1)
        /// A KeyUpdate of ours goes out, and a new key for what follows it.
        package static let send = Steps(rawValue: 2)
        /// With `send`: ours asks the peer for one of its own.
        package static let ask = Steps(rawValue: 4)

        /// Whether it says something, and nothing that does not exist.
        package var isSound: Bool {
            !isDisjoint(with: [.receive, .send]) && isSubset(of: [.receive, .send, .ask])
                && (contains(.send) || !contains(.ask))
        }
    }

    /// What the kernel was given at the handshake.
    package var session: SessionReference
    package var steps: Steps

    package init(session: SessionReference, steps: Steps) {
        self.session = session
        self.steps = steps
    }
}

/// By which a connection is known again: opaque to the kernel, and of no use to another instance of the daemon.
package struct SessionReference: Sendable, Hashable {
    package static let size = 16

    /// A random number of the daemon's instance.
    package let instance: UInt64
    /// The job of its handshake.
    package let session: UInt64

    package init(instance: UInt64, session: UInt64) {
        self.instance = instance
        self.session = session
    }

    /// `nil` where these are not `size` bytes.
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

/// The connections whose secrets a worker keeps, as the broker knows them: whose they are, and on which socket. A
/// value, without any secret.
package struct SessionTable: Sendable {
    package struct Session: Sendable, Equatable {
        package var worker: WorkerID
        /// The kernel's number of the socket (SO_COOKIE), the same for each descriptor of it.
        package var socket: UInt64
        /// Its handshake's.
        package var request: HandshakeRequest
        /// CLOCK_MONOTONIC nanoseconds.
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
    ///   - instance: a random number, so that references of former instances are strangers.
    ///   - limit: how many; the one that ends first makes room.
    package init(instance: UInt64, limit: Int) {
        self.instance = instance
        self.limit = limit
    }

    package var count: Int { sessions.count }

    /// Notes a session that a worker has kept.
    ///
    /// - Parameter job: its handshake's.
    /// - Returns: what the kernel is to be given.
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
            throw HandshakeFailure(.sessionUnknown, "no reference of this daemon's")
        }
        guard let session = sessions[reference.session] else {
            throw HandshakeFailure(.sessionUnknown, "no such session, or no longer")
        }
        guard session.until > now else {
            sessions[reference.session] = nil
            throw HandshakeFailure(.sessionUnknown, "its time is over, [listener] key_update_lifetime")
        }
        guard session.socket == socket else { throw HandshakeFailure(.sessionElsewhere) }
        return session
    }

    /// A key update worked: its time begins anew.
    package mutating func renew(_ session: UInt64, until: UInt64) {
        sessions[session]?.until = until
    }

    /// The worker has it no longer.
    package mutating func forget(_ session: UInt64) {
        sessions[session] = nil
    }

    /// A worker is gone, and its secrets with it.
    package mutating func lose(_ worker: WorkerID) {
        sessions = sessions.filter { $0.value.worker != worker }
    }
}
