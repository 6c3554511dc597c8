internal import CLinux
internal import CSeccomp
internal import System

/// The system calls that a sandboxed worker or signer may make. Any other call, or an argument that is not listed,
/// kills the process (SIGSYS).
enum SystemCallFilter {
    /// A system call, and conditions on its arguments, all of which must hold.
    struct Rule {
        let call: String
        var conditions: [scmp_arg_cmp] = []
    }

    /// Installs the filter permanently.
    static func load(_ rules: [Rule]) throws(SystemError) {
        // Kills instead of returning EPERM, because a process that makes another call must be assumed compromised.
        try install(rules, SCMP_ACT_ALLOW, otherwise: SCMP_ACT_KILL_PROCESS)
    }

    /// Makes these calls fail with an errno, permanently.
    static func forbid(_ rules: [Rule], with error: Errno) throws(SystemError) {
        // SCMP_ACT_ERRNO is a macro with an argument.
        try install(rules, 0x0005_0000 | UInt32(error.rawValue), otherwise: SCMP_ACT_ALLOW)
    }

    private static func install(_ rules: [Rule], _ action: UInt32, otherwise: UInt32) throws(SystemError) {
        // A libseccomp context, which we own until it is released.
        guard let context = unsafe seccomp_init(otherwise) else { throw SystemError("seccomp_init", .enomem) }
        defer { unsafe seccomp_release(context) }
        // Kills on calls with numbers of another architecture (i386, x32).
        try check(unsafe seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "seccomp_attr_set")
        for rule in rules {
            let number = unsafe seccomp_syscall_resolve_name(rule.call)
            // The call does not exist on this architecture, such as poll on arm64.
            guard number >= 0 else { continue }
            let code = unsafe rule.conditions.withUnsafeBufferPointer { conditions in
                unsafe seccomp_rule_add_array(
                    context, action, number, UInt32(conditions.count), conditions.baseAddress)
            }
            try check(code, "seccomp_rule_add of \(rule.call)")
        }
        try check(unsafe seccomp_load(context), "seccomp_load")
    }

    static func rules(for work: Sandbox.Work) -> [Rule] {
        let common = events + messages + files + memory + timeAndRandomness + lockAndEnd
        return switch work {
        case .handshakes: common + sockets
        case .signing: common
        }
    }

    /// Calls that no token module needs: executing programs, access to other processes, kernel administration,
    /// keyrings. In a user namespace of its own it would have all capabilities.
    static let neverForTokens =
        callsNeverForTokens.map { Rule(call: $0) } + [
            Rule(call: "clone", conditions: [masked(0, CLONE_NEWUSER.number, CLONE_NEWUSER.number)])
        ]

    /// The flags of clone3 are in memory, which a filter cannot read. The C library falls back to clone.
    static let missingForTokens = [Rule(call: "clone3")]

    private static let callsNeverForTokens = [
        "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "init_module",
        "finit_module", "delete_module", "kexec_load", "kexec_file_load", "bpf", "perf_event_open", "userfaultfd",
        "io_uring_setup", "mount", "fsopen", "open_tree", "move_mount",
        "umount2", "pivot_root", "chroot", "setns", "unshare", "add_key", "request_key",
        "keyctl", "reboot", "swapon", "swapoff", "open_by_handle_at",
    ]

    // MARK: The lists

    /// Waiting for the broker's messages and for peers.
    private static let events = [
        Rule(call: "epoll_wait"), Rule(call: "epoll_pwait"), Rule(call: "epoll_ctl"),
        // Waiting for the answer on the key channel, with a timeout.
        Rule(call: "poll"), Rule(call: "ppoll"),
        // The kernel restarts poll with this call after SIGSTOP and SIGCONT.
        Rule(call: "restart_syscall"),
    ]

    /// Channels to the broker: ControlMessage.swift. The flags are fixed, so that MSG_FASTOPEN cannot connect a socket.
    private static let messages = [
        Rule(call: "recvmsg", conditions: [equal(2, MSG_DONTWAIT.number | MSG_CMSG_CLOEXEC.number)]),
        Rule(call: "sendmsg", conditions: [equal(2, MSG_DONTWAIT.number | MSG_NOSIGNAL.number)]),
    ]

    /// Sockets of peers: RecordBoundedTransport.swift, ActiveHandshake.swift, CGnuTLS.c. Addresses are always NULL.
    private static let sockets =
        [
            Rule(call: "recvfrom", conditions: [equal(3, MSG_DONTWAIT.number), isNull(4)]),
            Rule(call: "recvfrom", conditions: [equal(3, MSG_DONTWAIT.number | MSG_PEEK.number), isNull(4)]),
            // Reads the type of the next record of kernel TLS.
            Rule(
                call: "recvmsg",
                conditions: [equal(2, MSG_DONTWAIT.number | MSG_CMSG_CLOEXEC.number | MSG_PEEK.number)]),
            Rule(call: "sendto", conditions: [equal(3, MSG_DONTWAIT.number | MSG_NOSIGNAL.number), isNull(4)]),
            Rule(call: "getsockopt", conditions: [equal(1, IPPROTO_TCP.number), equal(2, TCP_NODELAY.number)]),
            Rule(call: "setsockopt", conditions: [equal(1, IPPROTO_TCP.number), equal(2, TCP_NODELAY.number)]),
            Rule(call: "setsockopt", conditions: [equal(1, IPPROTO_TCP.number), equal(2, TCP_ULP.number)]),
        ]
        + [TLS_TX, TLS_RX, TLS_TX_MAX_PAYLOAD_LEN].map {
            Rule(call: "setsockopt", conditions: [equal(1, SOL_TLS.number), equal(2, $0.number)])
        }

    /// Sealed copies of files that come with messages: checks of seals and length. They are read by mmap.
    private static let files = [
        Rule(call: "close"),
        Rule(call: "fcntl", conditions: [equal(1, LINUX_GET_SEALS.number)]),
        Rule(call: "lseek"),
        // The runtime's crash message, and GnuTLS's own log if enabled.
        Rule(call: "write", conditions: [equal(0, UInt64(STDERR_FILENO))]),
    ]

    /// Memory that is never executable.
    private static let memory = [
        Rule(call: "mmap", conditions: [lacks(2, PROT_EXEC)]),
        Rule(call: "mprotect", conditions: [lacks(2, PROT_EXEC)]),
        Rule(call: "munmap"), Rule(call: "mremap"), Rule(call: "brk"), Rule(call: "madvise"),
        // Key buffers.
        Rule(call: "mlock2"),
    ]

    /// Clocks, for cases that the vDSO does not handle, and random numbers.
    private static let timeAndRandomness = [
        Rule(call: "clock_gettime"), Rule(call: "gettimeofday"), Rule(call: "time"),
        Rule(call: "getrandom"),
        // GnuTLS uses them to seed its random generators.
        Rule(call: "getpid"), Rule(call: "getrusage"),
    ]

    /// Locks of the C library, and the end of the process: by exit, or by abort(3), which signals itself.
    private static var lockAndEnd: [Rule] {
        let operations = [0, 1, 9, 10]  // FUTEX_WAIT, _WAKE, _WAIT_BITSET, _WAKE_BITSET
        return operations.map { Rule(call: "futex", conditions: [masked(1, 0x7F, UInt64($0))]) } + [
            Rule(call: "exit_group"), Rule(call: "exit"), Rule(call: "rt_sigreturn"), Rule(call: "rt_sigprocmask"),
            Rule(call: "rt_sigaction"), Rule(call: "gettid"),
            Rule(call: "tgkill", conditions: [equal(0, UInt64(ThisProcess.identifier)), equal(2, UInt64(SIGABRT))]),
        ]
    }

    // MARK: Arguments

    /// Condition on an `int` argument: the upper half of the register is ignored.
    private static func equal(_ argument: UInt32, _ value: UInt64) -> scmp_arg_cmp {
        masked(argument, 0xFFFF_FFFF, value)
    }

    private static func lacks(_ argument: UInt32, _ bits: Int32) -> scmp_arg_cmp {
        masked(argument, UInt64(bits), 0)
    }

    /// Condition on a pointer argument.
    private static func isNull(_ argument: UInt32) -> scmp_arg_cmp {
        scmp_arg_cmp(arg: argument, op: SCMP_CMP_EQ, datum_a: 0, datum_b: 0)
    }

    private static func masked(_ argument: UInt32, _ mask: UInt64, _ value: UInt64) -> scmp_arg_cmp {
        scmp_arg_cmp(arg: argument, op: SCMP_CMP_MASKED_EQ, datum_a: mask, datum_b: value)
    }

    private static func check(_ code: Int32, _ call: String) throws(SystemError) {
        guard code == 0 else { throw SystemError(call, -code) }
    }
}

extension RawRepresentable where RawValue: BinaryInteger {
    fileprivate var number: UInt64 { UInt64(rawValue) }
}

extension BinaryInteger {
    fileprivate var number: UInt64 { UInt64(self) }
}
