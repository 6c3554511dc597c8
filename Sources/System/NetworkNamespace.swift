internal import CLinux
internal import Glibc

/// What tells one namespace from all others that exist now (namespaces(7), fs/nsfs.c).
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

    /// Of the network namespace that the file at `path` stands for. The file is open during the call only, since an
    /// open one keeps its namespace alive.
    ///
    /// - Throws: `open`, with ENOENT where there is none; `check` with ENOTTY or EINVAL for another kind of file, such
    ///   as one that a namespace is yet to be mounted on.
    package init(ofPath path: String) throws(SystemError) {
        try self.init(of: NetworkNamespace.open(path))
    }
}

/// The way into other network namespaces and back.
package struct NetworkNamespace: ~Copyable {
    /// The namespace that the calling thread is in. That one lives as long as the process anyway.
    private let home: OwnedDescriptor
    package let homeIdentity: NamespaceIdentity

    package init() throws(SystemError) {
        let here = try Self.open("/proc/thread-self/ns/net")
        homeIdentity = try NamespaceIdentity(of: here)
        home = here
    }

    /// Runs `body` with the calling thread in another namespace. It must make sockets only, and start no process.
    ///
    /// The thread is back when this returns or throws. If it cannot come back the process ends at once, with a line on
    /// stderr: all that it did from then on would be done in the wrong namespace.
    ///
    /// - Throws: why it cannot be entered, or that the file stands for another one by now.
    package func visit<Value>(
        _ path: String, _ expected: NamespaceIdentity, _ body: () -> Value
    ) throws(SystemError) -> Value {
        try Self.enter(path, expected)
        defer { returnHome() }
        return body()
    }

    /// From here on the namespace lives on by what is made there, or not at all: its file is closed again.
    private static func enter(_ path: String, _ expected: NamespaceIdentity) throws(SystemError) {
        let there = try open(path)
        let identity = try NamespaceIdentity(of: there)
        guard identity == expected else { throw SystemError("setns", ESTALE, "to \(path)") }
        guard linux_enter_network_namespace(there.number) == 0 else { throw .last("setns", "to \(path)") }
    }

    private func returnHome() {
        guard linux_enter_network_namespace(home.number) != 0 else { return }
        let error = SystemError.last("setns", "back to the network namespace that tlshd was started in")
        let line = Array("tlshd: \(error.description); ending, rather than serve the wrong one\n".utf8)
        _ = unsafe write(STDERR_FILENO, line, line.count)
        abort()
    }

    /// Nothing but a network namespace's file is accepted; O_NONBLOCK, lest the path of a settings file be a pipe.
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

/// Tells when files come to a folder or go from it.
package struct FolderWatch: ~Copyable {
    private let path: String
    private let descriptor: OwnedDescriptor
    private var watch: Int32 = -1

    /// The folder need not exist yet.
    package init(_ path: String) throws(SystemError) {
        self.path = path
        let number = inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
        guard number >= 0 else { throw .last("inotify_init1") }
        descriptor = OwnedDescriptor(adopting: number)
    }

    /// The descriptor's number, borrowed, for a poller.
    package var number: Int32 { descriptor.number }

    /// Takes all that was reported, and begins to watch the folder if it exists by now, or is another by that name.
    ///
    /// - Parameter isWanted: whether to watch at all; if not, nothing is reported from now on.
    package mutating func drain(watching isWanted: Bool = true) {
        if !isWanted, watch >= 0 {
            _ = inotify_rm_watch(descriptor.number, watch)
            watch = -1
        }
        var buffer = [UInt8](repeating: 0, count: 4096)
        // What happened does not matter, only that something did.
        while retrying({ unsafe read(descriptor.number, &buffer, buffer.count) }) > 0 {}
        guard isWanted else { return }
        let events = IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ATTRIB | IN_ONLYDIR
        // Adding it again changes nothing.
        watch = unsafe inotify_add_watch(descriptor.number, path, UInt32(events))
    }

    package var isWatching: Bool { watch >= 0 }
}
