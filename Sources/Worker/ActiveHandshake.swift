internal import Handshake
internal import System
internal import TLS
internal import Wire

/// A handshake in progress and its duplicate of the consumer's socket. Closing the duplicate does not end the
/// connection.
final class ActiveHandshake {
    let job: UInt64
    /// CLOCK_MONOTONIC nanoseconds.
    let deadline: UInt64
    /// Lifetime of the kept session in seconds; 0 if its secrets are not kept.
    let keepFor: UInt32
    private let startedAt: UInt64
    private(set) var session: HandshakeSession?
    /// Event source of the socket.
    var source: EventLoop.Source?
    /// Fires at the deadline, and before it to poll the session.
    var timer: EventLoop.Timer?
    private var socket: OwnedDescriptor?
    private let delays: Bool

    private var wasHeard = false
    /// Processor time of the handshake in nanoseconds.
    private var processorTime: UInt64 = 0

    /// The socket's descriptor, borrowed; valid until `end`.
    let number: Int32

    init(_ job: HandshakeJob, on socket: consuming OwnedDescriptor, startedAt: UInt64) {
        self.job = job.id
        self.startedAt = startedAt
        deadline = job.deadline
        keepFor = job.keepFor
        number = socket.number
        delays = !TCPConnection(number).isUndelayed
        // TCP_NODELAY, because a handshake consists of small messages that the peer waits for.
        if delays { TCPConnection(number).isUndelayed = true }
        self.socket = consume socket
    }

    func begin(_ session: HandshakeSession) {
        self.session = session
    }

    /// True if it has lasted longer than handshakes usually do. Only then the broker needs to know whether the peer has
    /// sent anything, because it evicts the oldest silent handshakes first.
    func isOld(_ now: UInt64) -> Bool { now - startedAt >= FirstByteReport.delay }

    /// Time until the session is polled, in nanoseconds. It grows with the age of the handshake, so that thousands of
    /// stalled handshakes cost little. On NFS client sockets neither a reset nor free send space wakes a poller
    /// (net/sunrpc/xprtsock.c, xs_error_report and xs_tcp_write_space do not call the previous callback).
    func pollDelay(_ now: UInt64) -> UInt64 {
        if !wasHeard, session?.hasReceived == true, !isOld(now) { return startedAt + FirstByteReport.delay - now }
        return min(max((now - startedAt) / 2, 200_000_000), 1_000_000_000)
    }

    /// Records that the peer has sent something. Returns `true` the first time.
    func noteHeard() -> Bool {
        defer { wasHeard = true }
        return !wasHeard
    }

    /// Runs a part of the handshake and adds its processor time to that of the handshake.
    func metered<Result, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        let start = Clock.threadProcessorNanoseconds()
        defer { processorTime += Clock.threadProcessorNanoseconds() - start }
        return try body()
    }

    /// Releases the socket and the keys, and returns the result.
    func end() -> HandshakeResult {
        var result =
            session?.result(elapsed: elapsed)
            ?? HandshakeResult(outcome: .failure(HandshakeFailure(.libraryFailure, "no session")))
        result.processorTime = .nanoseconds(Int64(clamping: processorTime))
        close()
        return result
    }

    /// Ends a handshake that could not begin. A client sends the alert at once; for a server the broker sends it after
    /// the peer's first bytes.
    func end(refusing failure: HandshakeFailure, as role: Role) -> HandshakeResult {
        let alert = role == .client ? HandshakeSession.refuse(failure, on: number) : nil
        let taken = elapsed
        close()
        return HandshakeResult(outcome: .failure(failure), alertSent: alert, elapsed: taken)
    }

    private var elapsed: Duration { .nanoseconds(Int64(clamping: Clock.monotonicNanoseconds() - startedAt)) }

    private func close() {
        session = nil
        timer = nil
        // The broker has the same open file description, so closing our descriptor would not remove it from epoll.
        source?.cancel()
        if delays { TCPConnection(number).isUndelayed = false }
        socket.take()?.close()
    }
}
