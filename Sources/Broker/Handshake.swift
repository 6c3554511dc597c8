internal import Handshake
internal import Keyrings
internal import Policy
internal import System
internal import Unconfined
internal import Upcall
internal import Wire

/// A handshake or key update from ACCEPT to DONE: the request, the state, and everything that the broker needs to
/// answer it.
///
///     waiting ──> running ──> over
///        ^           │  └──> heldBack, awaitingExit ──> over
///        └───────────┘ its worker ended before it began
///     waiting ──> over
///
/// `HandshakeTable.move` is the only function that changes the state. `Handshakes.conclude` answers each handshake once
/// after it is over; `AcceptedHandshake` stops a debug build that drops a request without an answer.
final class Handshake {
    enum State: Equatable {
        /// No worker runs it. The failure is its answer if that does not change in time.
        case waiting(for: HandshakeFailure)
        case running(on: WorkerID)
        /// The result is known and delayed until then (CLOCK_MONOTONIC nanoseconds), for `[debug]` only.
        case heldBack(HandshakeResult, until: UInt64)
        /// The result is known, and its worker, which ran nothing else, was killed. It may still hold the socket.
        case awaitingExit(HandshakeResult, of: WorkerID)
        /// It is no longer in the table and is being answered.
        case over
    }

    /// Higher than all earlier IDs.
    let id: UInt64
    let accepted: AcceptedHandshake
    let request: HandshakeRequest
    let upcall: any Upcall
    /// Time at which the broker answers itself if the worker has not reported a result; CLOCK_MONOTONIC nanoseconds.
    let backstop: UInt64
    fileprivate(set) var state = State.waiting(for: HandshakeFailure(.noWorkerReady))

    /// Profile with credentials and keyrings. Before it is chosen, no keyring is in scope.
    var profile = ProfileTable.Choice(number: .standard, name: nil, keyrings: .only([]))
    /// Serials of the PSKs that it may use, by identity: offered by us, or looked up for the peer.
    var pskSerials: [[UInt8]: KeySerial] = [:]
    /// Signers that have a permit for it.
    var permits: [SignerKind] = []
    /// Lifetime of its secrets in seconds; 0 if they are not kept.
    var keepFor: UInt32 = 0
    /// The worker that runs or ran it, and that keeps its secrets.
    var worker: WorkerID?
    /// Number of identities that the worker has looked up.
    var lookups = 0
    /// Bytes read from and written to the socket before ACCEPT; `nil` if unknown.
    private let progress: StreamProgress?
    /// Number of workers that ended before they began it.
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

    /// Deadline for the worker; CLOCK_MONOTONIC nanoseconds.
    var deadline: UInt64 { accepted.acceptedAt + Clock.nanoseconds(of: request.allowance) }

    /// Profile and role, whose credentials it uses.
    var owner: CredentialsOwner { CredentialsOwner(profile.number, request.role) }

    /// True if its connection must end before the kernel is told of a failure. A client that no worker has run has sent
    /// nothing.
    var needsEnding: Bool { request.keyUpdate == nil && (request.role == .server || worker != nil) }

    /// Address and name of the peer, for the log.
    var peer: PeerAddress { PeerAddress(socketAddress: accepted.peerAddress, name: request.peerName) }

    /// The group of peers that are counted together.
    private(set) lazy var peers = PeerGroup(socketAddress: accepted.peerAddress)

    /// True if another worker may run it: nothing was read from its socket or written to it.
    var canRunAgain: Bool {
        request.keyUpdate == nil && reruns < Self.mostReruns && progress != nil
            && accepted.stream.progress == progress
    }

    /// Resets the state that belongs to the ended worker.
    func prepareRerun() {
        permits = []
        lookups = 0
        pskSerials = [:]
        worker = nil
        reruns += 1
    }

    /// Checks a worker's result. A success with a PSK must use one of the PSKs that the worker was given and must
    /// authenticate the peer: without the serial, an NVMe target of Linux 6.12 would treat the queue as one that needs
    /// no TLS (drivers/nvme/target/tcp.c).
    func judge(_ result: HandshakeResult) -> HandshakeResult.Outcome {
        guard case .success(let session) = result.outcome, request.authentication == .preSharedKey,
            request.keyUpdate == nil, !session.peerAuthenticated || pskSerial(of: result) == nil
        else { return result.outcome }
        return .failure(HandshakeFailure(.libraryFailure, "the worker names no PSK that it was given"))
    }

    /// Turns a success into a failure if the connection has ended, or an alert has arrived, since the worker finished.
    /// The kernel's NFS client would send on the dead socket without end (docs/kernel-faults.md).
    func checkConnection(_ outcome: HandshakeResult.Outcome) -> HandshakeResult.Outcome {
        guard case .success = outcome, request.keyUpdate == nil else { return outcome }
        let connection = accepted.stream
        let state = connection.state
        if state == .ended { return .failure(HandshakeFailure(.connectionReset, "directly after the handshake")) }
        // A client may have sent its request and closed the connection; a server sends only replies.
        guard request.role == .client else { return outcome }
        switch connection.waitingRecord {
        case .alert:
            return .failure(
                HandshakeFailure(.alertReceived, "the server ended the connection directly after the handshake"))
        case .data: return outcome
        case .other, nil:
            return state == .closedByPeer
                ? .failure(HandshakeFailure(.peerClosed, "directly after the handshake")) : outcome
        }
    }

    /// Explains a handshake that its worker ended at the deadline.
    func explainTimeout(_ outcome: HandshakeResult.Outcome) -> HandshakeResult.Outcome {
        guard outcome == .failure(HandshakeFailure(.deadlineExceeded)), let delivery = accepted.stream.delivery else {
            return outcome
        }
        let isAnswered = request.role == .server || progress?.read != accepted.stream.progress?.read
        return .failure(delivery.explainTimeout(isAnswered: isAnswered))
    }

    private func pskSerial(of result: HandshakeResult) -> KeySerial? {
        result.pskIdentity.flatMap { pskSerials[Array($0.utf8)] }
    }

    /// The serial for the kernel as the peer's identity (REMOTE_AUTH): that of the PSK, or the marker for a
    /// certificate.
    func remoteIdentity(for result: HandshakeResult, marker: KeySerial) -> KeySerial? {
        guard case .success(let session) = result.outcome, session.peerAuthenticated else { return nil }
        guard request.authentication == .preSharedKey else { return marker }
        return pskSerial(of: result)
    }
}

/// The handshakes that are accepted and not over. Guarantees that each is ended exactly once in every order of events.
/// Reads no clock and sends nothing.
struct HandshakeTable {
    /// A handshake that is over, and its result.
    struct Ended {
        let handshake: Handshake
        let result: HandshakeResult
    }

    private var entries: [UInt64: Handshake] = [:]
    private var lastID: UInt64 = 0
    private var loads: [WorkerID: Int] = [:]

    var count: Int { entries.count }
    var isEmpty: Bool { entries.isEmpty }

    subscript(id: UInt64) -> Handshake? { entries[id] }

    /// All handshakes, oldest first.
    var all: [Handshake] { sorted { _ in true } }

    /// Handshakes that wait for a worker, oldest first.
    var waiting: [Handshake] { sorted { if case .waiting = $0 { true } else { false } } }

    /// Handshakes that a worker runs, oldest first.
    func running(on worker: WorkerID) -> [Handshake] { sorted { $0 == .running(on: worker) } }

    /// The worker of each running handshake, by ID.
    var runners: [UInt64: WorkerID] {
        entries.compactMapValues { if case .running(let worker) = $0.state { worker } else { nil } }
    }

    /// Filtered before sorting: the table may contain thousands of handshakes, of which few are wanted.
    private func sorted(where isWanted: (Handshake.State) -> Bool) -> [Handshake] {
        entries.values.filter { isWanted($0.state) }.sorted { $0.id < $1.id }
    }

    /// Number of handshakes that a worker runs.
    func load(of worker: WorkerID) -> Int { loads[worker, default: 0] }

    /// Adds a request.
    ///
    /// - Parameter margin: time after the worker's deadline until the broker answers itself, in nanoseconds.
    mutating func accept(
        _ accepted: AcceptedHandshake, _ request: HandshakeRequest, from upcall: any Upcall, margin: UInt64 = 0
    ) -> Handshake {
        lastID += 1
        let backstop = accepted.acceptedAt + Clock.nanoseconds(of: request.allowance) + margin
        let handshake = Handshake(lastID, accepted, request, from: upcall, backstop: backstop)
        entries[lastID] = handshake
        return handshake
    }

    /// The only function that changes the state of a handshake.
    private mutating func move(_ handshake: Handshake, to state: Handshake.State) {
        if case .running(let worker) = handshake.state {
            let load = loads[worker, default: 1] - 1
            loads[worker] = load > 0 ? load : nil
        }
        if case .running(let worker) = state { loads[worker, default: 0] += 1 }
        if case .over = state { entries[handshake.id] = nil }
        handshake.state = state
    }

    /// Records the failure that a waiting handshake would end with.
    mutating func note(_ handshake: Handshake, waitsFor lack: HandshakeFailure) {
        guard case .waiting = handshake.state else { return }
        move(handshake, to: .waiting(for: lack))
    }

    /// Records that a worker has the job.
    mutating func dispatch(_ handshake: Handshake, to worker: WorkerID) {
        guard case .waiting = handshake.state else { return }
        move(handshake, to: .running(on: worker))
    }

    /// Returns a handshake to the waiting ones, because its worker ended before it began.
    mutating func requeue(_ handshake: Handshake) {
        guard case .running = handshake.state else { return }
        move(handshake, to: .waiting(for: HandshakeFailure(.noWorkerReady)))
    }

    /// The handshake that a worker's message is about, if this worker runs it.
    ///
    /// - Parameter message: the message, with a preposition.
    func find(_ id: UInt64, runningOn worker: WorkerID, for message: String) throws(ChannelFault) -> Handshake {
        guard let handshake = entries[id], handshake.state == .running(on: worker) else {
            throw .brokeProtocol("\(message) a handshake that is not its own")
        }
        return handshake
    }

    /// Records a worker's result.
    ///
    /// - Parameters:
    ///   - until: time until which the answer is delayed, for `[debug]`; `nil` for no delay.
    ///   - awaitsExit: the answer is delayed until the worker has ended (`exited`).
    /// - Returns: `nil` if the answer is delayed.
    mutating func finish(
        _ id: UInt64, with result: HandshakeResult, from worker: WorkerID, heldBackUntil until: UInt64? = nil,
        awaitsExit: Bool = false
    ) throws(ChannelFault) -> Ended? {
        let handshake = try find(id, runningOn: worker, for: "a result for")
        if awaitsExit {
            move(handshake, to: .awaitingExit(result, of: worker))
            return nil
        }
        if let until {
            move(handshake, to: .heldBack(result, until: until))
            return nil
        }
        move(handshake, to: .over)
        return Ended(handshake: handshake, result: result)
    }

    /// Ends the handshake whose result awaited the end of this worker.
    ///
    /// - Parameter until: as of `finish`.
    mutating func exited(_ worker: WorkerID, heldBackUntil until: UInt64? = nil) -> Ended? {
        for handshake in entries.values {
            guard case .awaitingExit(let result, worker) = handshake.state else { continue }
            if let until {
                move(handshake, to: .heldBack(result, until: until))
                return nil
            }
            move(handshake, to: .over)
            return Ended(handshake: handshake, result: result)
        }
        return nil
    }

    /// Ends a handshake with a failure of the broker, or with its result if that is only delayed.
    ///
    /// - Returns: `nil` if it is over already.
    mutating func fail(_ handshake: Handshake, _ failure: HandshakeFailure) -> Ended? {
        switch handshake.state {
        case .over: return nil
        case .waiting, .running, .awaitingExit:
            move(handshake, to: .over)
            return Ended(handshake: handshake, result: HandshakeResult(outcome: .failure(failure)))
        case .heldBack(let result, _):
            move(handshake, to: .over)
            return Ended(handshake: handshake, result: result)
        }
    }

    /// Fails all handshakes of a worker that has ended.
    mutating func lose(_ worker: WorkerID, _ detail: String) -> [Ended] {
        defer { loads[worker] = nil }
        let itsOwn = sorted { state in
            switch state {
            case .running(worker), .awaitingExit(_, of: worker): true
            case .waiting, .running, .heldBack, .awaitingExit, .over: false
            }
        }
        return itsOwn.compactMap { fail($0, HandshakeFailure(.workerLost, detail)) }
    }

    /// Ends delayed results that are due, and handshakes whose backstop has passed.
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
            case .awaitingExit where handshake.backstop <= now:
                let failure = HandshakeFailure(.workerLost, "the worker was killed and does not end")
                if let end = fail(handshake, failure) { ended.append(end) }
            case .waiting, .running, .heldBack, .awaitingExit, .over: break
            }
        }
        return (ended, overrun)
    }

    /// Workers that run a handshake whose backstop has passed.
    func overdueWorkers(at now: UInt64) -> Set<WorkerID> {
        var workers: Set<WorkerID> = []
        for handshake in entries.values where handshake.backstop <= now {
            if case .running(let worker) = handshake.state { workers.insert(worker) }
        }
        return workers
    }

    /// Time of the next result of `due`; `nil` for never.
    var nextDue: UInt64? {
        entries.values.map { handshake in
            if case .heldBack(_, let until) = handshake.state { return until }
            return handshake.backstop
        }.min()
    }
}
