internal import Handshake
internal import Policy
internal import System
internal import Upcall

/// The connections of failed handshakes, which are brought to an end before the kernel is told.
///
/// A refusal ends with FIN and never with RST, in either role: unread bytes are discarded, because a socket that is
/// closed with some of them unread resets the connection (net/ipv4/tcp.c, __tcp_close), and a reset that reaches an NFS
/// client together with our answer makes its kernel forget the answer and use the dead connection
/// (docs/kernel-faults.md). So, too, a client's end is awaited before its kernel is told.
///
///     awaitingHello -> draining -> settling -> over
///
/// Bounded in time and bytes: a peer that does not let go costs a descriptor for a second.
struct Endings {
    private enum Phase {
        /// A server has said nothing yet. What it says before the first byte of the ClientHello, the client's kernel
        /// reads as RPC.
        case awaitingHello
        case draining
        /// The connection has ended, and the kernel may still have to note with which error.
        case settling(until: UInt64)
    }

    private struct Entry {
        let handshake: Handshake
        var result: HandshakeResult
        var phase: Phase
        let startedAt: UInt64
        /// CLOCK_MONOTONIC nanoseconds at which the kernel is told, come what may.
        let deadline: UInt64
        var nextLook: UInt64
        var drained = 0
    }

    /// A handshake whose kernel is to be told now.
    struct Over {
        let handshake: Handshake
        let result: HandshakeResult
    }

    private var entries: [UInt64: Entry] = [:]

    /// Connections that end at the same time; one of them is cut short for one more.
    var limit = 1024
    /// Nanoseconds that one may take. The peer's daemon reads our alert and closes within milliseconds.
    static let patience: UInt64 = 1_000_000_000
    /// Bytes of the peer's that are discarded at most: more than it can have sent before it reads our alert.
    static let mostBytes = 1 << 20
    /// Nanoseconds from the end of an NFS client's connection to the answer. The kernel notes a reset in a work item;
    /// of answers that came 5 ms after the reset 4 in 60 were lost on a busy machine, of those after 20 ms none in 60.
    static let settlingTime: UInt64 = 100_000_000

    var isEmpty: Bool { entries.isEmpty }
    var count: Int { entries.count }
    /// When the next one is to be looked at; CLOCK_MONOTONIC nanoseconds.
    var nextLook: UInt64? { entries.values.map(\.nextLook).min() }

    /// Begins to end the connection of a failed handshake; the worker has closed its descriptor.
    ///
    /// - Parameter timer: when the consumer is to be told at the latest.
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

    /// Which is cut short for another one: the oldest that is not yet, and an NFS client's only where there are no
    /// others. Strangers choose how many servers' connections end, and a client's kernel may hang without its time.
    private var victim: UInt64? {
        func isClients(_ entry: Entry) -> Int { entry.handshake.request.isFromNFSClient ? 1 : 0 }
        return entries.filter { $0.value.nextLook != 0 }
            .min { (isClients($0.value), $0.key) < (isClients($1.value), $1.key) }?.key
    }

    /// Looks at those that are due.
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

    /// Has the next `look` look at all of them.
    mutating func hurry() {
        for (id, entry) in entries where entry.nextLook > 1 { entries[id]?.nextLook = 1 }
    }

    /// Ends all of them at once.
    mutating func cutShort() -> [Over] {
        for id in entries.keys { entries[id]?.nextLook = 0 }
        return look(0)
    }

    /// Goes one step on. Sets when to look again, `.max` for an end.
    ///
    /// - Returns: whether there may be another step now.
    private static func advance(_ entry: inout Entry, _ now: UInt64) -> Bool {
        let connection = entry.handshake.accepted.stream
        // Soon at first, then rarer: most are over after a few milliseconds.
        entry.nextLook = min(entry.deadline, now + min(max((now - entry.startedAt) / 4, 2_000_000), 50_000_000))
        switch entry.phase {
        case .awaitingHello:
            guard connection.hasUnread || connection.state != .open || now >= entry.deadline else { return false }
            say(&entry, over: connection)
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
        if case .awaitingHello = entry.phase { say(&entry, over: connection) }
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

    /// Whether a server's refusal has not been told to the peer. A worker tells it unless the peer was silent.
    private static func owesAlert(_ handshake: Handshake, _ result: HandshakeResult) -> Bool {
        guard handshake.request.role == .server, result.alertSent == nil, result.alertReceived == nil else {
            return false
        }
        guard case .failure(let failure) = result.outcome else { return false }
        return failure.reason.row.alert != nil
    }

    /// Sends the alert that is owed, then FIN.
    private static func say(_ entry: inout Entry, over connection: any ConsumerStream) {
        if case .failure(let failure) = entry.result.outcome, let alert = failure.reason.row.alert,
            connection.send(alert.recordInClear)
        {
            entry.result.alertSent = alert
        }
        connection.shutDownSending()
    }
}
