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
/// shutdown(2) reports the socket's state once more; the kernel then closes the connection and connects again.
///
///     awaited ──> takenOver ──> (released or shut down)
///        └──> (released: the kernel has not taken it over within `patience`)
struct Takeovers {
    private enum Phase {
        case awaited
        /// The kernel uses it. It is looked at once more after `settlingTime`, as the kernel first sets TCP_NODELAY and
        /// then moves the socket.
        case takenOver(since: UInt64)
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
            nextLook = now + Takeovers.firstLook
        }

        var connection: TCPConnection { TCPConnection(socket.number) }
    }

    /// A connection that was shut down, for the log.
    struct ShutDown {
        let handshake: Handshake
        /// The kernel was told of a failure, and used the connection nevertheless.
        let hasFailed: Bool
    }

    private var entries: [UInt64: Entry] = [:]

    /// Maximum number of connections; the oldest is released for one more.
    var limit = 1024
    /// Time after the answer within which the kernel takes a connection over, in nanoseconds. Usually it is a
    /// millisecond.
    static let patience: UInt64 = 3_000_000_000
    /// Nanoseconds from the takeover to the decision.
    static let settlingTime: UInt64 = 20_000_000
    private static let firstLook: UInt64 = 2_000_000

    var count: Int { entries.count }
    /// CLOCK_MONOTONIC nanoseconds; `nil` for never.
    var nextLook: UInt64? { entries.values.map(\.nextLook).min() }

    /// Begins to watch a connection; called before the kernel gets its answer.
    ///
    /// The kernel sets TCP_NODELAY for each connection of the NFS client, and again when it takes one over. It is
    /// cleared here, so that the takeover shows. A socket without it belongs to another consumer.
    mutating func begin(_ handshake: Handshake, hasFailed: Bool, now: UInt64) {
        guard handshake.request.isFromNFSClient, TCPConnection(handshake.accepted.number).isUndelayed,
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
                entry.phase = .takenOver(since: now)
                entry.nextLook = now + Self.settlingTime
            case .awaited where now >= entry.startedAt + Self.patience: release(id)
            case .awaited:
                entry.nextLook = now + min(max((now - entry.startedAt) / 4, Self.firstLook), 50_000_000)
            case .takenOver(let since) where now < since + Self.settlingTime:
                entry.nextLook = since + Self.settlingTime
            case .takenOver:
                entries[id] = nil
                guard entry.hasFailed || [.closedByPeer, .ended].contains(entry.connection.state) else { continue }
                withExtendedLifetime(entry) { entry.connection.shutDown() }
                ended.append(ShutDown(handshake: entry.handshake, hasFailed: entry.hasFailed))
            }
        }
        return ended
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
