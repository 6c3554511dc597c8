internal import Glibc

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
