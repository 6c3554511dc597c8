internal import CLinux
package import System

/// The sandbox of worker and signer. Afterwards the process can only compute, and use descriptors that it holds or
/// receives.
package enum Sandbox {
    /// Enters the sandbox permanently. All files must have been opened or read before.
    ///
    /// - Parameters:
    ///   - descriptors: descriptors to keep open besides 0, 1 and 2.
    ///   - user: user to change to, if the process was started by root.
    /// - Returns: Restrictions that this kernel lacks, for the log.
    /// - Throws: The step that failed. The process is then partially restricted and must exit.
    package static func enter(
        keeping descriptors: [Int32], as user: WorkerUser, for work: Work = .handshakes
    ) throws(SystemError) -> [String] {
        var lacking = try dropPrivileges(keeping: descriptors, as: user)

        // Last, because it forbids the calls above.
        if linux_has_seccomp() == 1 {
            try SystemCallFilter.load(SystemCallFilter.rules(for: work))
        } else {
            lacking.append("the kernel cannot filter system calls (CONFIG_SECCOMP_FILTER)")
        }
        return lacking
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
        keeping descriptors: [Int32], as user: WorkerUser
    ) throws(SystemError) -> [String] {
        var lacking: [String] = []
        try ResourceLimit.core.set(to: 0)
        ProcessHardening.lockMemory()
        try close(allBut: descriptors)
        try become(user, groups: user.supplementaryGroups(), &lacking)
        guard linux_forbid_dump() == 0 else { throw .last("prctl PR_SET_DUMPABLE") }
        guard linux_no_new_privileges() == 0 else { throw .last("prctl PR_SET_NO_NEW_PRIVS") }
        if try !Landlock.allowExecuting([]) { lacking.append("the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK)") }
        if linux_has_seccomp() == 1 {
            try SystemCallFilter.forbid(SystemCallFilter.neverForTokens, with: .eperm)
            try SystemCallFilter.forbid(SystemCallFilter.missingForTokens, with: .enosys)
        } else {
            lacking.append("the kernel cannot filter system calls (CONFIG_SECCOMP_FILTER)")
        }
        return lacking
    }

    /// Applies everything except the system call filter, which would prevent tests from checking the rest.
    package static func dropPrivileges(keeping descriptors: [Int32], as user: WorkerUser) throws(SystemError)
        -> [String]
    {
        var lacking: [String] = []

        // Limits first; nothing below raises them. No processes or threads, no core dump, no POSIX message queues, no
        // growing files.
        try ResourceLimit.processes.set(to: 0)
        try ResourceLimit.core.set(to: 0)
        try ResourceLimit.messageQueues.set(to: 0)
        try ResourceLimit.fileSize.set(to: roomForCrashMessage())

        // Locks all memory, so that keys and values derived from them are never swapped out, if the memory limit
        // allows.
        ProcessHardening.lockMemory()

        // Closes descriptors that a library has opened or that were inherited by mistake.
        try close(allBut: descriptors)

        try become(user, groups: [], &lacking)

        // Changing the user may have reset this flag (fs.suid_dumpable): no core dump, no ptrace, /proc/self owned by
        // root.
        guard linux_forbid_dump() == 0 else { throw .last("prctl PR_SET_DUMPABLE") }

        // No privileges from set-user-ID programs. A precondition of Landlock and seccomp.
        guard linux_no_new_privileges() == 0 else { throw .last("prctl PR_SET_NO_NEW_PRIVS") }

        // No file access by path, no TCP ports, no signals to other processes.
        if try !Landlock.denyEverything() { lacking.append("the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK)") }
        return lacking
    }

    private static func become(
        _ user: WorkerUser, groups: [UInt32], _ lacking: inout [String]
    ) throws(SystemError) {
        // First, because changing the bounding set requires CAP_SETPCAP, which is lost with the user.
        if ThisProcess.user == 0 {
            guard linux_limit_bounding(0) == 0 else { throw .last("prctl PR_CAPBSET_DROP") }
            guard unsafe linux_become(user.user, user.group, groups, groups.count) == 0 else {
                throw .last("setresuid", "to user \(user.user) and group \(user.group)")
            }
            if !user.isOwn {
                lacking.append("the user \(WorkerUser.name) is missing (systemd-sysusers); using nobody instead")
            }
        } else {
            lacking.append("tlshd was not started by root, workers run as the same user")
        }
        guard linux_clear_ambient() == 0 else { throw .last("prctl PR_CAP_AMBIENT_CLEAR_ALL") }
        guard linux_keep_capabilities(0) == 0 else { throw .last("capset") }
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
