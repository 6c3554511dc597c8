internal import Glibc
internal import Handshake
internal import System

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
                tell("RELOADING=1")
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

    /// First: takes what is queued, then no more, and lets the handshakes under way finish. Again: gives them up.
    private func stop() {
        guard isStopping else {
            tell("STOPPING=1\nSTATUS=Finishing \(table.count) handshakes")
            log.notice("stopping: no new requests, \(table.count) handshakes under way")
            drainAll()
            isStopping = true
            return
        }
        log.notice("stopping now: \(table.count) handshakes are given up")
        for job in jobs.keys.sorted() { giveUp(job) }
    }
}
