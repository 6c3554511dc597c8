internal import Glibc
internal import Handshake
internal import Settings
internal import System
internal import Wire

extension Broker {
    /// Starts the signer where one is needed and none runs.
    func startSigner(_ now: UInt64) {
        guard let number = signer.claim(now: now) else { return }
        let opensTokens = credentials.values.contains(where: \.usesTokens)
        do {
            let process = try SignerProcess(
                number: number, program: signerProgram, opensTokens: opensTokens,
                environment: WorkerProgram.signerEnvironment(opensTokens: opensTokens))
            signer.process = process
            process.controlSource = try loop.watch(process.controlNumber) { [unowned self] event in
                serveSigner(number, writable: event.isWritable)
            }
            process.childSource = try loop.watch(process.child.number) { [unowned self] _ in burySigner(number) }
        } catch {
            log.error("the signer cannot be started: \(error.description)", .signerNotStarted)
            if let process = signer.process { retire(process) }
            _ = signer.free(now: now)
            return
        }
        order { process throws(WorkerFault) in
            try process.send(
                .setUp(
                    opensTokens: opensTokens,
                    libraryLogLevel: UInt8(clamping: self.configuration.settings.debug.tls.value)))
        }
        for (_, state) in credentials.sorted(by: { $0.key < $1.key }) { state.setsForSigner.forEach(load) }
        signer.suspectedBy = []
        for id in workers.keys.sorted(by: { $0.number < $1.number }) { introduceToSigner(id) }
    }

    /// Makes the channel between a worker and the signer.
    func introduceToSigner(_ id: WorkerID) {
        guard workers[id] != nil, signer.process != nil else { return }
        var pair: MessageChannelPair
        do {
            pair = try MessageChannel.pair()
        } catch {
            return log.error("a worker gets no channel to the signer: \(error.description)")
        }
        let ends = ChannelEnds(pair.takeFirst(), pair.takeSecond())
        order { process throws(WorkerFault) in
            try process.send(.connect(worker: id.channelNumber), descriptors: [ends.signers], keeper: ends)
        }
        attempt(id) { worker throws(WorkerFault) in
            try worker.send(.signer, descriptors: [ends.workers], keeper: ends)
        }
    }

    /// Has the keys of a set loaded, or hands it on where it has none.
    func present(_ set: CredentialSet) {
        guard set.keys != nil else { return distribute(set) }
        signer.isNeeded = true
        if set.usesTokens, signer.process?.opensTokens == false {
            // One that was started without tokens has shut itself off from them.
            replaceSigner("a key on a token is to be used")
        } else if signer.process == nil {
            startSigner(Clock.monotonicNanoseconds())
        } else {
            load(set)
        }
    }

    /// Has the signer open a set's keys, where it has any.
    private func load(_ set: CredentialSet) {
        guard let keys = set.keys else { return }
        order { process throws(WorkerFault) in
            try process.send(.load(keys), descriptors: set.keyDescriptors, keeper: set)
        }
    }

    /// Does something with the signer; a fault ends it. Watches for room in its queue where that was full.
    func order(_ body: (SignerProcess) throws(WorkerFault) -> Void) {
        guard let process = signer.process else { return }
        do {
            try body(process)
            try? process.controlSource?.watch(for: process.isCongested ? [.read, .write] : .read)
        } catch {
            switch error {
            // Why it is gone, its pidfd tells.
            case .gone: buryLater(process)
            case .unsendable: log.error("the signer goes on without: \(error.description)")
            case .unresponsive, .brokeProtocol, .system: loseSigner(process, "is killed: \(error.description)")
            }
        }
    }

    func serveSigner(_ number: Int, writable: Bool) {
        guard let process = signer.process, process.number == number else { return }
        order { process throws(WorkerFault) in
            if writable, process.isCongested { try process.relieve() }
            for _ in 0..<Self.messagesPerTurn {
                guard let report = try process.receive() else { return }
                handle(report)
            }
        }
    }

    private func handle(_ report: SignerReport) {
        switch report {
        case .ready(let unconfined):
            if signerUnconfined != unconfined {
                signerUnconfined = unconfined
                if !unconfined.isEmpty {
                    log.notice("the signer is less confined than it could be: \(unconfined)", .lessConfined)
                }
            }
            dispatchWaiting()
        case .loaded(let verdict): take(verdict)
        case .alive:
            for worker in signer.suspectedBy.sorted(by: { $0.number < $1.number }) { introduceToSigner(worker) }
            signer.suspectedBy = []
            dispatchWaiting()
        case .misbehaved(let worker, let text):
            let id = WorkerID(Int(worker))
            guard workers[id] != nil else { return }
            dismiss(id, "it broke the protocol towards the signer: \(text)")
        }
    }

    private func take(_ verdict: SignerVerdict) {
        let outcome = credentials[verdict.owner]?.judge(verdict)
        if let line = outcome?.error { log.error(line, .credentialsRefused) }
        if let set = outcome?.send { distribute(set) }
        dispatchWaiting()
    }

    /// Its process has ended.
    func burySigner(_ number: Int) {
        guard let process = signer.process, process.number == number else { return reap() }
        guard let end = end(of: process.child) else { return }
        loseSigner(process, end.text)
    }

    /// Kills a signer that has closed its channel; its end is told by its pidfd.
    private func buryLater(_ process: SignerProcess) {
        process.controlSource?.cancel()
        try? process.child.signal(SIGKILL)
    }

    private func replaceSigner(_ why: String) {
        guard let process = signer.process else { return }
        log.info("the signer is started anew: \(why)")
        retire(process)
        signer.process = nil
        startSigner(Clock.monotonicNanoseconds())
    }

    /// Ends what is left of a signer, and says when the next comes.
    private func loseSigner(_ process: SignerProcess, _ why: String) {
        relayOutput(of: process, isLast: true)
        retire(process)
        let now = Clock.monotonicNanoseconds()
        let pause = signer.free(now: now)
        log.error(
            "the signer \(why); handshakes that need a private key wait until it is started again, in \(pause / 1_000_000) ms",
            .signerEnded)
        startSigner(now)
    }

    private func retire(_ process: SignerProcess) {
        process.controlSource?.cancel()
        try? process.child.signal(SIGKILL)
        signerGraves.append(process)
        reap()
    }

    /// Closes its channel, at which it ends.
    func endSigner() {
        guard let process = signer.process else { return }
        process.hangUp()
        signerGraves.append(process)
        signer.process = nil
    }

    /// A worker got no answer: it gets a new channel as soon as the signer shows that it lives.
    func suspectSigner(_ worker: WorkerID) {
        guard signer.process?.isReady == true, signer.suspectedBy.insert(worker).inserted else { return }
        order { process throws(WorkerFault) in try process.send(.ping) }
    }

    /// When `tendSigner` has something to do.
    var nextSignerCheck: UInt64? {
        let limit = signer.process.map { process in
            process.owesSince.map { $0 + patience(with: process) } ?? (process.heardAt + Self.signerSilence)
        }
        return ([limit] + signer.outgoing.map(\.due) + credentials.values.map(\.nextRetry)).compactMap(\.self).min()
    }

    private func patience(with process: SignerProcess) -> UInt64 {
        process.isOpening ? Self.openingPatience : Self.signerPatience
    }

    /// What is due by the clock: a signer that owes an answer for too long is hung, one that is silent is asked; keys
    /// that no handshake uses any more are released; tokens that were not there are looked for again.
    func tendSigner(_ now: UInt64) {
        if let process = signer.process {
            let patience = patience(with: process)
            if let since = process.owesSince {
                if now >= since + patience {
                    // The next would hang with the same keys, and serve no others meanwhile.
                    if let line = process.opening.flatMap({ credentials[$0.owner]?.setAside($0) }) {
                        log.error(line, .credentialsRefused)
                    }
                    loseSigner(process, "is killed: it did not answer for \(patience / 1_000_000_000) s")
                }
            } else if now >= process.heardAt + Self.signerSilence {
                order { process throws(WorkerFault) in try process.send(.ping) }
            }
        }
        let due = signer.outgoing.filter { $0.due <= now }
        signer.outgoing.removeAll { $0.due <= now }
        for entry in due {
            order { process throws(WorkerFault) in
                try process.send(.release(owner: entry.owner, generation: entry.generation))
            }
        }
        let overdue = credentials.keys.filter { (credentials[$0]?.nextRetry ?? .max) <= now }
        for owner in overdue.sorted() { refreshCredentials(owner, force: true) }
    }

    /// Has the signer forget keys that were replaced or refused, when handshakes that began with them are over.
    func release(_ set: CredentialSet?) {
        guard let keys = set?.keys else { return }
        signer.outgoing.append((Clock.monotonicNanoseconds() + Self.keyAfterlife, keys.owner, keys.generation))
    }

    /// How long the signer may take to open a role's keys; some tokens take seconds.
    private static let openingPatience: UInt64 = 20_000_000_000
    /// How long it may take to answer a ping, in nanoseconds: as long as workers wait for a signature.
    private static let signerPatience: UInt64 = 2_000_000_000
    /// Of one that was not heard of for so long, it is asked whether it lives: one that hangs is to be found before a
    /// handshake finds it.
    private static let signerSilence: UInt64 = 5_000_000_000
    /// Longer than any handshake may take, in nanoseconds.
    private static let keyAfterlife: UInt64 = 60_000_000_000
}

/// Both ends of a channel that others are to have: ours go when both have been sent.
final class ChannelEnds {
    private let first: MessageChannel
    private let second: MessageChannel

    init(_ first: consuming MessageChannel, _ second: consuming MessageChannel) {
        self.first = first
        self.second = second
    }

    var signers: Int32 { first.number }
    var workers: Int32 { second.number }
}
