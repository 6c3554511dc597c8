internal import Handshake
internal import Policy
internal import System
internal import Upcall

/// Connections of the kernel's NFS client, from the answer to the handshake until the kernel has taken them over.
///
/// The NFS client requests a handshake for one transport and then moves the socket to another, that of the mount
/// (`xs_tcp_tls_finish_connecting` in net/sunrpc/xprtsock.c). A FIN or reset that arrives before is reported to the
/// first only. The second sends its request on a connection that is over: it waits 60 s, or sends without end. The same
/// happens if the kernel has lost the status of a failed handshake (docs/kernel-faults.md).
///
/// So the broker keeps a duplicate of the descriptor, and shuts down what is taken over and must not be used.
/// shutdown(2) ends the connection and reports the socket's state once more; the kernel then closes it and connects
/// again.
///
///     awaited ──> takenOver ──> (released, a second later)
///        └──> (released: the kernel has not taken it over within `patience`)
struct Takeovers {
    private enum Phase {
        case awaited
        /// The kernel uses it. The kernel first sets TCP_NODELAY and then moves the socket, and may be interrupted
        /// between the two. So the connection is looked at several times, and shut down again if need be: that does no
        /// harm to one that was shut down in time.
        case takenOver(since: UInt64, looks: Int)
    }

    private final class Entry {
        let handshake: Handshake
        let hasFailed: Bool
        let socket: OwnedDescriptor
        let startedAt: UInt64
        var phase = Phase.awaited
        /// CLOCK_MONOTONIC nanoseconds.
        var nextLook: UInt64

        init(_ handshake: Handshake, hasFailed: Bool, _ socket: consuming OwnedDescriptor, now: UInt64) {
            self.handshake = handshake
            self.hasFailed = hasFailed
            self.socket = socket
            startedAt = now
            nextLook = now + Endings.interval(after: 0)
        }

        var connection: TCPConnection { TCPConnection(socket.number) }
    }

    /// A connection that was shut down, for the log.
    struct ShutDown {
        let handshake: Handshake
        let reason: Reason
    }

    enum Reason {
        /// The kernel was told of a failure, and used the connection nevertheless.
        case failed
        /// The server has closed it.
        case closedByPeer
        /// Neither side uses it any longer. The kernel itself may have closed it.
        case ended
    }

    private var entries: [UInt64: Entry] = [:]

    /// Maximum number of connections; the oldest is released for one more.
    var limit = 1024
    /// Time after the answer within which the kernel takes a connection over, in nanoseconds. Usually it is a
    /// millisecond.
    static let patience: UInt64 = 3_000_000_000
    /// Nanoseconds from the takeover to each look.
    static let looks: [UInt64] = [20_000_000, 100_000_000, 1_000_000_000]
    /// Nanoseconds from the answer for which the end of the daemon waits for a takeover.
    private static let patienceAtEnd: UInt64 = 250_000_000

    var count: Int { entries.count }
    /// CLOCK_MONOTONIC nanoseconds; `nil` for never.
    var nextLook: UInt64? { entries.values.map(\.nextLook).min() }

    /// Begins to watch a connection; called before the kernel gets its answer.
    ///
    /// The kernel sets TCP_NODELAY for each connection of the NFS client, and again when it takes one over. It is
    /// cleared here, so that the takeover shows. A socket without it, or without SO_REUSEPORT, belongs to another
    /// consumer (xs_create_sock, xs_tcp_finish_connecting).
    mutating func begin(_ handshake: Handshake, hasFailed: Bool, now: UInt64) {
        let connection = TCPConnection(handshake.accepted.number)
        guard handshake.request.isFromNFSClient, connection.isUndelayed, connection.reusesPort,
            let socket = try? OwnedDescriptor.duplicate(handshake.accepted.number)
        else { return }
        if entries.count >= limit, let oldest = entries.keys.min() { release(oldest) }
        TCPConnection(socket.number).isUndelayed = false
        entries[handshake.id] = Entry(handshake, hasFailed: hasFailed, socket, now: now)
    }

    /// Looks at those that are due.
    ///
    /// - Returns: those that were shut down.
    mutating func look(_ now: UInt64) -> [ShutDown] {
        var ended: [ShutDown] = []
        for (id, entry) in entries where entry.nextLook <= now {
            switch entry.phase {
            case .awaited where entry.connection.isUndelayed:
                entry.phase = .takenOver(since: now, looks: 0)
                entry.nextLook = now + Self.looks[0]
            case .awaited where now >= entry.startedAt + Self.patience: release(id)
            case .awaited:
                entry.nextLook = now + Endings.interval(after: now - entry.startedAt)
            case .takenOver(let since, let looks):
                if let reason = Self.reason(entry) {
                    entry.connection.shutDown()
                    if looks == 0 { ended.append(ShutDown(handshake: entry.handshake, reason: reason)) }
                }
                guard looks + 1 < Self.looks.count else {
                    entries[id] = nil
                    continue
                }
                entry.phase = .takenOver(since: since, looks: looks + 1)
                entry.nextLook = since + Self.looks[looks + 1]
            }
        }
        return ended
    }

    /// The reason why a connection must not be used; `nil` if it may.
    private static func reason(_ entry: Entry) -> Reason? {
        if entry.hasFailed { return .failed }
        return switch entry.connection.state {
        case .closedByPeer: .closedByPeer
        case .ended: .ended
        case .open, .closing: nil
        }
    }

    /// Returns `true` if the kernel may still be about to take a connection over, so that the daemon does not end yet.
    func delayEnd(_ now: UInt64) -> Bool {
        entries.values.contains { entry in
            if case .takenOver(_, let looks) = entry.phase, looks > 0 { return false }
            return now < entry.startedAt + Self.patienceAtEnd
        }
    }

    /// Releases all of them.
    mutating func releaseAll() {
        for id in entries.keys { release(id) }
    }

    private mutating func release(_ id: UInt64) {
        guard let entry = entries.removeValue(forKey: id) else { return }
        // As the kernel has set it.
        withExtendedLifetime(entry) { entry.connection.isUndelayed = true }
    }
}
