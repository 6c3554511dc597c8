internal import CLinux
internal import Glibc

/// The rights that the privileged process keeps; docs/threat-model.md has them with a reason each.
package enum Privileges {
    /// By their numbers in include/uapi/linux/capability.h.
    package enum Capability: UInt64, CaseIterable, Sendable {
        /// Certificates and keys that belong to others than root.
        case readAnyFile = 2  // CAP_DAC_READ_SEARCH
        /// Ending a worker, which runs as another user.
        case kill = 5  // CAP_KILL
        /// A worker's way to its own group and user, and out of its bounding set.
        case changeGroup = 6  // CAP_SETGID
        case changeUser = 7  // CAP_SETUID
        case shrinkBoundingSet = 8  // CAP_SETPCAP
        /// ACCEPT and DONE of the handshake family; loading the kernel's TLS by TCP_ULP; large queues to the workers.
        case handshakes = 12  // CAP_NET_ADMIN
    }

    /// Gives up every other capability, the bounding set included, and what set-user-id programs would give; and the right to execute
    /// any file but `program`. Does nothing where the process is not root's, as in a developer's tests.
    ///
    /// - Returns: what this kernel lacks of it, for the log.
    package static func reduce(toExecuting program: String) throws(SystemError) -> [String] {
        guard geteuid() == 0 else { return [] }
        let kept = Capability.allCases.reduce(UInt64(0)) { $0 | 1 << $1.rawValue }
        var number: Int32 = 0
        while number < 64 {
            if kept & 1 << UInt64(number) == 0, linux_drop_bounding(number) != 0 {
                guard errno == EINVAL else { throw .last("prctl PR_CAPBSET_DROP", "\(number)") }
                break
            }
            number += 1
        }
        guard linux_clear_ambient() == 0 else { throw .last("prctl PR_CAP_AMBIENT_CLEAR_ALL") }
        // A service manager may have left fewer; what is not permitted cannot be kept.
        guard linux_keep_capabilities(kept & linux_permitted_capabilities()) == 0 else { throw .last("capset") }
        guard linux_no_new_privileges() == 0 else { throw .last("prctl PR_SET_NO_NEW_PRIVS") }
        guard try Landlock.allowExecuting([program] + dynamicLinkers()) else {
            return ["the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK), so that other programs could be executed"]
        }
        return []
    }

    /// The program that the kernel starts a program by (PT_INTERP); which one depends on the machine.
    private static func dynamicLinkers() -> [String] {
        [
            "/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib64/ld64.so.2",
            "/lib/ld-linux-riscv64-lp64d.so.1",
        ]
        .filter(Host.isExecutable)
    }
}
