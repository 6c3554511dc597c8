internal import Control
internal import Handshake
internal import Settings
internal import System
internal import Upcall

extension Broker {
    /// Opens the control socket, where the settings want one. Without it everything else works.
    package func openControl() {
        let settings = configuration.settings.control
        control.settings = settings
        control.problem = ""
        guard let path = settings.socket else { return closeListener() }
        do throws(SystemError) {
            let listener = try ControlListener(path: path, settings)
            let source = try loop.watch(listener.socket.number) { [unowned self] _ in acceptControl() }
            closeListener()
            control.listenerSource = source
            control.listener = listener
        } catch {
            let state =
                control.listener == nil ? "tlshctl cannot ask this daemon" : "the control socket stays as it was"
            control.problem = "\(state): \(error.description); remedy: [control] socket= and group=, then reload"
            log.error(control.problem)
        }
    }

    /// Brings the control socket to changed settings; one that could not be opened is tried again where `force`.
    func refreshControl(force: Bool) {
        guard let former = control.settings else { return }
        let wanted = configuration.settings.control
        let isMissing = wanted.socket != nil && control.listener?.settings != wanted
        if wanted != former || (force && isMissing) { openControl() }
    }

    /// Leaves tlshctl to the successor, for good: a process that only finishes what it has answers no questions.
    func closeControl() {
        for number in control.clients.keys { control.drop(number) }
        control.settings = nil
        closeListener()
    }

    private func closeListener() {
        control.listenerSource?.cancel()
        control.listener = nil
    }

    /// Takes the connections that wait; those that are too many are told so.
    func acceptControl() {
        guard let listener = control.listener else { return }
        do throws(SystemError) {
            for _ in 0..<ControlService.acceptsPerTurn {
                guard let socket = try listener.socket.accept() else { return }
                guard control.clients.count < ControlService.clientLimit else {
                    control.note(.busy)
                    _ = UnixStream.write(socket.number, Array(ControlRequest.Refusal.busy.line.utf8)[...])
                    continue
                }
                let (number, client) = control.admit(socket)
                client.source = try loop.watch(client.number) { [unowned self] _ in serveControl(number) }
            }
        } catch {
            // Without descriptors the listener would stay readable, and the loop would spin.
            closeListener()
            log.error("tlshctl cannot ask this daemon any more: \(error.description); remedy: reload it")
        }
    }

    /// Goes on with a connection that is ready.
    func serveControl(_ number: Int) {
        guard let client = control.clients[number] else { return }
        let interest: Poller.Interest
        switch client.proceed(answer) {
        case .read: interest = .read
        case .write: interest = .write
        case .close: return control.drop(number)
        }
        do {
            try client.source?.watch(for: interest)
        } catch {
            control.drop(number)
        }
    }

    private func answer(_ request: Result<ControlRequest, ControlRequest.Refusal>) -> String {
        switch request {
        case .success(.status): return report().json
        case .success(.handshakes(let count)): return HandshakeRecord.document(control.history.newest(count))
        case .success(.metrics): return Metrics.text(report(), control.history)
        case .failure(let refusal):
            control.note(refusal)
            return refusal.line
        }
    }

    /// Writes the figures into the file that the settings want; a process that only finishes what it has leaves that to
    /// its successor.
    func writeMetrics(_ now: UInt64) {
        guard !isRemainder else { return }
        let lines = metricsFile.refresh(path: configuration.settings.metrics.textfile, now: now) {
            Metrics.text(report(), control.history, as: .prometheus)
        }
        for line in lines { log.tell(line) }
    }

    func report() -> ServiceReport {
        var report = ServiceReport(version: Version.text, seconds: control.seconds)
        report.settings = [configuration.source.description] + configuration.dropIns
        report.kernel.ciphers = kernelTLS.ciphers.map { "\($0)" }.sorted()
        report.kernel.limitsTransmitPayload = kernelTLS.limitsTransmitPayload
        report.namespaces = served.values.map(describe).sorted { $0.name < $1.name }
        report.credentials = describeCredentials()
        report.workers.ready = workers.values.filter(\.isReady).count
        report.workers.places = slots.count
        report.workers.deaths = deaths
        report.workers.signerDeaths = signer.deaths
        report.workers.unconfined = unconfined
        let now = Clock.monotonicNanoseconds()
        if let next = slots.nextStart, next > now {
            report.workers.pauseMilliseconds = Int((next - now) / 1_000_000) + 1
        }
        report.inFlight = table.count
        report.limits = Admission.Scope.allCases.map { bound in
            let cost = admission.costs[bound]
            return ServiceReport.Limit(name: bound.rawValue, evicted: cost?.evicted ?? 0, refused: cost?.refused ?? 0)
        }
        report.penalties = penalties.current(now).prefix(32).map { ServiceReport.Penalty($0, now: now) }
        report.penaltyRefusals = penalties.refused
        report.linesDropped = log.dropped
        report.controlRefusals =
            ControlRequest.Refusal.allCases.map {
                ServiceReport.Refusal(reason: "\($0)", count: control.refusals[$0] ?? 0)
            } + [ServiceReport.Refusal(reason: "timeout", count: control.timeouts)]
        report.conclude(control.history, known: knownProblems, warnings: warnings, now: ControlService.now)
        return report
    }

    private func describe(_ namespace: ServedNamespace) -> ServiceReport.Namespace {
        let transports = Set(namespace.ways.compactMap { ways[$0]?.upcall }.map { $0 is ListenerUpcall })
        return ServiceReport.Namespace(
            name: namespace.name?.description ?? "",
            transports: transports.map { $0 ? "AF_TLSH" : "netlink" }.sorted(), rivals: namespace.rivals.values.sorted()
        )
    }

    private func describeCredentials() -> [ServiceReport.Credentials] {
        profiles.entries.flatMap { entry in
            Role.allCases.compactMap { role in
                credentials[CredentialsOwner(entry.number, role)]?.report(profile: entry.name ?? "")
            }
        }
    }

    /// What should be changed in the settings, their files and those that they name. Two roles can have the same.
    private var warnings: [String] {
        let found =
            exposure.lines + configuration.complaints
            + credentials.keys.sorted().flatMap { credentials[$0]?.warnings ?? [] }
        var told = Set<String>()
        return found.filter { told.insert($0).inserted }
    }

    private var knownProblems: [ServiceReport.Problem] {
        (startProblem.map { [ServiceReport.Problem($0, isFailure: true)] } ?? [])
            + takenListeners.map { ServiceReport.Problem($0.complaint) }
            + namespaceProblems.values.sorted().map { ServiceReport.Problem("a namespace is not served: \($0)") }
            + (censusProblems + [
                configuration.problem, tags.problem, keys.problem, control.problem, metricsFile.problem,
            ]).filter { !$0.isEmpty }.map {
                ServiceReport.Problem($0)
            }
    }
}
