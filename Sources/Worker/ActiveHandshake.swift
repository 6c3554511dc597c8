internal import CLinux
internal import Confined
internal import Handshake
internal import System
internal import TLS
internal import Wire

/// A handshake that runs, with the consumer's socket, which is ours to close and nothing else.
final class ActiveHandshake {
    let job: UInt64
    /// CLOCK_MONOTONIC nanoseconds.
    let deadline: UInt64
    /// Seconds.
    let keepFor: UInt32
    private let startedAt: UInt64
    private(set) var session: HandshakeSession?
    /// Watches the socket.
    var source: EventLoop<ProcessEnd>.Source?
    /// Looks at the session though nothing woke us, and at its deadline.
    var timer: EventLoop<ProcessEnd>.Timer?
    private var socket: OwnedDescriptor?
    private let delays: Bool

    private var wasHeard = false
    /// Nanoseconds of this thread.
    private var processorTime: UInt64 = 0

    /// Borrowed; valid until `end`.
    let number: Int32

    init(_ job: HandshakeJob, on socket: consuming OwnedDescriptor, startedAt: UInt64) {
        self.job = job.id
        self.startedAt = startedAt
        deadline = job.deadline
        keepFor = job.keepFor
        number = socket.number
        delays = !TCPConnection(number).isUndelayed
        // A handshake is a few small messages, each of which the other side waits for.
        if delays { TCPConnection(number).isUndelayed = true }
        self.socket = consume socket
    }

    func begin(_ session: HandshakeSession) {
        self.session = session
    }

    /// Whether it lasts longer than handshakes do. Only then the broker must know whether the peer has spoken, for it
    /// sends the oldest away first.
    func isOld(_ now: UInt64) -> Bool { now - startedAt >= FirstByteReport.delay }

    /// How long until it is looked at again though nothing woke us, in nanoseconds: the longer it lasts the rarer, so
    /// that thousands that stall cost little. On NFS client sockets neither a reset nor free send space wakes a poller
    /// (net/sunrpc/xprtsock.c, xs_error_report and xs_tcp_write_space call no former callback).
    func glance(_ now: UInt64) -> UInt64 {
        if !wasHeard, session?.hasReceived == true, !isOld(now) { return startedAt + FirstByteReport.delay - now }
        return min(max((now - startedAt) / 2, 200_000_000), 1_000_000_000)
    }

    /// Notes that the peer has sent something; `true` the first time.
    func noteHeard() -> Bool {
        defer { wasHeard = true }
        return !wasHeard
    }

    /// Runs a part of the handshake, and adds the processor time that it takes to the handshake's.
    func metered<Result, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        let start = Clock.threadProcessorNanoseconds()
        defer { processorTime += Clock.threadProcessorNanoseconds() - start }
        return try body()
    }

    /// Gives up socket and keys, and says how it went.
    func end() -> HandshakeResult {
        var result =
            session?.result(elapsed: elapsed)
            ?? HandshakeResult(outcome: .failure(HandshakeFailure(.libraryFailure, "no session")))
        result.processorTime = .nanoseconds(Int64(clamping: processorTime))
        close()
        return result
    }

    /// Ends a handshake that could not even begin. A client's peer is told at once; a server's by the broker, when the
    /// peer has spoken.
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
        // The broker holds the same open file: closing the descriptor would not stop epoll.
        source?.cancel()
        if delays { TCPConnection(number).isUndelayed = false }
        socket.take()?.close()
    }
}
