internal import CLinux
internal import Glibc
package import System

/// Identifies a namespace among all that exist now (namespaces(7), fs/nsfs.c).
package struct NamespaceIdentity: Sendable, Hashable {
    package let device: UInt64
    package let inode: UInt64

    package init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }

    fileprivate init(of descriptor: borrowing OwnedDescriptor) throws(SystemError) {
        let file = try FileIdentity(of: descriptor)
        self.init(device: file.device, inode: file.inode)
    }

    /// Identity of the network namespace behind the file at `path`. The file is open only during the call, because an
    /// open file keeps its namespace alive.
    ///
    /// - Throws: `open`; ENOENT if there is no file. `check`; ENOTTY or EINVAL for another type of file, such as one
    ///   that a namespace is about to be mounted on.
    package init(ofPath path: String) throws(SystemError) {
        try self.init(of: NetworkNamespace.open(path))
    }
}

/// Enters other network namespaces and returns.
package struct NetworkNamespace: ~Copyable {
    /// The namespace of the calling thread. It exists as long as the process anyway.
    private let home: OwnedDescriptor
    package let homeIdentity: NamespaceIdentity

    package init() throws(SystemError) {
        let here = try Self.open("/proc/thread-self/ns/net")
        homeIdentity = try NamespaceIdentity(of: here)
        home = here
    }

    /// Runs `body` with the calling thread in another namespace. It must only create sockets, and start no process.
    ///
    /// The thread is back when this returns or throws. If it cannot return, the process aborts with a line on stderr,
    /// because everything else would run in the wrong namespace.
    ///
    /// - Throws: If the namespace cannot be entered, or the file now belongs to another one.
    package func visit<Value>(
        _ path: String, _ expected: NamespaceIdentity, _ body: () -> Value
    ) throws(SystemError) -> Value {
        try Self.enter(path, expected)
        defer { returnHome() }
        return body()
    }

    /// Enters the namespace. Its file is closed again, so only sockets created there keep it alive.
    private static func enter(_ path: String, _ expected: NamespaceIdentity) throws(SystemError) {
        let there = try open(path)
        let identity = try NamespaceIdentity(of: there)
        guard identity == expected else { throw SystemError("setns", ESTALE, "to \(path)") }
        guard linux_enter_network_namespace(there.number) == 0 else { throw .last("setns", "to \(path)") }
    }

    private func returnHome() {
        guard linux_enter_network_namespace(home.number) != 0 else { return }
        let error = SystemError.last("setns", "back to the network namespace that tlshd was started in")
        ThisProcess.printError("tlshd: \(error.description); aborting, so as not to serve the wrong one\n")
        abort()
    }

    /// Opens the file of a network namespace; other files are refused. O_NONBLOCK so that opening a FIFO does not
    /// block.
    fileprivate static func open(_ path: String) throws(SystemError) -> OwnedDescriptor {
        let number = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard number >= 0 else { throw .last("open", path) }
        guard linux_check_network_namespace(number) == 0 else {
            let error = SystemError.last("check", path)
            OwnedDescriptor(adopting: number).close()
            throw error
        }
        return OwnedDescriptor(adopting: number)
    }
}

/// Reports that files were added to or removed from a directory.
package struct FolderWatch: ~Copyable {
    private let path: String
    private let descriptor: OwnedDescriptor
    private var watch: Int32 = -1

    /// The directory need not exist yet.
    package init(_ path: String) throws(SystemError) {
        let number = inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
        guard number >= 0 else { throw .last("inotify_init1") }
        self.path = path
        descriptor = OwnedDescriptor(adopting: number)
    }

    /// The inotify descriptor, borrowed.
    package var number: Int32 { descriptor.number }

    /// Discards all pending events, and watches the directory if it was created or replaced.
    ///
    /// - Parameter isWanted: false to stop watching; nothing is reported then.
    package mutating func drain(watching isWanted: Bool = true) {
        if !isWanted, watch >= 0 {
            _ = inotify_rm_watch(descriptor.number, watch)
            watch = -1
        }
        var buffer = [UInt8](repeating: 0, count: 4096)
        // The type of the events does not matter.
        while retrying({ unsafe read(descriptor.number, &buffer, buffer.count) }) > 0 {}
        guard isWanted else { return }
        let events = IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ATTRIB | IN_ONLYDIR
        // Adding a watch again has no effect.
        watch = unsafe inotify_add_watch(descriptor.number, path, UInt32(events))
    }

    package var isWatching: Bool { watch >= 0 }
}
