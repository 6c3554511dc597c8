internal import CLinux
internal import Glibc
package import System

/// The sandbox of worker and signer: after it the process can compute, and use the descriptors that it holds and is
/// sent, and nothing else.
package enum Sandbox {
    /// Enters it for good. Everything that needs a file must have been opened or read before.
    ///
    /// - Parameters:
    ///   - descriptors: what stays open besides 0, 1 and 2.
    ///   - user: whom to become, where the process was started by root.
    /// - Returns: what this kernel lacks of it, for the log; empty when nothing.
    /// - Throws: the step that failed. The process is half in then and must end.
    package static func enter(
        keeping descriptors: [Int32], as user: WorkerUser, for work: Work = .handshakes
    ) throws(SystemError) -> [String] {
        var lacking = try giveUpRights(keeping: descriptors, as: user)

        // Last, since it forbids all of the above.
        if linux_has_seccomp() == 1 {
            try SystemCallFilter.load(SystemCallFilter.rules(for: work))
        } else {
            lacking.append("the kernel cannot filter system calls (CONFIG_SECCOMP_FILTER)")
        }
        return lacking
    }

    /// What the process is there for.
    package enum Work: Sendable {
        case handshakes
        /// Signing with keys out of files: no sockets of peers.
        case signing
    }

    /// The signer's where it uses tokens: their modules are the administrator's programs and need files, devices,
    /// sockets or threads that nobody here can list. What stays: the own user with the groups that /etc/group gives it,
    /// no capabilities, no core dump, no program executed, no other process touched.
    package static func enterWithTokens(
        keeping descriptors: [Int32], as user: WorkerUser
    ) throws(SystemError) -> [String] {
        var lacking: [String] = []
        try limit(RLIMIT_CORE, "RLIMIT_CORE", to: 0)
        lockMemory()
        try close(allBut: descriptors)
        try become(user, groups: user.supplementaryGroups(), &lacking)
        guard linux_forbid_dump() == 0 else { throw .last("prctl PR_SET_DUMPABLE") }
        guard linux_no_new_privileges() == 0 else { throw .last("prctl PR_SET_NO_NEW_PRIVS") }
        if try !Landlock.allowExecuting([]) { lacking.append("the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK)") }
        if linux_has_seccomp() == 1 {
            try SystemCallFilter.forbid(SystemCallFilter.neverForTokens, with: EPERM)
            try SystemCallFilter.forbid(SystemCallFilter.missingForTokens, with: ENOSYS)
        } else {
            lacking.append("the kernel cannot filter system calls (CONFIG_SECCOMP_FILTER)")
        }
        return lacking
    }

    /// All of it but the filter of system calls, which would hide from tests whether the rest holds.
    package static func giveUpRights(keeping descriptors: [Int32], as user: WorkerUser) throws(SystemError) -> [String]
    {
        var lacking: [String] = []

        // Limits first: nothing below raises them again. No process or thread, no core dump, no POSIX queue, no file
        // that grows.
        try limit(__RLIMIT_NPROC, "RLIMIT_NPROC", to: 0)
        try limit(RLIMIT_CORE, "RLIMIT_CORE", to: 0)
        try limit(__RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE", to: 0)
        try limit(RLIMIT_FSIZE, "RLIMIT_FSIZE", to: roomForLastWords())

        // Keys and what the library made of them never reach a swap device, where no limit forbids to lock them.
        lockMemory()

        // Whatever a library has opened, or was inherited by mistake.
        try close(allBut: descriptors)

        try become(user, groups: [], &lacking)

        // Changing the user may have undone it (fs.suid_dumpable): no core dump, no debugger, /proc/self belongs to
        // root.
        guard linux_forbid_dump() == 0 else { throw .last("prctl PR_SET_DUMPABLE") }

        // No set-user-id program gives anything back. Landlock and seccomp both ask for it.
        guard linux_no_new_privileges() == 0 else { throw .last("prctl PR_SET_NO_NEW_PRIVS") }

        // No path, no port, no signal to others.
        if try !Landlock.denyEverything() { lacking.append("the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK)") }
        return lacking
    }

    private static func become(
        _ user: WorkerUser, groups: [UInt32], _ lacking: inout [String]
    ) throws(SystemError) {
        // While we may: the bounding set needs CAP_SETPCAP, which goes with the user.
        if geteuid() == 0 {
            try dropBoundingSet()
            guard unsafe linux_become(user.user, user.group, groups, groups.count) == 0 else {
                throw .last("setresuid", "to user \(user.user) and group \(user.group)")
            }
            if !user.isOwn {
                lacking.append("the user \(WorkerUser.name) is missing (systemd-sysusers), nobody is used instead")
            }
        } else {
            lacking.append("tlshd was not started by root, workers run as the same user")
        }
        guard linux_clear_ambient() == 0 else { throw .last("prctl PR_CAP_AMBIENT_CLEAR_ALL") }
        guard linux_keep_capabilities(0) == 0 else { throw .last("capset") }
    }

    /// Bytes that a log file behind stderr may still grow by, in case the runtime has last words. Sockets and pipes
    /// know no limit.
    private static func roomForLastWords() -> UInt {
        var status = stat()
        guard unsafe fstat(STDERR_FILENO, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return 0 }
        return UInt(max(0, status.st_size)) + 65_536
    }

    private static func limit(
        _ resource: __rlimit_resource, _ name: String, to value: UInt
    ) throws(SystemError) {
        var limit = rlimit(rlim_cur: value, rlim_max: value)
        guard unsafe setrlimit(Int32(resource.rawValue), &limit) == 0 else { throw .last("setrlimit \(name)") }
    }

    private static func lockMemory() {
        var limit = rlimit()
        // With a limit, memory that cannot be locked could not be had at all from then on.
        guard unsafe getrlimit(Int32(__RLIMIT_MEMLOCK.rawValue), &limit) == 0, limit.rlim_cur == rlim_t.max else {
            return
        }
        _ = mlockall(Int32(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
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

    private static func dropBoundingSet() throws(SystemError) {
        var capability: Int32 = 0
        while linux_drop_bounding(capability) == 0 { capability += 1 }
        // The first number behind the last capability is EINVAL.
        guard errno == EINVAL, capability > 0 else { throw .last("prctl PR_CAPBSET_DROP", "\(capability)") }
    }
}
