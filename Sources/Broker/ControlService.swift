internal import Control
internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import Unconfined
internal import Wire

/// The control socket, which answers `tlshctl`, and the data for its answers.
final class ControlService {
    private(set) var listener: ControlListener?
    private var listenerSource: BrokerSource?
    /// The settings of the last attempt to open the socket; `nil` if this process has no control socket.
    private(set) var settings: ControlSettings?
    /// Reason why the socket differs from the settings; empty if it does not.
    private(set) var problem = ""
    private(set) var clients: [Int: ControlClient] = [:]
    private var lastClient = 0
    private(set) var history = HandshakeHistory()
    /// Number of refused requests since the start, by reason.
    private(set) var refusals: [ControlRequest.Refusal: Int] = [:]
    /// Number of connections since the start that were closed after the timeout.
    private(set) var timeouts = 0
    private let startedAt: UInt64
    private let metricsFile = MetricsFile()
    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    /// Maximum number of concurrent connections.
    static let clientLimit = 16
    /// Timeout of a connection in nanoseconds.
    static let patience: UInt64 = 2_000_000_000
    /// Maximum number of connections to accept in one turn of the loop.
    static let acceptsPerTurn = 32

    init(_ broker: Broker) {
        self.broker = broker
        startedAt = broker.loop.now
    }

    func addSchedules(to loop: EventLoop) {
        loop.schedule({ [unowned self] in nextExpiry }) { [unowned self] now in expire(now) }
    }

    func note(_ line: LogLine, of request: HandshakeRequest, _ result: HandshakeResult) {
        history.add(HandshakeRecord(line, of: request, result, time: Self.now))
    }

    func note(_ refusal: ControlRequest.Refusal) { refusals[refusal, default: 0] += 1 }

    /// Time at which the next connection times out; `nil` for never.
    var nextExpiry: UInt64? { clients.values.map(\.deadline).min() }

    /// Closes connections that have timed out.
    func expire(_ now: UInt64) {
        for (number, client) in clients where client.deadline <= now {
            drop(number)
            timeouts += 1
        }
    }

    /// Closes a connection.
    func drop(_ number: Int) {
        clients.removeValue(forKey: number)?.source?.cancel()
    }

    func admit(_ socket: consuming OwnedDescriptor) -> (number: Int, client: ControlClient) {
        lastClient += 1
        let client = ControlClient(socket, until: broker.loop.now + Self.patience)
        clients[lastClient] = client
        return (lastClient, client)
    }

    /// Seconds since the start.
    var seconds: Int { Int((broker.loop.now - startedAt) / 1_000_000_000) }

    /// Seconds since 1970-01-01T00:00:00Z.
    static var now: Int { Int(Clock.unixTime()) }

    // MARK: The socket

    /// Opens the control socket if the settings name one. A failure does not affect the rest of the daemon.
    func open() {
        let settings = broker.configuration.settings.control
        self.settings = settings
        problem = ""
        guard let path = settings.socket else { return closeListener() }
        do throws(SystemError) {
            let listener = try ControlListener(path: path, settings)
            let source = try broker.loop.watch(listener.socket.number) { [unowned self] _ in accept() }
            closeListener()
            listenerSource = source
            self.listener = listener
        } catch {
            let state =
                listener == nil ? "tlshctl cannot connect to this daemon" : "the control socket stays as it was"
            problem = "\(state): \(error.description); remedy: [control] socket= and group=, then reload"
            log.error(problem)
        }
    }

    /// Applies changed settings. If `force`, a socket that could not be opened is tried again.
    func refresh(force: Bool) {
        guard let former = settings else { return }
        let wanted = broker.configuration.settings.control
        let isMissing = wanted.socket != nil && listener?.settings != wanted
        if wanted != former || (force && isMissing) { open() }
    }

    /// Closes the socket and all connections for good, because `tlshctl` must reach the replacement daemon.
    func close() {
        for number in clients.keys { drop(number) }
        settings = nil
        closeListener()
    }

    private func closeListener() {
        listenerSource?.cancel()
        listener = nil
    }

    /// Accepts pending connections. Those beyond the limit are refused.
    func accept() {
        guard let listener = listener else { return }
        do throws(SystemError) {
            for _ in 0..<Self.acceptsPerTurn {
                guard let socket = try listener.socket.accept() else { return }
                guard clients.count < Self.clientLimit else {
                    note(.busy)
                    _ = UnixStream.write(socket.number, Array(ControlRequest.Refusal.busy.line.utf8)[...])
                    continue
                }
                let (number, client) = admit(socket)
                client.source = try broker.loop.watch(client.number) { [unowned self] _ in serve(number) }
            }
        } catch {
            // With no descriptor left the listener would stay readable, and the loop would spin.
            closeListener()
            log.error("tlshctl cannot connect to this daemon any more: \(error.description); remedy: reload it")
        }
    }

    /// Continues with a connection that is ready.
    private func serve(_ number: Int) {
        guard let client = clients[number] else { return }
        let interest: Poller.Interest
        switch client.proceed(answer) {
        case .read: interest = .read
        case .write: interest = .write
        case .close: return drop(number)
        }
        do {
            try client.source?.watch(for: interest)
        } catch {
            drop(number)
        }
    }

    private func answer(_ request: Result<ControlRequest, ControlRequest.Refusal>) -> String {
        switch request {
        case .success(.status): return report().json
        case .success(.handshakes(let count)): return HandshakeRecord.document(history.newest(count))
        case .success(.metrics): return Metrics.text(report(), history)
        case .failure(let refusal):
            note(refusal)
            return refusal.line
        }
    }

    // MARK: Answers

    /// Writes the metrics into the file that the settings name, unless the replacement daemon does.
    func writeMetrics(_ now: UInt64) {
        guard !broker.lifecycle.isHandedOver else { return }
        let lines = metricsFile.refresh(path: broker.configuration.settings.metrics.textfile, now: now) {
            Metrics.text(report(), history, as: .prometheus)
        }
        for line in lines { log.report(line) }
    }

    /// The daemon's state, for `tlshctl status`.
    func report() -> ServiceReport {
        let now = broker.loop.now, pool = broker.pool, handshakes = broker.handshakes
        var report = ServiceReport(version: Version.text, seconds: seconds)
        report.settings = [broker.configuration.source.description] + broker.configuration.dropIns
        report.kernel.ciphers = broker.kernelTLS.ciphers.map { "\($0)" }.sorted()
        report.kernel.limitsTransmitPayload = broker.kernelTLS.limitsTransmitPayload
        report.namespaces = broker.upcalls.describe()
        report.credentials = broker.credentials.report(broker.reload.profiles)
        report.workers.ready = pool.places.count(where: \.isOpen)
        report.workers.places = pool.wanted
        report.workers.deaths = pool.deaths
        report.workers.replaced = pool.replacements
        report.workers.identities = pool.identitiesGiven
        report.workers.signerDeaths = broker.signers.reduce(0) { $0 + $1.deaths }
        report.workers.signers = broker.signers.filter { $0.process?.isReady == true }.map { "\($0.kind)" }
        let signers = broker.signers.map { (String($0.kind.name.dropFirst("the ".count)), $0.confinement) }
        report.confinement = ([("broker", broker.confinement), ("workers", pool.confinement)] + signers)
            .filter { !$0.1.layers.isEmpty || !$0.1.lacking.isEmpty }
            .map { ServiceReport.Confinement(process: $0, layers: $1.layers, lacking: $1.lacking) }
        if let next = pool.nextStart, next > now {
            report.workers.pauseMilliseconds = Int((next - now) / 1_000_000) + 1
        }
        report.inFlight = handshakes.table.count
        report.limits = Admission.Scope.allCases.map { bound in
            let cost = handshakes.admission.costs[bound]
            return ServiceReport.Limit(name: bound.rawValue, evicted: cost?.evicted ?? 0, refused: cost?.refused ?? 0)
        }
        let penalties = handshakes.penalties(now)
        report.penalties = penalties.current.prefix(32).map { ServiceReport.Penalty($0, now: now) }
        report.penaltyRefusals = penalties.refused
        report.linesDropped = log.dropped
        report.controlRefusals =
            ControlRequest.Refusal.allCases.map {
                ServiceReport.Refusal(reason: "\($0)", count: refusals[$0] ?? 0)
            } + [ServiceReport.Refusal(reason: "timeout", count: timeouts)]
        report.conclude(history, known: knownProblems, warnings: warnings, now: Self.now)
        return report
    }

    /// Remarks on the settings, their files and the files that they name. Without duplicates, because two roles can use
    /// the same file.
    private var warnings: [String] {
        var told = Set<String>()
        return (broker.reload.warnings + broker.credentials.warnings).filter { told.insert($0).inserted }
    }

    private var knownProblems: [ServiceReport.Problem] {
        let files = [
            broker.configuration.problem, broker.tags.problem, broker.keys.problem, problem, metricsFile.problem,
        ]
        return (broker.pool.startProblem.map { [ServiceReport.Problem($0, isFailure: true)] } ?? [])
            + (broker.upcalls.problems + files.filter { !$0.isEmpty }).map { ServiceReport.Problem($0) }
    }
}

/// A reference to a listener, because the broker may have none.
final class ControlListener {
    let socket: UnixListener
    let settings: ControlSettings

    init(path: String, _ settings: ControlSettings) throws(SystemError) {
        socket = try UnixListener(path: path, group: settings.group)
        self.settings = settings
    }
}

/// A connection from `tlshctl`: one request, one answer.
final class ControlClient {
    private let socket: OwnedDescriptor
    /// CLOCK_MONOTONIC nanoseconds.
    let deadline: UInt64
    private var question: [UInt8] = []
    private var answer: ArraySlice<UInt8>?
    private var isAtEnd = false
    var source: BrokerSource?

    init(_ socket: consuming OwnedDescriptor, until deadline: UInt64) {
        self.socket = socket
        self.deadline = deadline
    }

    var number: Int32 { socket.number }

    /// Next step of a connection.
    enum Step: Equatable {
        /// Wait for data.
        case read
        /// Wait for room.
        case write
        case close
    }

    /// Continues as far as possible without blocking.
    ///
    /// - Parameter reply: returns the answer to a request, or to a malformed one.
    func proceed(_ reply: (Result<ControlRequest, ControlRequest.Refusal>) -> String) -> Step {
        while answer == nil {
            // One more byte than the limit, to detect a request that is too long.
            let room = ControlRequest.limit + 1 - question.count
            switch UnixStream.read(number, into: &question, limit: room) {
            case .wouldBlock: return .read
            case .closed: isAtEnd = true
            case .moved: break
            }
            guard isAtEnd || question.count > ControlRequest.limit || question.contains(UInt8(ascii: "\n")) else {
                continue
            }
            guard !question.isEmpty else { return .close }
            let request = Result { () throws(ControlRequest.Refusal) in try ControlRequest(parsing: question) }
            answer = Array(reply(request).utf8)[...]
        }
        return send()
    }

    private func send() -> Step {
        while let rest = answer, !rest.isEmpty {
            switch UnixStream.write(number, rest) {
            case .wouldBlock: return .write
            case .closed: return .close
            case .moved(let count): answer = rest.dropFirst(count)
            }
        }
        return .close
    }
}

/// The metrics file for node_exporter, if the settings name one. An error is logged once and affects nothing else.
final class MetricsFile {
    /// Reason why it cannot be written; empty if it can.
    var problem: String { files.problem.isEmpty ? refusal : "\(files.problem); \(Self.consequence)" }
    private var refusal = ""
    private static let consequence = "figures are not written meanwhile"
    var files = FileWatch<String, SystemError?>()
    private var path: String?
    /// The file at the previous path, which is to be removed. The new file does not wait for that.
    private var leftover: String?
    var removal = FileWatch<String, Bool>()
    private var written = ""
    /// Text that is being written.
    private var text = ""
    private var nextLook: UInt64 = 0
    private var nextWrite: UInt64 = 0

    /// Minimum interval between two writes, in nanoseconds.
    static let pause: UInt64 = 5_000_000_000
    /// Maximum age of an unchanged file in nanoseconds, because its age shows whether the daemon is alive.
    static let period: UInt64 = 15_000_000_000

    /// Writes the metrics if they are due.
    ///
    /// - Parameters:
    ///   - path: path of the file; `nil` for none. A file at the previous path is removed.
    ///   - now: CLOCK_MONOTONIC nanoseconds.
    /// - Returns: New lines for the log.
    func refresh(path wanted: String?, now: UInt64, _ figures: () -> String) -> [FileNews] {
        let isMoved = wanted != path
        if isMoved { move(to: wanted) }
        removeLeftover()
        guard let path else { return [] }
        if isMoved || !files.isPending {
            guard nextLook <= now else { return [] }
            nextLook = now + Self.pause
            text = figures()
            guard text != written || nextWrite <= now else { return [] }
        }
        let text = text
        let answer = files.look(at: path) { _, progress -> SystemError? in
            progress.at(path)
            do throws(SystemError) {
                try ReplacedFile.write(Array(text.utf8), to: path, mode: 0o644)
                return nil
            } catch {
                return error
            }
        }
        let lines = [files.takeNews(Self.consequence)].compactMap(\.self)
        guard let answer else { return lines }
        return lines + settle(answer, now)
    }

    private func removeLeftover() {
        guard let leftover else { return }
        let isDone = removal.look(at: leftover) { _, progress in
            progress.at(leftover)
            ReplacedFile.remove(leftover)
            return true
        }
        if isDone != nil { self.leftover = nil }
    }

    private func settle(_ error: SystemError?, _ now: UInt64) -> [FileNews] {
        guard let error else {
            refusal = ""
            written = text
            nextWrite = now + Self.period
            return []
        }
        let former = refusal
        refusal = "figures cannot be written: \(error.description); remedy: \(Self.remedy(for: error.number))"
        return refusal == former ? [] : [FileNews(text: refusal, isError: true)]
    }

    private func move(to wanted: String?) {
        if let path, !written.isEmpty { leftover = path }
        if wanted == leftover { leftover = nil }
        // A pending write to the previous path is abandoned.
        if wanted == nil { files = FileWatch() }
        path = wanted
        refusal = ""
        written = ""
        nextLook = 0
        nextWrite = 0
    }

    private static func remedy(for number: Errno) -> String {
        switch number {
        case .enoent, .enotdir: "make the folder that [metrics] textfile= names"
        case .erofs:
            "allow the unit to write there, by ReadWritePaths= in a drop-in file as metrics.conf of the examples"
        case .eacces, .eperm: "give the folder that [metrics] textfile= names to root"
        default: "see [metrics] textfile="
        }
    }
}
