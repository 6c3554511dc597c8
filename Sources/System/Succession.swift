internal import CLinux
internal import Glibc

/// A pipe by which a process learns that its successor has taken over: the service manager keeps the writing end in its
/// store and gives it to the successor, which closes it. Where the service is stopped for good, the manager does.
package final class SuccessionPipe {
    private let reading: OwnedDescriptor

    /// Has the service manager keep the writing end, under `name`.
    ///
    /// - Returns: `nil` where there is no service manager.
    package static func store(as name: String) throws(SystemError) -> SuccessionPipe? {
        var ends: [Int32] = [-1, -1]
        // Close-on-exec comes a moment later: there is one thread, which starts no program in between.
        guard unsafe pipe(&ends) == 0 else { throw .last("pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let pipe = SuccessionPipe(reading: OwnedDescriptor(adopting: ends[0]))
        let writing = OwnedDescriptor(adopting: ends[1])
        guard try DescriptorStore.put(writing.number, as: name) else { return nil }
        return pipe
    }

    private init(reading: consuming OwnedDescriptor) {
        self.reading = reading
    }

    /// The descriptor that hangs up when nobody keeps the other end any longer; borrowed, for a poller.
    package var number: Int32 { reading.number }

    /// Whether somebody keeps the other end. Right after `store` that is so even where the manager is about to refuse
    /// it.
    package var isKept: Bool {
        var question = pollfd(fd: reading.number, events: 0, revents: 0)
        return unsafe poll(&question, 1, 0) == 0
    }
}

/// The service manager's store of descriptors, which outlives us (FileDescriptorStoreMax= of systemd.service(5)).
package enum DescriptorStore {
    /// Has a copy of `number` kept, until `remove` or the service is stopped; whatever happens to it (FDPOLL=0).
    ///
    /// - Returns: `false` where there is no service manager.
    @discardableResult
    package static func put(_ number: Int32, as name: String) throws(SystemError) -> Bool {
        try ServiceManager.notify(["FDSTORE=1", "FDPOLL=0", "FDNAME=\(name)"], descriptor: number)
    }

    /// Has all of that name closed.
    package static func remove(_ name: String) throws(SystemError) {
        try ServiceManager.notify(["FDSTOREREMOVE=1", "FDNAME=\(name)"])
    }
}

/// fork(2), for a process whose other threads read files alone (`FileWork`): the child has none of them, and needs no
/// lock that they may hold.
package enum Fork {
    /// Which of the two one is.
    package enum Side {
        case parent(child: Int32)
        case child
    }

    /// The child has all that the parent has, but for its children, its locked memory and its process keyring.
    package static func fork() throws(SystemError) -> Side {
        let number = linux_fork()
        guard number >= 0 else { throw .last("fork") }
        return number == 0 ? .child : .parent(child: number)
    }

    /// Ends this process without letting go of anything in order: what it shares with its child stays as it is.
    package static func leave() -> Never { _exit(0) }

    /// Keeps all memory out of swap where the limit allows it; what was locked before a fork is not after it.
    package static func lockMemoryAgain() {
        var limit = rlimit()
        guard unsafe getrlimit(Int32(__RLIMIT_MEMLOCK.rawValue), &limit) == 0, limit.rlim_cur == rlim_t.max else {
            return
        }
        _ = mlockall(Int32(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
    }
}
