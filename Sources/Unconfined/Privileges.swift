internal import CLinux
internal import Glibc
package import System
package import Wire

/// The capabilities that the privileged process keeps. docs/threat-model.md has the reason for each.
package enum Privileges {
    /// Numbers in include/uapi/linux/capability.h.
    package enum Capability: UInt64, CaseIterable, Sendable {
        /// Reading certificates and keys of users other than root.
        case readAnyFile = 2  // CAP_DAC_READ_SEARCH
        /// Killing a worker, which runs as another user.
        case kill = 5  // CAP_KILL
        /// Changing group and user of a worker, and its bounding set.
        case changeGroup = 6  // CAP_SETGID
        case changeUser = 7  // CAP_SETUID
        case shrinkBoundingSet = 8  // CAP_SETPCAP
        /// Binding AF_TLSH listener sockets, if the kernel has them.
        case listen = 10  // CAP_NET_BIND_SERVICE
        /// ACCEPT and DONE of the handshake family; loading kernel TLS by TCP_ULP; large send buffers to the workers.
        case handshakes = 12  // CAP_NET_ADMIN
        /// Opening the files of other network namespaces before they are mounted. Only if such namespaces are served.
        case openAnyFile = 1  // CAP_DAC_OVERRIDE
        /// Entering other network namespaces. Only if such namespaces are served.
        case enterNamespaces = 21  // CAP_SYS_ADMIN
        /// Changing the root directory of workers and the signer. The unit does not grant it.
        case changeRoot = 18  // CAP_SYS_CHROOT
        /// Reading the network namespace of processes. Only if the namespaces of processes are served.
        case seeProcesses = 19  // CAP_SYS_PTRACE
    }

    /// Network namespaces to serve, which determine the capabilities to keep.
    package enum Reach: Sendable {
        /// Only the namespace that tlshd was started in.
        case home
        /// Namespaces with a file, too.
        case named
        /// Namespaces of processes, too.
        case processes

        fileprivate var capabilities: [Capability] {
            let always: [Capability] = [
                .readAnyFile, .kill, .changeGroup, .changeUser, .shrinkBoundingSet, .listen, .handshakes, .changeRoot,
            ]
            return switch self {
            case .home: always
            case .named: always + [.openAnyFile, .enterNamespaces]
            case .processes: always + [.openAnyFile, .enterNamespaces, .seeProcesses]
            }
        }
    }

    /// Drops all other capabilities, also from the bounding set, the effect of set-user-ID programs, and the right to
    /// execute files other than `programs`. Does nothing if the process does not run as root, as in a developer's
    /// tests.
    ///
    /// With `.processes` the right to execute is kept: Landlock would also hide the namespaces of other processes.
    ///
    /// - Returns: The layers that hold, and those that could not be applied.
    package static func reduce(
        toExecuting programs: [String], serving reach: Reach
    ) throws(SystemError) -> Confinement {
        var confinement = Confinement()
        guard ThisProcess.user == 0 else { return confinement }
        let kept = reach.capabilities.reduce(UInt64(0)) { $0 | 1 << $1.rawValue }
        guard linux_limit_bounding(kept) == 0 else { throw .last("prctl PR_CAPBSET_DROP") }
        guard linux_clear_ambient() == 0 else { throw .last("prctl PR_CAP_AMBIENT_CLEAR_ALL") }
        // The service manager may have left fewer; a capability that is not permitted cannot be kept.
        let left = kept & linux_permitted_capabilities()
        guard linux_keep_capabilities(left) == 0 else { throw .last("capset") }
        confinement.has("\(left.nonzeroBitCount) capabilities")
        guard linux_no_new_privileges() == 0 else { throw .last("prctl PR_SET_NO_NEW_PRIVS") }
        confinement.has("no new privileges")
        if reach == .processes {
            confinement.lacks("other programs could be executed, since the namespaces of processes are to be served")
        } else if try Landlock.allowExecuting(programs + [Host.dynamicLinker()]) {
            confinement.has("Landlock ABI \(Landlock.version) (executing workers and signer only)")
        } else {
            confinement.lacks(
                "the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK), so that other programs could be executed")
        }
        confinement.note(label: ThisProcess.securityLabel)
        return confinement
    }

    /// Changes to user nobody permanently, without capabilities. For a tool that was started by root and parses data
    /// from the network. Does nothing if the process does not run as root.
    package static func becomeNobody() throws(SystemError) {
        guard ThisProcess.user == 0 else { return }
        // The kernel's overflow IDs, which are `nobody` on every distribution.
        guard unsafe linux_become(65_534, 65_534, [], 0) == 0 else { throw .last("setresuid", "to nobody") }
        guard linux_clear_ambient() == 0 else { throw .last("prctl PR_CAP_AMBIENT_CLEAR_ALL") }
        guard linux_keep_capabilities(0) == 0 else { throw .last("capset") }
        // Changing the user may have reset this flag (fs.suid_dumpable).
        guard linux_forbid_dump() == 0 else { throw .last("prctl PR_SET_DUMPABLE") }
        guard linux_no_new_privileges() == 0 else { throw .last("prctl PR_SET_NO_NEW_PRIVS") }
    }
}

/// Access to files by owner and mode alone, as it is for a service whose unit does not grant CAP_DAC_OVERRIDE and
/// CAP_DAC_READ_SEARCH.
package enum FilePermissions {
    private static let overriding: UInt64 =
        1 << Privileges.Capability.openAnyFile.rawValue | 1 << Privileges.Capability.readAnyFile.rawValue

    /// The file, or the folder above it, whose owner and mode do not let root read the file at `path` without these
    /// capabilities; `nil` if it can be read, if there is no such file, or if this process does not run as root.
    package static func obstacle(to path: String) -> String? {
        guard ThisProcess.user == 0 else { return nil }
        let folders = FolderListing.above(path).reversed()
        let resolved = CredentialsDirectory.resolve(path)
        guard linux_change_effective(overriding, 0) == 0 else { return nil }
        defer { _ = linux_change_effective(0, overriding) }
        let number = unsafe open(resolved, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        guard number < 0 else {
            close(number)
            return nil
        }
        guard Errno.last == .eacces else { return nil }
        // The name "." needs permission to search the folder.
        return folders.first { Self.error(of: $0 + "/.") == .eacces } ?? path
    }

    private static func error(of path: String) -> Errno? {
        do throws(SystemError) {
            _ = try FileIdentity(ofPath: path)
            return nil
        } catch {
            return error.number
        }
    }

    /// Returns `true` if `process` has one of these capabilities.
    package static func areOverridden(by process: Int32) -> Bool {
        let status = (try? ProcessTable.contents(of: "/proc/\(process)/status")) ?? []
        let line = status.split(separator: UInt8(ascii: "\n")).first { $0.starts(with: "CapEff:".utf8) } ?? []
        let digits = line.split(whereSeparator: { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") }).last ?? []
        return (UInt64(String(decoding: digits, as: UTF8.self), radix: 16) ?? 0) & overriding != 0
    }
}
