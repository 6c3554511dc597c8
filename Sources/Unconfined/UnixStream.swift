internal import CLinux
internal import Glibc
package import System

/// A listening unix stream socket. It never blocks.
package struct UnixListener: ~Copyable {
    private let socket: OwnedDescriptor
    private let path: String
    private let identity: FileIdentity?

    /// Listens at `path`, replacing an existing socket. The socket has its mode before it has its name. The directory
    /// is created if its parent exists.
    ///
    /// - Parameter group: group whose members may connect besides root (mode 0660); `nil` for root only (0600).
    /// - Throws: The call that failed; `read` if /etc/group has no such group.
    package init(path: String, group: String?) throws(SystemError) {
        var identifier: gid_t?
        if let group { identifier = try Self.identifier(ofGroup: group) }
        try Self.makeFolder(of: path)
        let made = try Socket.stream(family: AF_UNIX)
        try Self.place(made.number, path, identifier)
        identity = try? FileIdentity(ofPath: path)
        self.path = path
        socket = made
    }

    private static func makeFolder(of path: String) throws(SystemError) {
        guard let end = path.lastIndex(of: "/"), end != path.startIndex else { return }
        let folder = String(path[..<end])
        if unsafe mkdir(folder, 0o755) == 0 {
            // The umask may have removed bits.
            guard unsafe chmod(folder, 0o755) == 0 else { throw .last("chmod", folder) }
        } else if errno != EEXIST {
            throw .last("mkdir", folder)
        }
    }

    /// Binds under a temporary name, which nobody can use before the mode is set, and renames it.
    private static func place(_ number: Int32, _ path: String, _ group: gid_t?) throws(SystemError) {
        let passing = "\(path).\(getpid())"
        _ = unsafe unlink(passing)
        // The mode is set with fchmod, not with the umask, which children started meanwhile would inherit
        // (net/unix/af_unix.c, unix_bind_bsd).
        guard fchmod(number, 0) == 0 else { throw .last("fchmod", path) }
        // The socket is created with the group's ID, because chown(2) requires a capability that the unit does not
        // grant.
        let own = getegid()
        if let group, setegid(group) != 0 { throw .last("setegid", "\(group)") }
        let bound = Result { () throws(SystemError) in try bind(number, passing, for: path) }
        guard setegid(own) == 0 else { throw .last("setegid", "\(own)") }
        // Changing the group may have reset this flag (fs.suid_dumpable).
        guard group == nil || linux_forbid_dump() == 0 else { throw .last("prctl PR_SET_DUMPABLE") }
        try bound.get()
        do throws(SystemError) {
            guard unsafe chmod(passing, group == nil ? 0o600 : 0o660) == 0 else { throw .last("chmod", path) }
            guard listen(number, 64) == 0 else { throw .last("listen", path) }
            guard unsafe rename(passing, path) == 0 else { throw .last("rename", path) }
        } catch {
            _ = unsafe unlink(passing)
            throw error
        }
    }

    /// Removes the path, unless another process listens there now.
    deinit {
        if identity != nil, (try? FileIdentity(ofPath: path)) == identity { _ = unsafe unlink(path) }
    }

    /// The listening socket, borrowed.
    package var number: Int32 { socket.number }

    /// The next connection; `nil` if none is pending.
    package func accept() throws(SystemError) -> OwnedDescriptor? {
        do throws(Errno) {
            return try Socket.accept(on: socket.number)
        } catch {
            guard error != Errno(ECONNABORTED) else { return nil }
            throw SystemError("accept", error, path)
        }
    }

    private static func bind(_ number: Int32, _ passing: String, for path: String) throws(SystemError) {
        var (address, length) = try UnixDatagram.address(of: passing)
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            // bind(2) takes a sockaddr_un as sockaddr.
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.bind(number, $0, length)
            }
        }
        guard result == 0 else { throw .last("bind", path) }
    }

    /// Group ID from /etc/group, which is parsed directly: name services would load code into this process, and may not
    /// be available yet.
    ///
    /// - Throws: The call that failed; `read` if there is no such group.
    package static func identifier(ofGroup name: String) throws(SystemError) -> UInt32 {
        let file = try SealedFile(copying: "/etc/group")
        let text = try SealedContents(of: file.descriptor).withSpan { span in
            String(decoding: span.indices.map { span[$0] }, as: UTF8.self)
        }
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            if fields.count >= 3, fields[0] == name, let number = gid_t(fields[2]) { return number }
        }
        throw SystemError("read", 0, "/etc/group: there is no group \(name)")
    }
}

/// Operations on a connected unix stream socket.
package enum UnixStream {
    /// Result of a read or write.
    package enum Outcome: Equatable, Sendable {
        /// Number of bytes transferred.
        case moved(Int)
        /// Nothing can be transferred now.
        case wouldBlock
        /// The other end is closed.
        case closed
    }

    /// Connects to the socket at `path`.
    ///
    /// - Throws: `connect`; EAGAIN if the backlog is full, ENOENT or ECONNREFUSED if nobody listens.
    package static func connect(_ path: String) throws(SystemError) -> OwnedDescriptor {
        let socket = try Socket.stream(family: AF_UNIX)
        var (address, length) = try UnixDatagram.address(of: path)
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                retrying { unsafe Glibc.connect(socket.number, generic, length) }
            }
        }
        guard result == 0 else { throw .last("connect", path) }
        return socket
    }

    /// Reads at most `limit` bytes and appends them to `bytes`.
    package static func read(_ number: Int32, into bytes: inout [UInt8], limit: Int) -> Outcome {
        outcome { () throws(Errno) in
            let part = try Socket.receive(atMost: limit, from: number)
            bytes += part
            return part.count
        }
    }

    /// Writes as much of `bytes` as the socket accepts.
    package static func write(_ number: Int32, _ bytes: ArraySlice<UInt8>) -> Outcome {
        outcome { () throws(Errno) in try Socket.send(bytes.span, over: number) }
    }

    private static func outcome(_ transfer: () throws(Errno) -> Int) -> Outcome {
        do throws(Errno) {
            let count = try transfer()
            return count > 0 ? .moved(count) : .closed
        } catch {
            return error == .eagain ? .wouldBlock : .closed
        }
    }
}

/// An unbound unix datagram socket. It never blocks.
struct UnixDatagram: ~Copyable {
    private let socket: OwnedDescriptor

    init() throws(SystemError) {
        let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let number = Glibc.socket(AF_UNIX, type, 0)
        guard number >= 0 else { throw .last("socket", "AF_UNIX") }
        socket = OwnedDescriptor(adopting: number)
    }

    /// Sends `bytes` and `descriptors`, which are borrowed, to the socket at `path`. A leading `@` denotes an abstract
    /// name.
    ///
    /// - Throws: `sendmsg`; EAGAIN if the receiver's queue is full, EMSGSIZE if the datagram is too large.
    func send(_ bytes: [UInt8], descriptors: [Int32] = [], to path: String) throws(SystemError) {
        var (address, length) = try Self.address(of: path)
        do throws(Errno) {
            // A datagram is sent whole.
            _ = try unsafe withUnsafeMutablePointer(to: &address) { (pointer) throws(Errno) in
                try unsafe bytes.span.withUnsafeBytes { (raw) throws(Errno) in
                    try unsafe ControlMessage.send(
                        raw.baseAddress, raw.count, descriptors, over: socket.number, to: pointer, length)
                }
            }
        } catch {
            throw SystemError("sendmsg", error, path)
        }
    }

    static func address(of path: String) throws(SystemError) -> (sockaddr_un, socklen_t) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var name = Array(path.utf8)
        let isAbstract = name.first == UInt8(ascii: "@")
        if isAbstract { name[0] = 0 }
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        guard !name.isEmpty, name.count < capacity else { throw SystemError("sendto", ENAMETOOLONG, path) }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: name) }
        let start = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
        // A path includes its NUL; an abstract name has an exact length.
        return (address, socklen_t(start + name.count + (isAbstract ? 0 : 1)))
    }
}
