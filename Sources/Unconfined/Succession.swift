internal import CLinux
internal import Glibc
package import System

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
