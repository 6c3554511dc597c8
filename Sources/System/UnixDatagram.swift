internal import CLinux
internal import Glibc

/// A unix datagram socket without a name of its own, to send to sockets that have one. It never blocks.
struct UnixDatagram: ~Copyable {
    private let socket: OwnedDescriptor

    init() throws(SystemError) {
        let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let number = Glibc.socket(AF_UNIX, type, 0)
        guard number >= 0 else { throw .last("socket", "AF_UNIX") }
        socket = OwnedDescriptor(adopting: number)
    }

    /// Sends `bytes` to the socket at `path`, with `descriptors`, which are borrowed; a leading `@` stands for the NUL
    /// of an abstract name.
    ///
    /// - Throws: `sendmsg`; EAGAIN where the receiver's queue is full, EMSGSIZE where the datagram is too large for it.
    func send(_ bytes: [UInt8], descriptors: [Int32] = [], to path: String) throws(SystemError) {
        var (address, length) = try Self.address(of: path)
        let sent = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe bytes.withUnsafeBytes { raw in
                unsafe ControlMessage.send(
                    raw.baseAddress, raw.count, descriptors, over: socket.number, to: pointer, length)
            }
        }
        guard sent == bytes.count else { throw .last("sendmsg", path) }
    }

    /// Sends an open file instead of bytes, with SCM_RIGHTS; the receiver reads the message from it.
    func send(descriptor: Int32, to path: String) throws(SystemError) {
        var (address, length) = try Self.address(of: path)
        let sent = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe ControlMessage.send(nil, 0, [descriptor], over: socket.number, to: pointer, length)
        }
        guard sent >= 0 else { throw .last("sendmsg", path) }
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
        // A path is sent with its NUL; an abstract name is exactly as long as it is.
        return (address, socklen_t(start + name.count + (isAbstract ? 0 : 1)))
    }
}
