internal import CLinux
internal import Glibc

/// Hardening that every process of the daemon applies first.
package enum ProcessHardening {
    /// Forbids core dumps and ptrace by the same user, because memory contains keys. Raises the limit of open
    /// descriptors to its maximum: each handshake takes one, and a failing ACCEPT loses its request
    /// (net/handshake/netlink.c).
    ///
    /// - Returns: The limit of open descriptors now in force.
    @discardableResult
    package static func apply() throws(SystemError) -> Int {
        guard linux_forbid_dump() == 0 else { throw .last("prctl PR_SET_DUMPABLE") }
        try ResourceLimit.core.set(to: 0)
        let files = try ResourceLimit.openFiles.get().rlim_max
        try ResourceLimit.openFiles.set(to: files)
        return Int(clamping: files)
    }

    /// Locks all memory, now and later, if the limit allows it: with a limit, allocations that cannot be locked would
    /// fail.
    package static func lockMemory() {
        guard (try? ResourceLimit.lockedMemory.get())?.rlim_cur == rlim_t.max else { return }
        _ = mlockall(Int32(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
    }

    /// Ignores SIGPIPE. It reaches a process that only closes a socket, if kernel TLS has records left to send and the
    /// peer has reset the connection (`tls_sk_proto_close` in net/tls/tls_main.c).
    package static func ignoreBrokenPipes() { _ = signal(SIGPIPE, SIG_IGN) }
}

/// A limit of this process (getrlimit(2)).
package enum ResourceLimit: String {
    case core = "RLIMIT_CORE"
    case fileSize = "RLIMIT_FSIZE"
    case lockedMemory = "RLIMIT_MEMLOCK"
    case messageQueues = "RLIMIT_MSGQUEUE"
    case openFiles = "RLIMIT_NOFILE"
    case processes = "RLIMIT_NPROC"

    private var number: Int32 {
        let resource =
            switch self {
            case .core: RLIMIT_CORE
            case .fileSize: RLIMIT_FSIZE
            case .lockedMemory: __RLIMIT_MEMLOCK
            case .messageQueues: __RLIMIT_MSGQUEUE
            case .openFiles: RLIMIT_NOFILE
            case .processes: __RLIMIT_NPROC
            }
        return Int32(resource.rawValue)
    }

    /// Sets the limit, permanently unless the process may raise limits.
    package func set(to value: UInt) throws(SystemError) {
        var limit = rlimit(rlim_cur: value, rlim_max: value)
        guard unsafe setrlimit(number, &limit) == 0 else { throw .last("setrlimit", rawValue) }
    }

    fileprivate func get() throws(SystemError) -> rlimit {
        var limit = rlimit()
        guard unsafe getrlimit(number, &limit) == 0 else { throw .last("getrlimit", rawValue) }
        return limit
    }
}
