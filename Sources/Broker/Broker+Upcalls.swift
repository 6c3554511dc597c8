internal import Settings
internal import System
internal import Upcall

/// An AF_TLSH listener that another process keeps us from having, and when it is tried again.
struct TakenListener {
    let family: ListenerFamily
    let parameters: ListenerParameters
    /// CLOCK_MONOTONIC nanoseconds.
    var nextTry: UInt64
    var delay: UInt64
    /// What the log said of it last; said again when it changes.
    var complaint: String

    static let firstDelay: UInt64 = 1_000_000_000
    static let longestDelay: UInt64 = 60_000_000_000
}

extension Broker {
    /// Opens every way in that this kernel has.
    ///
    /// - Throws: `StartFailure` when it has none, naming the option.
    func openUpcalls() throws(StartFailure) {
        var lack: UpcallError?
        let netlink: NetlinkUpcall?
        do throws(UpcallError) {
            netlink = try NetlinkUpcall()
        } catch {
            guard case .familyMissing = error else { throw StartFailure(error.description) }
            netlink = nil
            lack = error
        }
        if let netlink { try add(netlink) }
        let hasListeners = try openListeners()
        guard let lack else { return }
        guard hasListeners else { throw StartFailure(lack.description) }
        log.notice("only AF_TLSH is served: \(lack.description)")
    }

    /// - Returns: whether the kernel has AF_TLSH.
    private func openListeners() throws(StartFailure) -> Bool {
        let settings = configuration.settings.listener
        let parameters = ListenerParameters(
            family: Int32(clamping: settings.family.value), level: Int32(clamping: settings.level.value))
        for family in ListenerFamily.allCases {
            let upcall: ListenerUpcall
            do throws(UpcallError) {
                upcall = try ListenerUpcall(family, parameters)
            } catch {
                switch error {
                case .listenerMissing:
                    log.debug(error.description)
                    return false
                case .listenerTaken:
                    log.error(error.description)
                    takenListeners.append(
                        TakenListener(
                            family: family, parameters: parameters,
                            nextTry: Clock.monotonicNanoseconds() + TakenListener.firstDelay,
                            delay: TakenListener.firstDelay, complaint: error.description))
                case .familyMissing, .consumerGone, .system, .rejected, .malformed, .noReply:
                    log.error("AF_TLSH is not served for \(family.name): \(error.description)")
                }
                continue
            }
            try add(upcall)
            log.info("AF_TLSH is served for \(family.name)")
        }
        return true
    }

    /// What the service manager shows.
    var servingStatus: String {
        (["Serving handshakes"] + takenListeners.map(\.complaint)).joined(separator: "; ")
    }

    /// Tries the listeners again that were taken, each less often from time to time.
    func retryListeners(_ now: UInt64) throws(StartFailure) {
        guard !isStopping else { return takenListeners = [] }
        for index in takenListeners.indices.reversed() where takenListeners[index].nextTry <= now {
            let taken = takenListeners[index]
            let upcall: ListenerUpcall
            do throws(UpcallError) {
                upcall = try ListenerUpcall(taken.family, taken.parameters)
            } catch {
                let delay = min(taken.delay * 2, TakenListener.longestDelay)
                takenListeners[index].delay = delay
                takenListeners[index].nextTry = now + delay
                guard error.description != taken.complaint else { continue }
                takenListeners[index].complaint = error.description
                log.error(error.description)
                tell("STATUS=\(servingStatus)")
                continue
            }
            takenListeners.remove(at: index)
            try add(upcall)
            log.notice("AF_TLSH is served for \(taken.family.name) now")
            tell("STATUS=\(servingStatus)")
            drain(upcall)
        }
    }

    /// Serves one way in from now on.
    func add(_ upcall: any Upcall) throws(StartFailure) {
        let token = Token.upcall(upcalls.count)
        upcalls.append(upcall)
        do {
            for number in upcall.descriptors { try poller.add(number, token: token.packed, interest: .read) }
        } catch {
            throw StartFailure(error.description)
        }
    }

    func drainAll() {
        for upcall in upcalls { drain(upcall) }
    }
}
