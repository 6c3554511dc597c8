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
            try poller.add(process.controlNumber, token: Token.signer(number).packed, interest: .read)
            try poller.add(process.child.number, token: Token.signerChild(number).packed, interest: .read)
            signer.process = process
        } catch {
            log.error("the signer cannot be started: \(error.description)", .signerNotStarted)
            _ = signer.free(now: now)
            return
        }
        order { process throws(WorkerFault) in
            try process.send(
                .setUp(
                    opensTokens: opensTokens,
                    libraryLogLevel: UInt8(clamping: self.configuration.settings.debug.tls.value)))
            for state in self.credentials.sorted(by: { $0.key < $1.key }).map(\.value) {
                for set in [state.inForce, state.candidate].compactMap({ $0 }) {
                    if let keys = set.keys {
                        try process.send(.load(keys), descriptors: set.keyDescriptors, keeper: set)
                    }
                }
            }
        }
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
        guard let keys = set.keys else { return distribute(set) }
        signer.isNeeded = true
        if set.usesTokens, signer.process?.opensTokens == false {
            // One that was started without tokens has shut itself off from them.
            replaceSigner("a key on a token is to be used")
        } else if signer.process == nil {
            startSigner(Clock.monotonicNanoseconds())
        } else {
            order { process throws(WorkerFault) in
                try process.send(.load(keys), descriptors: set.keyDescriptors, keeper: set)
            }
        }
    }

    /// Does something with the signer; a fault ends it. Watches for room in its queue where that was full.
    func order(_ body: (SignerProcess) throws(WorkerFault) -> Void) {
        guard let process = signer.process else { return }
        do {
            try body(process)
            let interest: Poller.Interest = process.isCongested ? [.read, .write] : .read
            guard process.interest != interest else { return }
            process.interest = interest
            try? poller.modify(process.controlNumber, token: Token.signer(process.number).packed, interest: interest)
        } catch {
            // Why it is gone, its pidfd tells.
            if case .gone = error { buryLater(process) } else { loseSigner(process, error.description) }
        }
    }

    func serveSigner(_ number: Int, writable: Bool) {
        guard let process = signer.process, process.number == number else { return }
        order { process throws(WorkerFault) in
            if writable, process.isCongested { try process.relieve() }
            while let report = try process.receive() { handle(report) }
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
        case .misbehaved(let worker, let text):
            let id = WorkerID(Int(worker))
            guard workers[id] != nil else { return }
            dismiss(id, "it broke the protocol towards the signer: \(text)")
        }
    }

    private func take(_ verdict: SignerVerdict) {
        guard let outcome = credentials[verdict.owner]?.judge(verdict) else { return }
        if let line = outcome.error { log.error(line, .credentialsRefused) }
        if let set = outcome.send { distribute(set) } else { dispatchWaiting() }
    }

    /// Its process has ended.
    func burySigner(_ number: Int) {
        guard let process = signer.process, process.number == number else { return reapSigners() }
        var text = "ended"
        do {
            guard let end = try process.child.reapIfEnded() else { return }
            text =
                end == .killed(signal: SIGSYS)
                ? "\(end.description), for a system call that its sandbox forbids" : end.description
        } catch {
            log.error(error.description)
        }
        loseSigner(process, text)
    }

    /// Kills a signer that has closed its channel; its end is told by its pidfd.
    private func buryLater(_ process: SignerProcess) {
        try? poller.remove(process.controlNumber)
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
        retire(process)
        let now = Clock.monotonicNanoseconds()
        let pause = signer.free(now: now)
        log.error(
            "the signer \(why); handshakes that need a private key fail until it is started again, in \(pause / 1_000_000) ms",
            .signerEnded)
        startSigner(now)
    }

    private func retire(_ process: SignerProcess) {
        try? poller.remove(process.controlNumber)
        try? process.child.signal(SIGKILL)
        signerGraves.append(process)
        reapSigners()
    }

    private func reapSigners() {
        signerGraves.removeAll { grave in
            do {
                guard try grave.child.reapIfEnded() != nil else { return false }
            } catch {
                // It has been waited for already.
            }
            try? poller.remove(grave.child.number)
            return true
        }
    }

    /// A worker got no answer: it gets a new channel as soon as the signer shows that it lives.
    func suspectSigner(_ worker: WorkerID) {
        guard signer.process?.isReady == true, signer.suspectedBy.insert(worker).inserted else { return }
        order { process throws(WorkerFault) in try process.send(.ping) }
    }

    /// What is due by the clock: a signer that owes an answer for too long is hung; keys that no handshake uses any more are released;
    /// tokens that were not there are looked for again.
    func tendSigner(_ now: UInt64) {
        if let process = signer.process, let since = process.owesSince, now > since + Self.signerPatience {
            loseSigner(process, "is killed: it did not answer for \(Self.signerPatience / 1_000_000_000) s")
        }
        let due = signer.outgoing.filter { $0.due <= now }
        signer.outgoing.removeAll { $0.due <= now }
        for entry in due {
            order { process throws(WorkerFault) in
                try process.send(.release(owner: entry.owner, generation: entry.generation))
            }
        }
        for owner in credentials.keys.sorted() where credentials[owner]?.shouldRetry(now) == true {
            refreshCredentials(owner, force: true)
        }
    }

    /// Has the signer forget keys that were replaced or refused, when handshakes that began with them are over.
    func release(_ set: CredentialSet?) {
        guard let keys = set?.keys else { return }
        signer.outgoing.append((Clock.monotonicNanoseconds() + Self.keyAfterlife, keys.owner, keys.generation))
    }

    /// How long the signer may take to open a role's keys; some tokens take seconds.
    private static let signerPatience: UInt64 = 20_000_000_000
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
