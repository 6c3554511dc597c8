internal import CLinux
internal import Glibc
internal import Handshake

/// The service manager that started us, if it wants to hear from us (sd_notify(3)).
package enum ServiceManager {
    /// Sends assignments, such as `READY=1` and `STATUS=…`, to the socket that NOTIFY_SOCKET names. Each is one line,
    /// whatever others have chosen of it: a line feed in it would be another assignment to the service manager.
    ///
    /// - Parameter descriptor: goes with it, borrowed, for `FDSTORE=1` (sd_pid_notify_with_fds(3)).
    /// - Returns: whether anybody was told: `false` without NOTIFY_SOCKET.
    @discardableResult
    package static func notify(_ assignments: [String], descriptor: Int32? = nil) throws(SystemError) -> Bool {
        guard let path = variable("NOTIFY_SOCKET") else { return false }
        guard path.hasPrefix("/") || path.hasPrefix("@") else {
            throw SystemError("NOTIFY_SOCKET", EAFNOSUPPORT, path)
        }
        let state = assignments.map(LogLine.printable).joined(separator: "\n")
        try UnixDatagram().send(Array(state.utf8), descriptors: descriptor.map { [$0] } ?? [], to: path)
        return true
    }

    /// Nanoseconds within which it wants to hear `WATCHDOG=1` each time (sd_watchdog_enabled(3)); `nil` where it does
    /// not.
    package static var watchdogInterval: UInt64? {
        guard let text = variable("WATCHDOG_USEC"), let microseconds = UInt64(text), microseconds > 0,
            microseconds < .max / 1000
        else { return nil }
        if let process = variable("WATCHDOG_PID"), Int32(process) != getpid() { return nil }
        return microseconds * 1000
    }

    /// Says nothing any longer: another process is the service from now on.
    package static func fallSilent() {
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { unsafe unsetenv(name) }
    }

    /// What `RELOADING=1` is to be sent with.
    package static var monotonicStamp: String { "MONOTONIC_USEC=\(Clock.monotonicNanoseconds() / 1000)" }

    fileprivate static func variable(_ name: String) -> String? {
        // Nothing changes the environment while this single thread reads.
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }
}

/// Descriptors that the service manager kept for us while we were not running, by the names that they were given to it
/// with (sd_listen_fds_with_names(3)). Those that nobody takes are closed when this object goes.
package final class KeptDescriptors {
    private var numbers: [String: Int32] = [:]

    /// Takes over what this process was started with; the second time there is nothing. Of several by one name it is
    /// the first.
    ///
    /// - Parameter first: the lowest number, SD_LISTEN_FDS_START; another one in tests.
    package init(from first: Int32 = 3) {
        guard let process = ServiceManager.variable("LISTEN_PID"), Int32(process) == getpid(),
            let count = ServiceManager.variable("LISTEN_FDS").flatMap({ Int32($0) }), count > 0, count < 65_536
        else { return }
        let names = (ServiceManager.variable("LISTEN_FDNAMES") ?? "").split(
            separator: ":", omittingEmptySubsequences: false)
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsafe unsetenv(name) }
        for number in first..<first + count {
            _ = fcntl(number, F_SETFD, FD_CLOEXEC)
            let index = Int(number - first)
            let name = index < names.count ? String(names[index]) : ""
            if name.isEmpty || numbers[name] != nil {
                _ = Glibc.close(number)
            } else {
                numbers[name] = number
            }
        }
    }

    deinit {
        for number in numbers.values { _ = Glibc.close(number) }
    }

    /// The names of those that are left.
    package var names: [String] { numbers.keys.sorted() }

    /// The one of that name, which is the caller's from now on; `nil` where there is none.
    package func take(_ name: String) -> OwnedDescriptor? {
        numbers.removeValue(forKey: name).map { OwnedDescriptor(adopting: $0) }
    }
}
