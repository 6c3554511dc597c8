internal import CLinux

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
