internal import Handshake
internal import Settings
internal import Unconfined
internal import Upcall

/// Checks that tlshd runs, and which other processes listen for handshakes.
struct ListenerCheck {
    private(set) var findings: [Finding] = []

    init(_ settings: ListenerSettings) {
        checkNetlink()
        checkListener(settings)
    }

    private mutating func add(_ severity: Status, _ text: String, remedy: String? = nil) {
        findings.append(Finding(.listeners, severity, text, remedy: remedy))
    }

    private mutating func checkNetlink() {
        let sockets: [RivalListener]
        do throws(UpcallError) {
            sockets = try Self.scan()
        } catch {
            switch error {
            case .familyMissing: return
            case .listenerMissing, .listenerTaken, .consumerGone, .system, .rejected, .malformed, .noReply:
                add(.unknown, "the listeners for handshakes cannot be determined: \(error.description)")
            }
            return
        }
        guard !sockets.isEmpty else {
            add(
                .failed, "no process listens for handshakes, so every handshake fails at once",
                remedy: "systemctl start tlshd.service")
            return
        }
        var processes: [Int32: ProcessTable.Holder] = [:]
        var unread: [Int32: UInt32] = [:]
        var unnamed = 0
        for socket in sockets {
            // systemd holds the sockets of tlshd as well.
            let holders = ProcessTable.holders(ofSocket: socket.inode)
            if let holder = holders.first(where: { $0.name == "tlshd" }) ?? holders.first {
                processes[holder.process] = holder
                unread[holder.process, default: 0] += socket.unread
            } else {
                unnamed += 1
            }
        }
        report(processes.values.sorted { $0.process < $1.process }, unread, unnamed: unnamed)
    }

    /// Sockets that listen for handshakes. If notifications are unread, it checks again, because a working daemon reads
    /// them almost immediately.
    private static func scan() throws(UpcallError) -> [RivalListener] {
        var sockets = try ListenerScan.netlink()
        for _ in 0..<5 where sockets.contains(where: { $0.unread > 0 }) {
            Terminal.pause(.milliseconds(200))
            sockets = try ListenerScan.netlink()
        }
        return sockets
    }

    private mutating func report(_ holders: [ProcessTable.Holder], _ unread: [Int32: UInt32], unnamed: Int) {
        let daemons = holders.filter { $0.name == "tlshd" }
        if let daemon = daemons.first {
            findings.append(
                Self.finding(
                    on: daemon, isStopped: ProcessTable.isStopped(daemon.process), unread: unread[daemon.process] ?? 0))
        } else if unnamed > 0 {
            add(
                .unknown,
                "\(unnamed.counted("socket listens", "sockets listen")) for handshakes, and /proc does not show by which process",
                remedy: "run this as root")
            return
        }
        let rivals = Array(daemons.dropFirst()) + holders.filter { $0.name != "tlshd" }
        for rival in rivals {
            let isAlone = daemons.isEmpty
            add(
                isAlone ? .failed : .warning,
                isAlone
                    ? "\(rival.description) listens for handshakes, and tlshd does not"
                    : "\(rival.description) also listens for handshakes: those that it accepts do not reach tlshd",
                remedy: "stop it\(isAlone ? ", and systemctl start tlshd.service" : "")")
        }
        if unnamed > 0 {
            add(
                .note,
                "\(unnamed.counted("more socket listens", "more sockets listen")), and /proc does not show by which process"
            )
        }
    }

    /// Reports if a tlshd process accepts requests.
    ///
    /// - Parameter unread: bytes of notifications that it has not read for a second.
    static func finding(on daemon: ProcessTable.Holder, isStopped: Bool, unread: UInt32) -> Finding {
        guard isStopped || unread > 0 else {
            return Finding(.listeners, .ok, "\(daemon.description) listens for handshakes")
        }
        let queue =
            unread > 0
            ? "requests wait for it, and the kernel refuses more than \(Kernel.pendingHandshakes) of them (EAGAIN)"
            : "requests will wait until their consumers give up"
        return isStopped
            ? Finding(
                .listeners, .failed, "\(daemon.description) is stopped: \(queue)",
                remedy: "kill -CONT \(daemon.process)")
            : Finding(
                .listeners, .failed, "\(daemon.description) does not accept requests: \(queue)",
                remedy: "systemctl restart tlshd.service; its log may have the reason")
    }

    /// A tlshd process that listens in this network namespace; `nil` if there is none or it cannot be determined.
    static var daemon: ProcessTable.Holder? {
        let sockets = (try? ListenerScan.netlink()) ?? []
        return sockets.lazy.flatMap { ProcessTable.holders(ofSocket: $0.inode) }.first { $0.name == "tlshd" }
    }

    /// Reason why an existing tlshd does not answer; `nil` if none is visible.
    static var obstacle: String? {
        ListenerCheck(ListenerSettings()).findings.first { $0.severity == .failed }?.line
    }

    private mutating func checkListener(_ settings: ListenerSettings) {
        let parameters = ListenerParameters(
            family: Int32(settings.family.value), level: Int32(settings.level.value))
        guard let holders = ListenerScan.listener(parameters) else {
            add(.ok, "this kernel has no AF_TLSH, which is usual")
            return
        }
        let others = holders.filter { !$0.hasPrefix("tlshd ") }
        if holders.isEmpty { add(.warning, "no process has an AF_TLSH listener", remedy: "see the log of tlshd") }
        for other in others {
            add(.warning, "\(other) holds an AF_TLSH socket, so that tlshd cannot listen there", remedy: "stop it")
        }
        for own in holders where !others.contains(own) { add(.ok, "\(own) listens on AF_TLSH") }
    }
}
