internal import Handshake
internal import Policy
internal import System
internal import Upcall

/// Ends the connections of failed handshakes before the kernel is told.
///
/// A refusal ends with FIN, never with RST, in both roles. Unread bytes are discarded, because closing a socket with
/// unread bytes resets the connection (net/ipv4/tcp.c, __tcp_close). If a reset reaches an NFS client together with our
/// answer, its kernel loses the answer and uses the dead connection (docs/kernel-faults.md). For the same reason the
/// broker waits for the end of a client's connection before it answers.
///
///     awaitingHello -> draining -> settling -> over
///
/// Limited in time and bytes: a peer that does not close its end costs a descriptor for a second.
struct Endings {
    private enum Phase {
        /// The server has not sent anything and waits for the ClientHello. The client's kernel would parse bytes before
        /// that as RPC.
        case awaitingHello
        case draining
        /// The connection has ended. The kernel may still have to record its error.
        case settling(until: UInt64)
    }

    private struct Entry {
        let handshake: Handshake
        var result: HandshakeResult
        var phase: Phase
        let startedAt: UInt64
        /// Time at which the kernel is told in any case; CLOCK_MONOTONIC nanoseconds.
        let deadline: UInt64
        var nextLook: UInt64
        var drained = 0
    }

    /// A handshake that the kernel can be answered for.
    struct Over {
        let handshake: Handshake
        let result: HandshakeResult
    }

    private var entries: [UInt64: Entry] = [:]

    /// Maximum number of connections. If it is reached, one of them ends early for a new one.
    var limit = 1024
    /// Maximum time per connection in nanoseconds. The peer's daemon reads our alert and closes within milliseconds.
    static let patience: UInt64 = 1_000_000_000
    /// Maximum number of discarded bytes: more than the peer can send before it reads our alert.
    static let mostBytes = 1 << 20
    /// Time from the end of an NFS client's connection to the answer, in nanoseconds. The kernel records a reset in a
    /// work item. On a busy machine 4 of 60 answers were lost if sent 5 ms after the reset, and none of 60 after 20 ms.
    static let settlingTime: UInt64 = 100_000_000

    var isEmpty: Bool { entries.isEmpty }
    var count: Int { entries.count }
    /// Time of the next check; CLOCK_MONOTONIC nanoseconds.
    var nextLook: UInt64? { entries.values.map(\.nextLook).min() }

    /// Begins to end the connection of a failed handshake. The worker has closed its descriptor.
    ///
    /// - Parameter timer: latest time for the answer to the consumer.
    mutating func begin(_ handshake: Handshake, _ result: HandshakeResult, by timer: UInt64, now: UInt64) {
        let deadline = min(now + Self.patience, timer)
        let phase: Phase = Self.owesAlert(handshake, result) ? .awaitingHello : .draining
        if case .draining = phase {
            FaultInjection.pause()
            handshake.accepted.stream.shutDownSending()
        }
        if entries.count >= limit, let victim { entries[victim]?.nextLook = 0 }
        entries[handshake.id] = Entry(
            handshake: handshake, result: result, phase: phase, startedAt: now, deadline: deadline, nextLook: now)
    }

    /// The connection that ends early for a new one: the oldest, and one of an NFS client only if there are no others.
    /// Peers decide how many server connections end, while a client's kernel may hang without the waiting time.
    private var victim: UInt64? {
        func isClients(_ entry: Entry) -> Int { entry.handshake.request.isFromNFSClient ? 1 : 0 }
        return entries.filter { $0.value.nextLook != 0 }
            .min { (isClients($0.value), $0.key) < (isClients($1.value), $1.key) }?.key
    }

    /// Checks the connections that are due.
    mutating func look(_ now: UInt64) -> [Over] {
        var over: [Over] = []
        for (id, entry) in entries where entry.nextLook <= now {
            var entry = entry
            let isCut = entry.nextLook == 0
            if isCut { Self.cut(&entry) } else { while Self.advance(&entry, now) {} }
            entries[id] = entry
            guard isCut || entry.nextLook == .max || entry.deadline <= now else { continue }
            entries[id] = nil
            over.append(Over(handshake: entry.handshake, result: entry.result))
        }
        return over
    }

    /// Makes all connections due.
    mutating func hurry() {
        for (id, entry) in entries where entry.nextLook > 1 { entries[id]?.nextLook = 1 }
    }

    /// Ends all connections at once.
    mutating func cutShort() -> [Over] {
        for id in entries.keys { entries[id]?.nextLook = 0 }
        return look(0)
    }

    /// Nanoseconds to the next look at a connection that has been watched for `elapsed` nanoseconds. The looks are
    /// frequent at first, then less so: most connections change after a few milliseconds.
    static func interval(after elapsed: UInt64) -> UInt64 { min(max(elapsed / 4, 2_000_000), 50_000_000) }

    /// Performs one step. Sets the time of the next check, `.max` for the end.
    ///
    /// - Returns: `true` if another step may be possible now.
    private static func advance(_ entry: inout Entry, _ now: UInt64) -> Bool {
        let connection = entry.handshake.accepted.stream
        entry.nextLook = min(entry.deadline, now + Self.interval(after: now - entry.startedAt))
        switch entry.phase {
        case .awaitingHello:
            guard connection.hasUnread || connection.state != .open || now >= entry.deadline else { return false }
            sendAlert(&entry, over: connection)
            entry.phase = .draining
            return true
        case .draining:
            return drain(&entry, connection, now)
        case .settling(let until):
            entry.nextLook = now >= until ? .max : min(until, entry.deadline)
            return false
        }
    }

    private static func cut(_ entry: inout Entry) {
        let connection = entry.handshake.accepted.stream
        if case .awaitingHello = entry.phase { sendAlert(&entry, over: connection) }
        _ = connection.discard(mostBytes)
    }

    private static func drain(_ entry: inout Entry, _ connection: any ConsumerStream, _ now: UInt64) -> Bool {
        while entry.drained < mostBytes, case .bytes(let count) = connection.discard(mostBytes - entry.drained) {
            entry.drained += count
        }
        guard entry.drained < mostBytes else {
            entry.nextLook = .max
            return false
        }
        FaultInjection.pause()
        guard connection.state == .ended else { return false }
        guard entry.handshake.request.isFromNFSClient else {
            entry.nextLook = .max
            return false
        }
        entry.phase = .settling(until: now + settlingTime)
        return true
    }

    /// Returns `true` if a server's alert has not been sent. A worker has sent it unless the peer was silent.
    private static func owesAlert(_ handshake: Handshake, _ result: HandshakeResult) -> Bool {
        guard handshake.request.role == .server, result.alertSent == nil, result.alertReceived == nil else {
            return false
        }
        guard case .failure(let failure) = result.outcome else { return false }
        return failure.alert != nil
    }

    /// Sends the missing alert, then FIN.
    private static func sendAlert(_ entry: inout Entry, over connection: any ConsumerStream) {
        if case .failure(let failure) = entry.result.outcome, let alert = failure.alert,
            connection.send(alert.recordInClear)
        {
            entry.result.alertSent = alert
        }
        connection.shutDownSending()
    }
}
