internal import CLinux
internal import CSeccomp
package import System
package import Wire

/// The sandbox of worker and signer. Afterwards the process can only compute, and use descriptors that it holds or
/// receives.
package enum Sandbox {
    /// Enters the sandbox permanently. All files must have been opened or read before.
    ///
    /// - Parameters:
    ///   - descriptors: descriptors to keep open besides 0, 1 and 2.
    ///   - user: user to change to, if the process was started by root.
    ///   - memoryLimit: maximum size of the process's data in bytes.
    /// - Returns: The layers that hold, and those that are missing here.
    /// - Throws: The step that failed. The process is then partially restricted and must exit.
    package static func enter(
        keeping descriptors: [Int32], as user: ConfinedUser, memoryLimit: UInt64, for work: Work = .handshakes
    ) throws(SystemError) -> Confinement {
        var confinement = try dropPrivileges(keeping: descriptors, as: user, memoryLimit: memoryLimit)

        // Last, because it forbids the calls above.
        if filtersSystemCalls(&confinement) { try SystemCallFilter.load(SystemCallFilter.rules(for: work)) }
        return confinement
    }

    /// Task of the process.
    package enum Work: Sendable {
        case handshakes
        /// Signing with keys from files: no sockets of peers.
        case signing
    }

    /// Sandbox of the signer if it uses tokens: their modules are chosen by the administrator and need files, devices,
    /// sockets or threads that cannot be listed here. The remaining restrictions: a user of its own with its groups in
    /// /etc/group, no capabilities, no core dump, no execution of programs, no access to other processes.
    package static func enterWithTokens(
        keeping descriptors: [Int32], as user: ConfinedUser, memoryLimit: UInt64
    ) throws(SystemError) -> Confinement {
        var confinement = Confinement()
        try ResourceLimit.core.set(to: 0)
        try limitMemory(to: memoryLimit, &confinement)
        try close(allBut: descriptors)
        try become(user, groups: user.supplementaryGroups(), &confinement)
        guard linux_forbid_dump() == 0 else { throw .last("prctl PR_SET_DUMPABLE") }
        try gainNoPrivileges(&confinement)
        if try Landlock.allowExecuting([]) {
            confinement.has("Landlock ABI \(Landlock.version) (executing nothing)")
        } else {
            confinement.lacks("the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK)")
        }
        confinement.lacks("the file system is within reach, because token modules need files")
        noteLabel(&confinement)
        if filtersSystemCalls(&confinement) {
            try SystemCallFilter.forbid(SystemCallFilter.neverForTokens, with: .eperm)
            try SystemCallFilter.forbid(SystemCallFilter.missingForTokens, with: .enosys)
        }
        return confinement
    }

    /// Applies everything except the system call filter, which would prevent tests from checking the rest.
    ///
    /// - Parameter hasLandlock: tests pass `false`, as on a kernel without Landlock.
    package static func dropPrivileges(
        keeping descriptors: [Int32], as user: ConfinedUser, memoryLimit: UInt64,
        hasLandlock: Bool = Landlock.version > 0
    ) throws(SystemError) -> Confinement {
        var confinement = Confinement()

        // Limits first; nothing below raises them. No processes or threads, no core dump, no POSIX message queues, no
        // growing files, and no more data than the process needs.
        try ResourceLimit.processes.set(to: 0)
        try ResourceLimit.core.set(to: 0)
        try ResourceLimit.messageQueues.set(to: 0)
        try ResourceLimit.fileSize.set(to: roomForCrashMessage())
        try limitMemory(to: memoryLimit, &confinement)

        // Closes descriptors that a library has opened or that were inherited by mistake.
        try close(allBut: descriptors)

        // The last look at a file, and then none is left to look at.
        noteLabel(&confinement)
        let root = leaveFileSystem()

        try become(user, groups: [], &confinement)

        // Changing the user may have reset this flag (fs.suid_dumpable): no core dump, no ptrace, /proc/self owned by
        // root.
        guard linux_forbid_dump() == 0 else { throw .last("prctl PR_SET_DUMPABLE") }

        // No privileges from set-user-ID programs. A precondition of Landlock and seccomp.
        try gainNoPrivileges(&confinement)

        // No file access by path, no TCP ports, no signals to other processes.
        if hasLandlock, try Landlock.denyEverything() {
            confinement.has("Landlock ABI \(Landlock.version)")
        } else {
            confinement.lacks("the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK)")
        }
        switch root {
        case nil: confinement.has("root directory without files")
        case .some(let error) where !hasLandlock:
            confinement.lacks("paths are within reach of system calls: \(error.description) (CAP_SYS_CHROOT)")
        default: break
        }
        return confinement
    }

    /// Locks all memory, so that keys and values derived from them are never swapped out, if RLIMIT_MEMLOCK allows; and
    /// limits it, so that a process that is made to allocate without end fails alone.
    private static func limitMemory(to limit: UInt64, _ confinement: inout Confinement) throws(SystemError) {
        if ProcessHardening.lockMemory() {
            confinement.has("memory locked")
        } else {
            confinement.lacks("memory is not locked, so that keys can be swapped out (RLIMIT_MEMLOCK)")
        }
        try ResourceLimit.data.set(to: UInt(clamping: limit))
        confinement.has("memory limit \(limit >> 20) MiB")
    }

    private static func gainNoPrivileges(_ confinement: inout Confinement) throws(SystemError) {
        guard linux_no_new_privileges() == 0 else { throw .last("prctl PR_SET_NO_NEW_PRIVS") }
        confinement.has("no new privileges")
    }

    private static func filtersSystemCalls(_ confinement: inout Confinement) -> Bool {
        guard linux_has_seccomp() == 1 else {
            confinement.lacks("the kernel cannot filter system calls (CONFIG_SECCOMP_FILTER)")
            return false
        }
        confinement.has("seccomp")
        return true
    }

    private static func noteLabel(_ confinement: inout Confinement) {
        confinement.note(label: ThisProcess.securityLabel)
    }

    /// - Returns: the error that prevented it, such as EPERM where the service manager grants no CAP_SYS_CHROOT.
    private static func leaveFileSystem() -> SystemError? {
        do throws(SystemError) {
            try ThisProcess.leaveFileSystem()
            return nil
        } catch {
            return error
        }
    }

    private static func become(
        _ user: ConfinedUser, groups: [UInt32], _ confinement: inout Confinement
    ) throws(SystemError) {
        // First, because changing the bounding set requires CAP_SETPCAP, which is lost with the user.
        if ThisProcess.user == 0 {
            guard linux_limit_bounding(0) == 0 else { throw .last("prctl PR_CAPBSET_DROP") }
            guard unsafe linux_become(user.user, user.group, groups, groups.count) == 0 else {
                throw .last("setresuid", "to user \(user.user) and group \(user.group)")
            }
            confinement.has("user \(user.name ?? "nobody")")
            if let remark = user.lacking { confinement.lacks(remark) }
        } else {
            confinement.lacks("tlshd was not started by root, workers run as the same user")
        }
        guard linux_clear_ambient() == 0 else { throw .last("prctl PR_CAP_AMBIENT_CLEAR_ALL") }
        guard linux_keep_capabilities(0) == 0 else { throw .last("capset") }
        confinement.has("no capabilities")
    }

    /// Size to which stderr may grow if it is a regular file: leaves room for the runtime's crash message. RLIMIT_FSIZE
    /// does not apply to sockets and pipes.
    private static func roomForCrashMessage() -> UInt {
        guard let file = try? FileIdentity(ofNumber: STDERR_FILENO), file.isRegularFile else { return 0 }
        return UInt(max(0, file.size)) + 65_536
    }

    private static func close(allBut descriptors: [Int32]) throws(SystemError) {
        var next: UInt32 = 3
        for number in Set(descriptors.map(UInt32.init)).sorted() where number >= next {
            if number > next { try close(next, number - 1) }
            next = number + 1
        }
        try close(next, .max)
    }

    private static func close(_ first: UInt32, _ last: UInt32) throws(SystemError) {
        guard linux_close_range(first, last) == 0 else { throw .last("close_range") }
    }
}

/// A user that workers or the signer run as. systemd/tlshd.sysusers creates both.
package struct ConfinedUser: Sendable, Equatable {
    package let user: UInt32
    package let group: UInt32
    /// The name in passwd(5); `nil` for the kernel's overflow IDs, which are `nobody` on every distribution.
    let name: String?
    /// Remark on a user that is not the one that was wanted.
    private(set) var lacking: String?

    /// The user of workers.
    package static let worker = "tlshd"
    /// The user of the signer, so that no worker has the rights of the process that holds the keys.
    package static let signer = "tlshd-signer"

    /// The first of these users that /etc/passwd has, else `nobody`. The file is parsed directly: name services would
    /// load code into this process, and may not be available yet.
    package static func find(_ names: [String]) -> ConfinedUser {
        do throws(SystemError) {
            let file = try SealedFile(copying: "/etc/passwd")
            return try SealedContents(of: file.descriptor).withSpan { find(names, in: $0) }
        } catch {
            return find(names, in: [UInt8]().span)
        }
    }

    static func find(_ names: [String], in passwd: Span<UInt8>) -> ConfinedUser {
        let text = String(decoding: passwd.indices.map { passwd[$0] }, as: UTF8.self)
        var found =
            names.lazy.compactMap { entry(of: $0, in: text) }.first
            ?? ConfinedUser(user: 65_534, group: 65_534, name: nil)
        if let wanted = names.first, found.name != wanted {
            found.lacking =
                "the user \(wanted) is missing (systemd-sysusers); using \(found.name ?? "nobody") instead"
        }
        return found
    }

    /// The entry of a user in passwd(5), if its IDs are unprivileged.
    private static func entry(of name: String, in text: String) -> ConfinedUser? {
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count >= 4, fields[0] == name else { continue }
            guard let user = UInt32(fields[2]), let group = UInt32(fields[3]), user != 0, group != 0, user != .max,
                group != .max
            else { return nil }
            return ConfinedUser(user: user, group: group, name: name)
        }
        return nil
    }

    /// Groups of this user in /etc/group, such as `tss` for access to the TPM.
    package func supplementaryGroups() -> [UInt32] {
        do throws(SystemError) {
            let file = try SealedFile(copying: "/etc/group")
            return try SealedContents(of: file.descriptor).withSpan { groups(in: $0) }
        } catch {
            return []
        }
    }

    /// IDs of the groups in group(5) that have this user as member. Group 0 is excluded.
    func groups(in file: Span<UInt8>) -> [UInt32] {
        guard let name else { return [] }
        let text = String(decoding: file.indices.map { file[$0] }, as: UTF8.self)
        return text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count == 4, fields[3].split(separator: ",").contains(Substring(name)) else { return nil }
            return UInt32(fields[2]).flatMap { $0 == 0 || $0 == .max ? nil : $0 }
        }
    }
}

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

    /// Channels to the broker: ProcessChannel.swift. The flags are fixed, so that MSG_FASTOPEN cannot connect a socket.
    private static let messages = [
        Rule(call: "recvmsg", conditions: [equal(2, MSG_DONTWAIT.number | MSG_CMSG_CLOEXEC.number)]),
        Rule(call: "sendmsg", conditions: [equal(2, MSG_DONTWAIT.number | MSG_NOSIGNAL.number)]),
    ]

    /// Sockets of peers: RecordBoundedTransport.swift, Worker.swift, CGnuTLS.c. Addresses are always NULL.
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
