internal import CLinux
internal import Glibc
internal import Policy
package import System

/// The service manager that started us, if it requests notifications (sd_notify(3)).
package enum ServiceManager {
    /// Sends assignments, such as `READY=1` and `STATUS=…`, to the socket in NOTIFY_SOCKET. Line feeds are escaped,
    /// because text from peers could otherwise add assignments.
    ///
    /// - Parameter descriptor: descriptor to send, borrowed, for `FDSTORE=1` (sd_pid_notify_with_fds(3)).
    /// - Returns: `false` if NOTIFY_SOCKET is not set.
    @discardableResult
    package static func notify(_ assignments: [String], descriptor: Int32? = nil) throws(SystemError) -> Bool {
        guard let path = Environment.value(of: "NOTIFY_SOCKET") else { return false }
        guard path.hasPrefix("/") || path.hasPrefix("@") else {
            throw SystemError("NOTIFY_SOCKET", EAFNOSUPPORT, path)
        }
        let state = assignments.map(LogLine.printable).joined(separator: "\n")
        try UnixDatagram().send(Array(state.utf8), descriptors: descriptor.map { [$0] } ?? [], to: path)
        return true
    }

    /// Interval in nanoseconds within which `WATCHDOG=1` is expected (sd_watchdog_enabled(3)); `nil` if the watchdog is
    /// off.
    package static var watchdogInterval: UInt64? {
        guard let text = Environment.value(of: "WATCHDOG_USEC"), let microseconds = UInt64(text), microseconds > 0,
            microseconds < .max / 1000
        else { return nil }
        if let process = Environment.value(of: "WATCHDOG_PID"), Int32(process) != ThisProcess.identifier { return nil }
        return microseconds * 1000
    }

    /// Disables notifications, because another process is now the service.
    package static func disableNotifications() {
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { Environment.remove(name) }
    }

    /// Timestamp for `RELOADING=1`.
    package static var monotonicStamp: String { "MONOTONIC_USEC=\(Clock.monotonicNanoseconds() / 1000)" }
}

/// Descriptors that the service manager stored for us while we were not running, by FDNAME
/// (sd_listen_fds_with_names(3)). Those that are not taken are closed on deinit.
package final class KeptDescriptors {
    private var numbers: [String: Int32] = [:]

    /// Takes ownership of the descriptors passed to this process; a second call finds none. If several have the same
    /// name, the first is kept.
    ///
    /// - Parameter first: the lowest number, SD_LISTEN_FDS_START; another one in tests.
    package init(from first: Int32 = 3) {
        guard let process = Environment.value(of: "LISTEN_PID"), Int32(process) == ThisProcess.identifier,
            let count = Environment.value(of: "LISTEN_FDS").flatMap({ Int32($0) }), count > 0, count < 65_536
        else { return }
        let names = (Environment.value(of: "LISTEN_FDNAMES") ?? "").split(
            separator: ":", omittingEmptySubsequences: false)
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { Environment.remove(name) }
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

    /// Names of the descriptors that are left.
    package var names: [String] { numbers.keys.sorted() }

    /// The descriptor with this name, which the caller then owns; `nil` if there is none.
    package func take(_ name: String) -> OwnedDescriptor? {
        numbers.removeValue(forKey: name).map { OwnedDescriptor(adopting: $0) }
    }
}

/// A pipe by which a process learns that its replacement has taken over: the service manager stores the write end and
/// passes it to the replacement, which closes it. If the service is stopped, the manager closes it.
package final class HandoverPipe {
    private let reading: OwnedDescriptor

    /// Stores the write end with the service manager, under `name`.
    ///
    /// - Returns: `nil` if there is no service manager.
    package static func store(as name: String) throws(SystemError) -> HandoverPipe? {
        var ends: [Int32] = [-1, -1]
        // Setting close-on-exec later is not racy: the only thread starts no program in between.
        guard unsafe pipe(&ends) == 0 else { throw .last("pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let pipe = HandoverPipe(reading: OwnedDescriptor(adopting: ends[0]))
        let writing = OwnedDescriptor(adopting: ends[1])
        guard try DescriptorStore.put(writing.number, as: name) else { return nil }
        return pipe
    }

    private init(reading: consuming OwnedDescriptor) {
        self.reading = reading
    }

    /// The read end, which hangs up when the other end is closed everywhere; borrowed.
    package var number: Int32 { reading.number }

    /// True if the other end is open somewhere. Right after `store` this is so even if the manager is going to refuse
    /// it.
    package var isKept: Bool {
        var question = pollfd(fd: reading.number, events: 0, revents: 0)
        return unsafe poll(&question, 1, 0) == 0
    }
}

/// The service manager's descriptor store, which outlives us (FileDescriptorStoreMax= of systemd.service(5)).
package enum DescriptorStore {
    /// Stores a copy of `number` until `remove`, or until the service is stopped. It is kept even if it hangs up
    /// (FDPOLL=0).
    ///
    /// - Returns: `false` if there is no service manager.
    @discardableResult
    package static func put(_ number: Int32, as name: String) throws(SystemError) -> Bool {
        try ServiceManager.notify(["FDSTORE=1", "FDPOLL=0", "FDNAME=\(name)"], descriptor: number)
    }

    /// Removes all descriptors with this name.
    package static func remove(_ name: String) throws(SystemError) {
        try ServiceManager.notify(["FDSTOREREMOVE=1", "FDNAME=\(name)"])
    }
}

/// fork(2). The other threads only read files (`FileWork`); they do not exist in the child, which needs no lock that
/// they may hold.
package enum Fork {
    /// Result of the fork.
    package enum Side {
        case parent(child: Int32)
        case child
    }

    /// Forks. The child does not inherit the parent's children, locked memory and process keyring.
    package static func fork() throws(SystemError) -> Side {
        let number = linux_fork()
        guard number >= 0 else { throw .last("fork") }
        return number == 0 ? .child : .parent(child: number)
    }

    /// Exits without cleanup, so that resources shared with the child are not affected.
    package static func leave() -> Never { _exit(0) }
}
