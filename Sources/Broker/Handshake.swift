internal import Handshake
internal import Keyrings
internal import Policy
internal import System
internal import Unconfined
internal import Upcall
internal import Wire

/// One handshake, or key update, from ACCEPT to DONE: what the kernel asked, where it stands, and what the broker needs
/// to answer it.
///
///     waiting ──> running ──> over
///        ^           │  └──> heldBack ──> over
///        └───────────┘ its worker ended before it began
///     waiting ──> over
///
/// `HandshakeTable.move` is the one function that changes the state. What is over is answered by `Handshakes.conclude`,
/// once; `AcceptedHandshake` stops a debug build that drops a request without an answer.
final class Handshake {
    enum State: Equatable {
        /// No worker runs it. What it is answered with should nothing come of it in time.
        case waiting(for: HandshakeFailure)
        case running(on: WorkerID)
        /// Its result is known and held back until then (CLOCK_MONOTONIC nanoseconds), for the setting that delays it.
        case heldBack(HandshakeResult, until: UInt64)
        /// It is no longer in the table: it is being answered.
        case over
    }

    /// Higher than those of all before.
    let id: UInt64
    let accepted: AcceptedHandshake
    let request: HandshakeRequest
    let upcall: any Upcall
    /// CLOCK_MONOTONIC nanoseconds at which the broker answers by itself, should the worker have said nothing.
    let backstop: UInt64
    fileprivate(set) var state = State.waiting(for: HandshakeFailure(.noWorkerReady))

    /// Whose credentials and keyrings; as long as none is chosen, none.
    var profile = ProfileTable.Choice(number: .standard, name: nil, keyrings: .only([]))
    /// The PSKs that it may end with, offered by us or looked up for the peer.
    var pskSerials: [[UInt8]: KeySerial] = [:]
    /// Whether the signer holds the key that the request named.
    var heldKey = false
    /// Seconds for which its secrets are kept; 0 for not at all.
    var keepFor: UInt32 = 0
    /// The worker that runs or ran it, and keeps its secrets.
    var worker: WorkerID?
    /// How many identities the worker has looked up.
    var lookups = 0
    /// What had been read and written when it was accepted; `nil` where that cannot be told.
    private let progress: StreamProgress?
    /// How many workers have ended before they began with it.
    private(set) var reruns = 0
    private static let mostReruns = 3

    init(
        _ id: UInt64, _ accepted: AcceptedHandshake, _ request: HandshakeRequest, from upcall: any Upcall,
        backstop: UInt64
    ) {
        self.id = id
        self.accepted = accepted
        self.request = request
        self.upcall = upcall
        self.backstop = backstop
        progress = accepted.stream.progress
    }

    /// When its consumer's patience ends for the worker; CLOCK_MONOTONIC nanoseconds.
    var deadline: UInt64 { accepted.acceptedAt + Clock.nanoseconds(of: request.allowance) }

    /// Whether its connection is brought to an end before the kernel is told of a failure. A client that no worker has
    /// run has sent nothing.
    var needsEnding: Bool { request.keyUpdate == nil && (request.role == .server || worker != nil) }

    /// The peer's address and name, for the log.
    var peer: PeerAddress { PeerAddress(socketAddress: accepted.peerAddress, name: request.peerName) }

    /// The peers that are counted together with this one.
    private(set) lazy var peers = PeerGroup(socketAddress: accepted.peerAddress)

    /// Whether another worker may run it after the first has ended: nothing was read from its socket or written to it.
    var canRunAgain: Bool {
        request.keyUpdate == nil && reruns < Self.mostReruns && progress != nil
            && accepted.stream.progress == progress
    }

    /// Forgets what belongs to the worker that has ended.
    func prepareRerun() {
        heldKey = false
        lookups = 0
        pskSerials = [:]
        worker = nil
        reruns += 1
    }

    /// What is believed of a worker's result: with a PSK no success but by one that it was given and that authenticated
    /// the peer. Without its serial an NVMe target of Linux 6.12 would take the queue for one that needs no TLS
    /// (drivers/nvme/target/tcp.c).
    func judge(_ result: HandshakeResult) -> HandshakeResult.Outcome {
        guard case .success(let session) = result.outcome, request.authentication == .preSharedKey,
            request.keyUpdate == nil, !session.peerAuthenticated || pskSerial(of: result) == nil
        else { return result.outcome }
        return .failure(HandshakeFailure(.libraryFailure, "the worker names no PSK that it was given"))
    }

    /// Turns a success into a failure where the connection has ended, or an alert has come, since the worker looked.
    /// The NFS client's kernel would use the dead socket and send on it without end (docs/kernel-faults.md).
    func checkConnection(_ outcome: HandshakeResult.Outcome) -> HandshakeResult.Outcome {
        guard case .success = outcome, request.keyUpdate == nil else { return outcome }
        let connection = accepted.stream
        let state = connection.state
        if state == .ended { return .failure(HandshakeFailure(.connectionReset, "right behind the handshake")) }
        // A client may have sent its request and closed; a server speaks when it is asked.
        guard request.role == .client else { return outcome }
        switch connection.waitingRecord {
        case .alert:
            return .failure(
                HandshakeFailure(.alertReceived, "the server ended the connection right behind the handshake"))
        case .data: return outcome
        case .other, nil:
            return state == .closedByPeer
                ? .failure(HandshakeFailure(.peerClosed, "right behind the handshake")) : outcome
        }
    }

    private func pskSerial(of result: HandshakeResult) -> KeySerial? {
        result.pskIdentity.flatMap { pskSerials[Array($0.utf8)] }
    }

    /// The serial that the kernel is told as the peer's identity (REMOTE_AUTH): the PSK's own; for a certificate the
    /// marker's.
    func remoteIdentity(for result: HandshakeResult, marker: KeySerial) -> KeySerial? {
        guard case .success(let session) = result.outcome, session.peerAuthenticated else { return nil }
        guard request.authentication == .preSharedKey else { return marker }
        return pskSerial(of: result)
    }
}

/// The handshakes that are accepted and not over. It holds the promise that each is ended exactly once, whatever the
/// order of events. It reads no clock and tells nobody.
struct HandshakeTable {
    /// A handshake that is over, and how.
    struct Ended {
        let handshake: Handshake
        let result: HandshakeResult
    }

    /// Why a worker's message about a handshake is refused; the worker has broken the protocol.
    enum Violation: Error, Equatable {
        case unknownHandshake(UInt64)
        case anothersHandshake(UInt64)
    }

    private var entries: [UInt64: Handshake] = [:]
    private var lastID: UInt64 = 0
    private var loads: [WorkerID: Int] = [:]

    var count: Int { entries.count }
    var isEmpty: Bool { entries.isEmpty }

    subscript(id: UInt64) -> Handshake? { entries[id] }

    /// All, oldest first.
    var all: [Handshake] { sorted { _ in true } }

    /// Those that wait for a worker, oldest first.
    var waiting: [Handshake] { sorted { if case .waiting = $0 { true } else { false } } }

    /// Those that a worker runs, oldest first.
    func running(on worker: WorkerID) -> [Handshake] { sorted { $0 == .running(on: worker) } }

    /// The worker of each that one runs.
    var runners: [UInt64: WorkerID] {
        entries.compactMapValues { if case .running(let worker) = $0.state { worker } else { nil } }
    }

    /// Thousands may be in the table and few of them wanted, so they are sorted last.
    private func sorted(where isWanted: (Handshake.State) -> Bool) -> [Handshake] {
        entries.values.filter { isWanted($0.state) }.sorted { $0.id < $1.id }
    }

    /// How many a worker runs.
    func load(of worker: WorkerID) -> Int { loads[worker, default: 0] }

    /// Takes a request in.
    ///
    /// - Parameter margin: how much longer than the worker the broker waits, in nanoseconds.
    mutating func accept(
        _ accepted: AcceptedHandshake, _ request: HandshakeRequest, from upcall: any Upcall, margin: UInt64 = 0
    ) -> Handshake {
        lastID += 1
        let backstop = accepted.acceptedAt + Clock.nanoseconds(of: request.allowance) + margin
        let handshake = Handshake(lastID, accepted, request, from: upcall, backstop: backstop)
        entries[lastID] = handshake
        return handshake
    }

    /// The one place where a handshake's state changes.
    private mutating func move(_ handshake: Handshake, to state: Handshake.State) {
        if case .running(let worker) = handshake.state { loads[worker, default: 1] -= 1 }
        if case .running(let worker) = state { loads[worker, default: 0] += 1 }
        if case .over = state { entries[handshake.id] = nil }
        handshake.state = state
    }

    /// Notes what a handshake waits for.
    mutating func note(_ handshake: Handshake, waitsFor lack: HandshakeFailure) {
        guard case .waiting = handshake.state else { return }
        move(handshake, to: .waiting(for: lack))
    }

    /// Notes that it was handed to a worker.
    mutating func dispatch(_ handshake: Handshake, to worker: WorkerID) {
        guard case .waiting = handshake.state else { return }
        move(handshake, to: .running(on: worker))
    }

    /// Has it wait again: its worker ended before it began with it.
    mutating func requeue(_ handshake: Handshake) {
        guard case .running = handshake.state else { return }
        move(handshake, to: .waiting(for: HandshakeFailure(.noWorkerReady)))
    }

    /// The handshake that a worker speaks about, if it runs it.
    func find(_ id: UInt64, runningOn worker: WorkerID) throws(Violation) -> Handshake {
        guard let handshake = entries[id] else { throw .unknownHandshake(id) }
        guard handshake.state == .running(on: worker) else { throw .anothersHandshake(id) }
        return handshake
    }

    /// A worker's result.
    ///
    /// - Parameter until: when it may be told, for the setting that delays it; `nil` for at once.
    /// - Returns: `nil` while it is held back.
    mutating func finish(
        _ id: UInt64, with result: HandshakeResult, from worker: WorkerID, heldBackUntil until: UInt64? = nil
    ) throws(Violation) -> Ended? {
        let handshake = try find(id, runningOn: worker)
        if let until {
            move(handshake, to: .heldBack(result, until: until))
            return nil
        }
        move(handshake, to: .over)
        return Ended(handshake: handshake, result: result)
    }

    /// Gives it up on the broker's own account; a result that is held back stands.
    ///
    /// - Returns: `nil` where it is over already.
    mutating func fail(_ handshake: Handshake, _ failure: HandshakeFailure) -> Ended? {
        switch handshake.state {
        case .over: return nil
        case .waiting, .running:
            move(handshake, to: .over)
            return Ended(handshake: handshake, result: HandshakeResult(outcome: .failure(failure)))
        case .heldBack(let result, _):
            move(handshake, to: .over)
            return Ended(handshake: handshake, result: result)
        }
    }

    /// A worker has ended: so have all that it ran.
    mutating func lose(_ worker: WorkerID, _ detail: String) -> [Ended] {
        defer { loads[worker] = nil }
        return running(on: worker).compactMap { fail($0, HandshakeFailure(.workerLost, detail)) }
    }

    /// What is due: results held back until then, and handshakes whose worker overran the backstop.
    mutating func due(at now: UInt64) -> (ended: [Ended], overrun: Set<WorkerID>) {
        var ended: [Ended] = []
        var overrun: Set<WorkerID> = []
        for handshake in all {
            switch handshake.state {
            case .heldBack(let result, let until) where until <= now:
                move(handshake, to: .over)
                ended.append(Ended(handshake: handshake, result: result))
            case .running(let worker) where handshake.backstop <= now:
                overrun.insert(worker)
                if let end = fail(handshake, HandshakeFailure(.deadlineExceeded, "the worker gave no answer")) {
                    ended.append(end)
                }
            case .waiting(let lack) where handshake.backstop <= now:
                if let end = fail(handshake, lack) { ended.append(end) }
            case .waiting, .running, .heldBack, .over: break
            }
        }
        return (ended, overrun)
    }

    /// The workers that run a handshake whose backstop is over.
    func overdueWorkers(at now: UInt64) -> Set<WorkerID> {
        var workers: Set<WorkerID> = []
        for handshake in entries.values where handshake.backstop <= now {
            if case .running(let worker) = handshake.state { workers.insert(worker) }
        }
        return workers
    }

    /// The next moment at which `due` has something; `nil` for never.
    var nextDue: UInt64? {
        entries.values.map { handshake in
            if case .heldBack(_, let until) = handshake.state { return until }
            return handshake.backstop
        }.min()
    }
}
