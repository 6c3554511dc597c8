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
        /// Listening on AF_TLSH sockets, where the kernel has them.
        case listen = 10  // CAP_NET_BIND_SERVICE
        /// ACCEPT and DONE of the handshake family; loading the kernel's TLS by TCP_ULP; large queues to the workers.
        case handshakes = 12  // CAP_NET_ADMIN
        /// With other network namespaces to serve only: opening the files that stand for them before they are mounted.
        case openAnyFile = 1  // CAP_DAC_OVERRIDE
        /// With other network namespaces to serve only: entering them.
        case enterNamespaces = 21  // CAP_SYS_ADMIN
        /// With the namespaces of processes to serve only: seeing which they are in.
        case seeProcesses = 19  // CAP_SYS_PTRACE
    }

    /// Which network namespaces the daemon is to serve, and so what it must keep.
    package enum Reach: Sendable {
        /// The one that it was started in.
        case home
        /// Those that have a file.
        case named
        /// Those of processes, too.
        case processes

        fileprivate var capabilities: [Capability] {
            let always: [Capability] = [
                .readAnyFile, .kill, .changeGroup, .changeUser, .shrinkBoundingSet, .listen, .handshakes,
            ]
            return switch self {
            case .home: always
            case .named: always + [.openAnyFile, .enterNamespaces]
            case .processes: always + [.openAnyFile, .enterNamespaces, .seeProcesses]
            }
        }
    }

    /// Gives up every other capability, the bounding set included, and what set-user-id programs would give; and the
    /// right to execute any file but `programs`. Does nothing where the process is not root's, as in a developer's
    /// tests.
    ///
    /// With `.processes` the right to execute stays as it is: Landlock would hide other processes' namespaces with it.
    ///
    /// - Returns: what is lacking of it, for the log.
    package static func reduce(toExecuting programs: [String], serving reach: Reach) throws(SystemError) -> [String] {
        guard geteuid() == 0 else { return [] }
        let kept = reach.capabilities.reduce(UInt64(0)) { $0 | 1 << $1.rawValue }
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
        guard reach != .processes else {
            return ["other programs could be executed, since the namespaces of processes are to be served"]
        }
        guard try Landlock.allowExecuting(programs + dynamicLinkers()) else {
            return ["the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK), so that other programs could be executed"]
        }
        return []
    }

    /// Becomes nobody for good, without any capability and without a way to any: for a tool that was started by root
    /// and is about to read what strangers send. Does nothing where the process is not root's.
    package static func becomeNobody() throws(SystemError) {
        guard geteuid() == 0 else { return }
        // The kernel's overflow ids, `nobody` on every distribution.
        guard unsafe linux_become(65_534, 65_534, [], 0) == 0 else { throw .last("setresuid", "to nobody") }
        guard linux_clear_ambient() == 0 else { throw .last("prctl PR_CAP_AMBIENT_CLEAR_ALL") }
        guard linux_keep_capabilities(0) == 0 else { throw .last("capset") }
        // Changing the user may have undone it (fs.suid_dumpable).
        guard linux_forbid_dump() == 0 else { throw .last("prctl PR_SET_DUMPABLE") }
        guard linux_no_new_privileges() == 0 else { throw .last("prctl PR_SET_NO_NEW_PRIVS") }
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
