internal import Glibc
internal import Handshake
internal import System
internal import Wire

/// The signals that the daemon acts on.
enum Signals {
    static let reload: [Int32] = [SIGHUP, SIGUSR1]
    static let stop: [Int32] = [SIGTERM, SIGINT]
    static let handled = reload + stop
}

extension Broker {
    func handleSignals() {
        while let signal = nextSignal() {
            if Signals.reload.contains(signal) {
                tell("RELOADING=1", ServiceManager.monotonicStamp)
                log.notice("reading everything again")
                look(force: true)
                tell("READY=1")
            } else {
                stop()
            }
        }
    }

    private func nextSignal() -> Int32? {
        do {
            return try signals.next()
        } catch {
            log.error(error.description)
            return nil
        }
    }

    /// First: takes what is queued, then no more, and lets the handshakes under way finish for a moment. Again: gives
    /// them up.
    private func stop() {
        guard isStopping else {
            if isRemainder { return succeeded() }
            drainAll()
            if passOn() { return }
            tell("STOPPING=1", "STATUS=Finishing \(table.count) handshakes")
            log.notice("stopping: no new requests, \(table.count) handshakes under way")
            closeWays()
            isStopping = true
            patienceEnds = Clock.deadline(in: Self.patience)
            return
        }
        giveUpAll()
    }

    /// How long a handshake may go on once the daemon is to stop: one that is alive takes milliseconds.
    private static let patience = Duration.seconds(2)

    /// Ends what is still under way; consumers are told to try again.
    func giveUpAll() {
        patienceEnds = .max
        guard !table.isEmpty else { return }
        log.notice("stopping now: \(table.count) handshakes are given up")
        for job in jobs.keys.sorted() { cancel(job, .shuttingDown) }
    }
}
