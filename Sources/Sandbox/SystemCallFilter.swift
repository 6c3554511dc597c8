internal import CSeccomp
internal import Glibc
internal import System

/// The system calls that a sandboxed worker or signer may make. Any other, and any argument that is not listed, kills
/// the process (SIGSYS).
enum SystemCallFilter {
    /// A call, and what its arguments must be: all of `conditions`.
    struct Rule {
        let call: String
        var conditions: [scmp_arg_cmp] = []
    }

    /// Installs the filter for this process, for good.
    static func load(_ rules: [Rule]) throws(SystemError) {
        // EPERM would do for most, but a process that tries is not ours any more.
        try install(rules, SCMP_ACT_ALLOW, otherwise: SCMP_ACT_KILL_PROCESS)
    }

    /// Has these calls fail with an errno, for good.
    static func forbid(_ rules: [Rule], with number: Int32) throws(SystemError) {
        // SCMP_ACT_ERRNO is a macro with an argument.
        try install(rules, 0x0005_0000 | UInt32(number), otherwise: SCMP_ACT_ALLOW)
    }

    private static func install(_ rules: [Rule], _ action: UInt32, otherwise: UInt32) throws(SystemError) {
        // A context of the library, ours until it is released.
        guard let context = unsafe seccomp_init(otherwise) else { throw SystemError("seccomp_init", ENOMEM) }
        defer { unsafe seccomp_release(context) }
        // Calls by another architecture's numbers (i386, x32).
        try check(unsafe seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "seccomp_attr_set")
        for rule in rules {
            let number = unsafe seccomp_syscall_resolve_name(rule.call)
            // A call that this architecture does not have, such as poll on arm64.
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
        let common = events + messages + files + memory + timeAndChance + lockAndEnd
        return switch work {
        case .handshakes: common + sockets
        case .signing: common
        }
    }

    /// What no token module has any business with: other programs, other processes, the kernel itself, keyrings. In a
    /// user namespace of its own it would have every capability.
    static let neverForTokens =
        callsNeverForTokens.map { Rule(call: $0) } + [
            Rule(call: "clone", conditions: [masked(0, newUserNamespace, newUserNamespace)])
        ]

    /// Its flags are in memory, where no filter sees them; the C library takes clone instead.
    static let missingForTokens = [Rule(call: "clone3")]

    private static let callsNeverForTokens = [
        "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "init_module",
        "finit_module", "delete_module", "kexec_load", "kexec_file_load", "bpf", "perf_event_open", "userfaultfd",
        "io_uring_setup", "mount", "fsopen", "open_tree", "move_mount",
        "umount2", "pivot_root", "chroot", "setns", "unshare", "add_key", "request_key",
        "keyctl", "reboot", "swapon", "swapoff", "open_by_handle_at",
    ]

    // MARK: The lists

    /// Waiting, for the broker's messages and for peers.
    private static let events = [
        Rule(call: "epoll_wait"), Rule(call: "epoll_pwait"), Rule(call: "epoll_ctl"),
        // The answer on the key channel, with a time limit.
        Rule(call: "poll"), Rule(call: "ppoll"),
        // What the kernel makes of poll after SIGSTOP and SIGCONT.
        Rule(call: "restart_syscall"),
    ]

    /// The channels to the broker: ControlMessage.swift. Flags are fixed, so that MSG_FASTOPEN cannot connect a socket.
    private static let messages = [
        Rule(call: "recvmsg", conditions: [equal(2, MSG_DONTWAIT.number | MSG_CMSG_CLOEXEC.number)]),
        Rule(call: "sendmsg", conditions: [equal(2, MSG_DONTWAIT.number | MSG_NOSIGNAL.number)]),
    ]

    /// Peers: RecordBoundedTransport.swift, ActiveHandshake.swift, CGnuTLS.c. No address, ever.
    private static let sockets =
        [
            Rule(call: "recvfrom", conditions: [equal(3, MSG_DONTWAIT.number), isNull(4)]),
            Rule(call: "recvfrom", conditions: [equal(3, MSG_DONTWAIT.number | MSG_PEEK.number), isNull(4)]),
            // The type of the record that kTLS holds.
            Rule(
                call: "recvmsg",
                conditions: [equal(2, MSG_DONTWAIT.number | MSG_CMSG_CLOEXEC.number | MSG_PEEK.number)]),
            Rule(call: "sendto", conditions: [equal(3, MSG_DONTWAIT.number | MSG_NOSIGNAL.number), isNull(4)]),
            Rule(call: "getsockopt", conditions: [equal(1, tcp), equal(2, tcpNoDelay)]),
            Rule(call: "setsockopt", conditions: [equal(1, tcp), equal(2, tcpNoDelay)]),
            Rule(call: "setsockopt", conditions: [equal(1, tcp), equal(2, tcpULP)]),
        ]
        + [tlsTransmit, tlsReceive, tlsPayloadLimit].map {
            Rule(call: "setsockopt", conditions: [equal(1, solTLS), equal(2, $0)])
        }

    /// Sealed copies of files, which come with messages: are they sealed, how long are they. Reading is by mmap.
    private static let files = [
        Rule(call: "close"),
        Rule(call: "fcntl", conditions: [equal(1, getSeals)]),
        Rule(call: "lseek"),
        // The runtime's last words, and the library's own log where it is asked for.
        Rule(call: "write", conditions: [equal(0, UInt64(STDERR_FILENO))]),
    ]

    /// Memory, never executable.
    private static let memory = [
        Rule(call: "mmap", conditions: [lacks(2, PROT_EXEC)]),
        Rule(call: "mprotect", conditions: [lacks(2, PROT_EXEC)]),
        Rule(call: "munmap"), Rule(call: "mremap"), Rule(call: "brk"), Rule(call: "madvise"),
        // Buffers of keys.
        Rule(call: "mlock2"),
    ]

    /// The clock, where the kernel's page in our memory does not do, and random numbers.
    private static let timeAndChance = [
        Rule(call: "clock_gettime"), Rule(call: "gettimeofday"), Rule(call: "time"),
        Rule(call: "getrandom"),
        // GnuTLS stirs its generators with them.
        Rule(call: "getpid"), Rule(call: "getrusage"),
    ]

    /// Locks of the C library, and how a process ends: by exit, or by abort(3), which signals itself.
    private static var lockAndEnd: [Rule] {
        let operations = [0, 1, 9, 10]  // FUTEX_WAIT, _WAKE, _WAIT_BITSET, _WAKE_BITSET
        return operations.map { Rule(call: "futex", conditions: [masked(1, 0x7F, UInt64($0))]) } + [
            Rule(call: "exit_group"), Rule(call: "exit"), Rule(call: "rt_sigreturn"), Rule(call: "rt_sigprocmask"),
            Rule(call: "rt_sigaction"), Rule(call: "gettid"),
            Rule(call: "tgkill", conditions: [equal(0, UInt64(getpid())), equal(2, UInt64(SIGABRT))]),
        ]
    }

    // MARK: Arguments

    // include/uapi/linux/tcp.h, include/uapi/linux/tls.h, include/uapi/linux/fcntl.h.
    private static let tcp: UInt64 = 6
    private static let tcpNoDelay: UInt64 = 1
    private static let tcpULP: UInt64 = 31
    private static let solTLS: UInt64 = 282
    private static let tlsTransmit: UInt64 = 1
    private static let tlsReceive: UInt64 = 2
    private static let tlsPayloadLimit: UInt64 = 5
    private static let getSeals: UInt64 = 1034
    // CLONE_NEWUSER, include/uapi/linux/sched.h.
    private static let newUserNamespace: UInt64 = 0x1000_0000

    /// An `int` argument: what is in the register's upper half is nobody's.
    private static func equal(_ argument: UInt32, _ value: UInt64) -> scmp_arg_cmp {
        masked(argument, 0xFFFF_FFFF, value)
    }

    private static func lacks(_ argument: UInt32, _ bits: Int32) -> scmp_arg_cmp {
        masked(argument, UInt64(bits), 0)
    }

    /// A pointer argument.
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
