internal import CLinux
internal import Glibc
package import System

/// A child process, from its start until it is reaped.
package struct ChildProcess: ~Copyable {
    package let identifier: Int32
    private let handle: OwnedDescriptor

    /// Exit status of a process.
    package enum End: Sendable, Equatable {
        case exited(status: Int32)
        case killed(signal: Int32)
        /// Unknown, because the status was reported to another process.
        case unknown

        /// True if the process died of a fault or of a forbidden system call.
        package var isFault: Bool {
            guard case .killed(let signal) = self else { return false }
            return [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS].contains(signal)
        }

        /// Such as `exited with status 1` or `was killed by signal 9`.
        package var description: String {
            switch self {
            case .exited(let status): "exited with status \(status)"
            case .killed(let signal): "was killed by signal \(signal)"
            case .unknown: "ended"
            }
        }
    }

    /// Starts the program at `path`. It gets /dev/null as descriptors 0 and 1, the given descriptors, our stderr as 2
    /// unless 2 is given, and no others. No signal is blocked or ignored in it.
    ///
    /// - Parameters:
    ///   - arguments: the complete argv, including the program name.
    ///   - environment: the complete environment as `NAME=value`.
    ///   - descriptors: the sources are duplicated and stay ours. Targets are 2 or more and unique.
    /// - Throws: `posix_spawn` with the path. Failures between fork and exec are reported too.
    package static func spawn(
        _ path: String, arguments: [String], environment: [String], descriptors: [(source: Int32, target: Int32)]
    ) throws(SystemError) -> ChildProcess {
        let highest = max(2, descriptors.map(\.target).max() ?? 2)
        precondition(descriptors.allSatisfy { $0.target >= 2 })
        precondition(Set(descriptors.map(\.target)).count == descriptors.count)
        // A source may have the number of another's target; a copy above all targets cannot. The object closes the
        // copies.
        let copies = ReceivedDescriptors()
        var plan: [(Int32, Int32)] = []
        for (source, target) in descriptors {
            let copy = try OwnedDescriptor.duplicate(source, from: highest + 1).release()
            copies.adopt([copy])
            plan.append((copy, target))
        }
        let process = try start(path, arguments, environment, plan, closingFrom: highest + 1)
        _ = copies
        let number = linux_pidfd_open(process)
        guard number >= 0 else {
            let error = SystemError.last("pidfd_open", "of process \(process)")
            Glibc.kill(process, SIGKILL)
            waitpid(process, nil, 0)
            throw error
        }
        return ChildProcess(identifier: process, handle: OwnedDescriptor(adopting: number))
    }

    private init(identifier: Int32, handle: consuming OwnedDescriptor) {
        self.identifier = identifier
        self.handle = handle
    }

    /// A pidfd that becomes readable when the process ends; borrowed.
    package var number: Int32 { handle.number }

    /// Sends a signal. Succeeds if the process has already ended.
    package func signal(_ signal: Int32) throws(SystemError) {
        guard linux_pidfd_send_signal(handle.number, signal) == 0 || errno == ESRCH else {
            throw .last("pidfd_send_signal", "to process \(identifier)")
        }
    }

    /// Waits for the end of the process and returns its status.
    package consuming func wait() throws(SystemError) -> End {
        guard let end = try reap(options: 0) else { throw SystemError("waitpid", ECHILD, "of process \(identifier)") }
        return end
    }

    /// Status of the process, or `nil` while it runs. Drop this value after it has returned a status.
    package func reapIfEnded() throws(SystemError) -> End? {
        try reap(options: WNOHANG)
    }

    private func reap(options: Int32) throws(SystemError) -> End? {
        var status: Int32 = 0
        let result = retrying { unsafe waitpid(identifier, &status, options) }
        // A process inherited from a parent that forked is not our child.
        if result < 0, errno == ECHILD { return hasEnded ? .unknown : nil }
        guard result >= 0 else { throw .last("waitpid", "of process \(identifier)") }
        guard result == identifier else { return nil }
        // WIFEXITED, WEXITSTATUS and WTERMSIG of wait(2).
        let signal = status & 0x7f
        return signal == 0 ? .exited(status: status >> 8 & 0xff) : .killed(signal: signal)
    }

    private var hasEnded: Bool {
        var question = pollfd(fd: handle.number, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&question, 1, 0) == 1
    }

    private static func start(
        _ path: String, _ arguments: [String], _ environment: [String], _ plan: [(Int32, Int32)],
        closingFrom lowest: Int32
    ) throws(SystemError) -> Int32 {
        var actions = unsafe posix_spawn_file_actions_t()
        try check(unsafe posix_spawn_file_actions_init(&actions), path)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        for target in [STDIN_FILENO, STDOUT_FILENO] {
            try check(unsafe posix_spawn_file_actions_addopen(&actions, target, "/dev/null", O_RDWR, 0), path)
        }
        // glibc ignores numbers that are not open (posix_spawn_file_actions_addclose(3)).
        for number in 3..<lowest { try check(unsafe posix_spawn_file_actions_addclose(&actions, number), path) }
        for (copy, target) in plan { try check(unsafe posix_spawn_file_actions_adddup2(&actions, copy, target), path) }
        try check(unsafe linux_spawn_close_from(&actions, lowest), path)

        var attributes = posix_spawnattr_t()
        try check(unsafe posix_spawnattr_init(&attributes), path)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        try check(unsafe posix_spawnattr_setsigmask(&attributes, &signals), path)
        unsafe sigfillset(&signals)
        try check(unsafe posix_spawnattr_setsigdefault(&attributes, &signals), path)
        let flags = Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF)
        try check(unsafe posix_spawnattr_setflags(&attributes, flags), path)

        // NULL-terminated arrays of C strings; they live until posix_spawn(3) returns.
        var argv = unsafe arguments.map { unsafe strdup($0) } + [nil]
        var envp = unsafe environment.map { unsafe strdup($0) } + [nil]
        defer { unsafe (argv + envp).forEach { unsafe free($0) } }
        var process: Int32 = 0
        try check(unsafe posix_spawn(&process, path, &actions, &attributes, &argv, &envp), path)
        return process
    }

    private static func check(_ number: Int32, _ path: String) throws(SystemError) {
        guard number == 0 else { throw SystemError("posix_spawn", number, path) }
    }
}

extension ThisProcess {
    /// Replaces this program by the one at `path`, with the same environment and standard streams.
    ///
    /// - Returns: `execv`, if there is no such program.
    package static func execute(_ path: String, arguments: [String]) -> SystemError {
        var argv = unsafe arguments.map { unsafe strdup($0) } + [nil]
        defer { unsafe argv.forEach { unsafe free($0) } }
        _ = unsafe execv(path, &argv)
        return .last("execv", path)
    }
}

/// Pipe for a child process's standard error. Neither end blocks; output that exceeds the capacity of the pipe is lost.
package final class ChildOutput {
    private let reading: OwnedDescriptor
    private var writing: OwnedDescriptor?
    /// The child's end, for its standard error; valid until `closeChildEnd`.
    package let childNumber: Int32

    package init() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        guard unsafe pipe(&ends) == 0 else { throw .last("pipe") }
        reading = OwnedDescriptor(adopting: ends[0])
        writing = OwnedDescriptor(adopting: ends[1])
        childNumber = ends[1]
        // Not racy: the only thread starts no program in between.
        for end in ends {
            guard fcntl(end, F_SETFD, FD_CLOEXEC) == 0, fcntl(end, F_SETFL, O_NONBLOCK) == 0 else {
                throw .last("fcntl", "of a pipe")
            }
        }
    }

    /// Closes our copy of the child's end.
    package func closeChildEnd() { writing = nil }

    /// Reads what was written since the last call, up to the capacity of a pipe.
    package func read() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe bytes.withUnsafeMutableBytes { raw in
            retrying { unsafe Glibc.read(reading.number, raw.baseAddress, raw.count) }
        }
        return Array(bytes.prefix(max(0, count)))
    }
}
