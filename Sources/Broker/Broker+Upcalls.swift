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
    /// Opens every way in of the network namespace that the thread is in now.
    ///
    /// - Parameters:
    ///   - identity: that namespace.
    ///   - isHome: it is the one that tlshd was started in. Only there a listener that is taken is tried again.
    /// - Throws: why there is none; `.familyMissing` where the kernel has neither.
    func openHere(_ identity: NamespaceIdentity, isHome: Bool) throws(UpcallError) -> [any Upcall] {
        var ways: [any Upcall] = []
        var lack: UpcallError?
        do throws(UpcallError) {
            let upcall = try NetlinkUpcall(kept: inherited(NetlinkUpcall.storeName, identity))
            ways.append(upcall)
            if isHome, !tags.names.isEmpty, !upcall.takesTags {
                log.notice("this kernel takes no session tags; they stand in the log lines only")
            }
        } catch {
            guard case .familyMissing = error else { throw error }
            lack = error
        }
        ways += openListeners(identity, isHome: isHome)
        guard let lack else { return ways }
        guard !ways.isEmpty || !takenListeners.isEmpty else { throw lack }
        log.notice("only AF_TLSH is served: \(lack.description)")
        return ways
    }

    private func openListeners(_ identity: NamespaceIdentity, isHome: Bool) -> [any Upcall] {
        let settings = configuration.settings.listener
        let parameters = ListenerParameters(
            family: Int32(clamping: settings.family.value), level: Int32(clamping: settings.level.value))
        var listeners: [any Upcall] = []
        for family in ListenerFamily.allCases {
            do throws(UpcallError) {
                let kept = inherited(family.storeName, identity)
                listeners.append(try ListenerUpcall(family, parameters, kept: kept))
                log.debug("AF_TLSH is served for \(family.name)")
            } catch {
                switch error {
                case .listenerMissing:
                    log.debug(error.description)
                    return listeners
                case .listenerTaken:
                    log.error(error.description)
                    guard isHome else { continue }
                    takenListeners.append(
                        TakenListener(
                            family: family, parameters: parameters,
                            nextTry: Clock.monotonicNanoseconds() + TakenListener.firstDelay,
                            delay: TakenListener.firstDelay, complaint: error.description))
                case .familyMissing, .consumerGone, .system, .rejected, .malformed, .noReply:
                    log.error("AF_TLSH is not served for \(family.name): \(error.description)")
                }
            }
        }
        return listeners
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
            bequeath(upcall, namespaces.home)
            log.notice("AF_TLSH is served for \(taken.family.name) now")
            tell("STATUS=\(servingStatus)")
            drainAll()
        }
    }
}
