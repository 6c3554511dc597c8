internal import CLinux
internal import Glibc
internal import System

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
