internal import Glibc

/// Who of our processes goes first where processors are short.
package enum ProcessPriority {
    /// How far the broker goes before others: it does little and often, and while it waits the kernel refuses requests
    /// (net/handshake/netlink.c keeps 3 to 50).
    private static let precedence: Int32 = -10

    /// Puts this process before others, where it may (CAP_SYS_NICE, or the unit's `Nice=`); without, all works as
    /// before.
    package static func raise() {
        guard current == 0 else { return }
        _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, precedence)
    }

    /// Puts this process among all others, whatever started it.
    package static func lower() {
        guard current < 0 else { return }
        _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 0)
    }

    private static var current: Int32 { getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0) }
}
