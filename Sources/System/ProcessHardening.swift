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
    ///
    /// - Returns: `false` if it is not locked.
    @discardableResult
    package static func lockMemory() -> Bool {
        guard (try? ResourceLimit.lockedMemory.get())?.rlim_cur == rlim_t.max else { return false }
        return mlockall(Int32(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) == 0
    }

    /// Ignores SIGPIPE. It reaches a process that only closes a socket, if kernel TLS has records left to send and the
    /// peer has reset the connection (`tls_sk_proto_close` in net/tls/tls_main.c).
    package static func ignoreBrokenPipes() { _ = signal(SIGPIPE, SIG_IGN) }
}

/// A limit of this process (getrlimit(2)).
package enum ResourceLimit: String {
    case core = "RLIMIT_CORE"
    /// Heap and private writable mappings, used or not.
    case data = "RLIMIT_DATA"
    case fileSize = "RLIMIT_FSIZE"
    case lockedMemory = "RLIMIT_MEMLOCK"
    case messageQueues = "RLIMIT_MSGQUEUE"
    case openFiles = "RLIMIT_NOFILE"
    case processes = "RLIMIT_NPROC"

    private var number: Int32 {
        let resource =
            switch self {
            case .core: RLIMIT_CORE
            case .data: RLIMIT_DATA
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

/// Landlock: a process drops its own access to files, TCP ports and other processes (landlock(7)).
package enum Landlock {
    // include/uapi/linux/landlock.h: number of file rights per ABI version, and LANDLOCK_ACCESS_FS_EXECUTE.
    private static let fileRights: [Int32: Int] = [1: 13, 2: 14, 3: 15, 4: 15, 5: 16]
    private static let execute: UInt64 = 1 << 0
    private static let firstWithNetwork: Int32 = 4
    private static let firstWithScopes: Int32 = 6

    /// ABI version of the running kernel; 0 if Landlock is missing or disabled at boot.
    package static var version: Int32 { max(0, linux_landlock_version()) }

    /// Permanently drops everything that this kernel's Landlock controls: file access by path, TCP bind and connect,
    /// signals to and abstract sockets of other processes. Open descriptors are not affected.
    ///
    /// - Returns: `false` if the kernel has no Landlock.
    package static func denyEverything() throws(SystemError) -> Bool {
        let version = version
        guard version > 0 else { return false }
        let known = fileRights[min(version, 5)] ?? 13
        // bind and connect over TCP; abstract unix sockets and signals.
        let network: UInt64 = version >= firstWithNetwork ? 3 : 0
        let scopes: UInt64 = version >= firstWithScopes ? 3 : 0
        let ruleset = try Ruleset((1 << UInt64(known)) - 1, network, scopes)
        try ruleset.restrict()
        return true
    }

    /// Drops the right to execute files except those given, for this process and its children. Mapping a library is not
    /// affected, nor is executing a memfd, which is in no mounted file system (memfd_create(2)).
    ///
    /// - Returns: `false` if the kernel has no Landlock.
    package static func allowExecuting(_ paths: [String]) throws(SystemError) -> Bool {
        guard version > 0 else { return false }
        let ruleset = try Ruleset(execute, 0, 0)
        for path in paths {
            guard unsafe linux_landlock_allow(ruleset.descriptor.number, path, execute) == 0 else {
                throw .last("landlock_add_rule", path)
            }
        }
        try ruleset.restrict()
        return true
    }

    private struct Ruleset: ~Copyable {
        let descriptor: OwnedDescriptor

        init(_ files: UInt64, _ network: UInt64, _ scopes: UInt64) throws(SystemError) {
            let number = linux_landlock_ruleset(files, network, scopes)
            guard number >= 0 else { throw .last("landlock_create_ruleset") }
            descriptor = OwnedDescriptor(adopting: number)
        }

        func restrict() throws(SystemError) {
            guard linux_landlock_restrict(descriptor.number) == 0 else { throw .last("landlock_restrict_self") }
        }
    }
}

/// Scheduling priority of our processes.
package enum ProcessPriority {
    /// Nice value of the broker. It needs little time but often, and while it waits for a processor the kernel refuses
    /// requests (net/handshake/netlink.c queues 3 to 50).
    private static let precedence: Int32 = -10

    /// Raises the priority of this process, if permitted (CAP_SYS_NICE, or `Nice=` of the unit). Failure is harmless.
    package static func raise() {
        guard current == 0 else { return }
        _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, precedence)
    }

    /// Resets a raised priority that was inherited from the parent.
    package static func lower() {
        guard current < 0 else { return }
        _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 0)
    }

    private static var current: Int32 { getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0) }
}

/// The calling process.
package enum ThisProcess {
    /// Process ID.
    package static var identifier: Int32 { getpid() }

    /// Effective user ID.
    package static var user: UInt32 { geteuid() }

    /// Label of this process in the host's security module, such as an AppArmor profile; `nil` if none confines it.
    package static var securityLabel: String? {
        let number = unsafe open("/proc/self/attr/current", O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { return nil }
        let file = OwnedDescriptor(adopting: number)
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = unsafe bytes.withUnsafeMutableBytes { raw in unsafe read(file.number, raw.baseAddress, raw.count) }
        let label = String(decoding: bytes.prefix(max(0, count)).prefix { $0 != 0 && $0 != 10 }, as: UTF8.self)
        // AppArmor: `unconfined` and `NAME (unconfined)`; SELinux: `USER:ROLE:unconfined_t:LEVEL`.
        let confinesNothing = label.split(separator: ":").contains { $0.hasPrefix("unconfined") }
        return label.isEmpty || confinesNothing || label.hasSuffix("(unconfined)") ? nil : label
    }

    /// Makes the folder of this process's descriptors in /proc its root directory (chroot(2)). It shows nothing that
    /// the process does not know, nobody can create a file in it, and it exists wherever /proc does.
    package static func leaveFileSystem() throws(SystemError) {
        guard unsafe linux_change_root("/proc/self/fdinfo") == 0 else { throw .last("chroot") }
    }

    /// Writes to standard error. Errors are ignored.
    package static func printError(_ text: String) {
        try? OwnedDescriptor.write(Array(text.utf8).span, to: STDERR_FILENO, "standard error")
    }

    /// exit(3).
    package static func exit(_ status: Int32) -> Never { Glibc.exit(status) }
}

/// Environment variables. None is removed while another thread could read one.
package enum Environment {
    /// Value of a variable; `nil` if it is not set.
    package static func value(of name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }

    /// Removes a variable.
    package static func remove(_ name: String) { _ = unsafe unsetenv(name) }
}
