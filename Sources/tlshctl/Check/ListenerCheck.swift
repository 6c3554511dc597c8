internal import Settings
internal import System
internal import Upcall

/// Whether tlshd runs, and who else listens for handshakes.
struct ListenerCheck {
    private(set) var findings: [Finding] = []

    init(_ settings: ListenerSettings) {
        checkNetlink()
        checkListener(settings)
    }

    private mutating func add(_ severity: Finding.Severity, _ text: String, remedy: String? = nil) {
        findings.append(Finding(.listeners, severity, text, remedy: remedy))
    }

    private mutating func checkNetlink() {
        let sockets: [RivalListener]
        do throws(UpcallError) {
            sockets = try ListenerCensus.netlink()
        } catch {
            switch error {
            case .familyMissing: return
            case .listenerMissing, .listenerTaken, .consumerGone, .system, .rejected, .malformed, .noReply:
                add(.unknown, "who listens for handshakes cannot be told: \(error.description)")
            }
            return
        }
        guard !sockets.isEmpty else {
            add(
                .failure, "nobody listens for handshakes, so that every one fails at once",
                remedy: "systemctl start tlshd.service")
            return
        }
        var processes: [Int32: ProcessTable.Holder] = [:]
        var unnamed = 0
        for socket in sockets {
            let guess = Int32(truncatingIfNeeded: socket.port)
            if let holder = ProcessTable.holder(ofSocket: socket.inode, guess: guess) {
                processes[holder.process] = holder
            } else {
                unnamed += 1
            }
        }
        report(processes.values.sorted { $0.process < $1.process }, unnamed: unnamed)
    }

    private mutating func report(_ holders: [ProcessTable.Holder], unnamed: Int) {
        let daemons = holders.filter { $0.name == "tlshd" }
        if let daemon = daemons.first {
            add(.good, "\(daemon.description) listens for handshakes")
        } else if unnamed > 0 {
            add(
                .unknown, "\(unnamed) sockets listen for handshakes, and /proc does not tell whose they are",
                remedy: "run this as root")
            return
        }
        let rivals = Array(daemons.dropFirst()) + holders.filter { $0.name != "tlshd" }
        for rival in rivals {
            let isAlone = daemons.isEmpty
            add(
                isAlone ? .failure : .warning,
                isAlone
                    ? "\(rival.description) listens for handshakes, and tlshd does not"
                    : "\(rival.description) listens for handshakes, too: those that it takes do not reach tlshd",
                remedy: "stop it\(isAlone ? ", and systemctl start tlshd.service" : "")")
        }
        if unnamed > 0 { add(.notice, "\(unnamed) more sockets listen, and /proc does not tell whose they are") }
    }

    private mutating func checkListener(_ settings: ListenerSettings) {
        let parameters = ListenerParameters(
            family: Int32(settings.family.value), level: Int32(settings.level.value))
        guard let holders = ListenerCensus.listener(parameters) else {
            add(.good, "this kernel has no AF_TLSH, which is usual")
            return
        }
        let others = holders.filter { !$0.hasPrefix("tlshd ") }
        if holders.isEmpty { add(.warning, "nobody has an AF_TLSH listener", remedy: "see the log of tlshd") }
        for other in others {
            add(.warning, "\(other) holds an AF_TLSH socket, so that tlshd cannot listen there", remedy: "stop it")
        }
        for own in holders where !others.contains(own) { add(.good, "\(own) listens on AF_TLSH") }
    }
}
