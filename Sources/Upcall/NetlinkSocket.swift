internal import CLinux
internal import CNetlink
internal import Glibc
internal import System
internal import Wire

/// A netlink socket, connected by libnl. It stays in the network namespace in which it was opened.
@safe final class NetlinkSocket: NetlinkPort {
    // Allocated in init, freed in deinit, and used by one thread.
    private let handle: OpaquePointer
    private var buffer = [UInt8](repeating: 0, count: 32_768)

    // include/uapi/linux/netlink.h.
    private static let solNetlink: Int32 = 270
    private static let extendedAcknowledgement: Int32 = 11

    /// - Parameter netlinkProtocol: NETLINK_GENERIC, or another (include/uapi/linux/netlink.h).
    init(_ netlinkProtocol: Int32 = 16) throws(UpcallError) {
        guard let handle = unsafe nl_socket_alloc() else { throw .system(SystemError("nl_socket_alloc", ENOMEM)) }
        unsafe self.handle = unsafe handle
        let result = unsafe nl_connect(handle, netlinkProtocol)
        guard result == 0 else { throw Self.failure("nl_connect", result) }
        // Extended acknowledgements are optional; without them only the errno is known.
        var on: Int32 = 1
        let size = socklen_t(MemoryLayout<Int32>.size)
        _ = unsafe setsockopt(number, Self.solNetlink, Self.extendedAcknowledgement, &on, size)
        // READY is not repeated if the buffer is full. A size above net.core.rmem_max requires CAP_NET_ADMIN, which we
        // have.
        var room: Int32 = 1 << 20
        if unsafe setsockopt(number, SOL_SOCKET, SO_RCVBUFFORCE, &room, size) != 0 {
            _ = unsafe setsockopt(number, SOL_SOCKET, SO_RCVBUF, &room, size)
        }
    }

    /// Takes over a socket that this class created in a previous process.
    init(adopting descriptor: consuming OwnedDescriptor, _ netlinkProtocol: Int32 = 16) throws(UpcallError) {
        guard let handle = unsafe nl_socket_alloc() else { throw .system(SystemError("nl_socket_alloc", ENOMEM)) }
        unsafe self.handle = unsafe handle
        // libnl closes the descriptor with the handle. If it refuses the descriptor, we still own it.
        let result = unsafe nl_socket_set_fd(handle, netlinkProtocol, descriptor.number)
        guard result == 0 else { throw Self.failure("nl_socket_set_fd", result) }
        _ = descriptor.release()
    }

    deinit {
        unsafe nl_socket_free(handle)
    }

    var number: Int32 { unsafe nl_socket_get_fd(handle) }

    /// Number of a generic-netlink family; `nil` if the kernel lacks it.
    func resolve(family: String) throws(UpcallError) -> UInt16? {
        let result = unsafe genl_ctrl_resolve(handle, family)
        if result == -NLE_OBJ_NOTFOUND { return nil }
        guard result >= 0, let number = UInt16(exactly: result) else { throw Self.failure("genl_ctrl_resolve", result) }
        return number
    }

    /// Number of a multicast group of a family.
    func resolve(group: String, of family: String) throws(UpcallError) -> UInt32 {
        let number = unsafe genl_ctrl_resolve_grp(handle, family, group)
        guard number >= 0 else { throw Self.failure("genl_ctrl_resolve_grp", number) }
        return UInt32(number)
    }

    /// Joins a multicast group.
    func join(_ group: UInt32) throws(UpcallError) {
        let result = unsafe nl_socket_add_membership(handle, Int32(truncatingIfNeeded: group))
        guard result == 0 else { throw Self.failure("nl_socket_add_membership", result) }
    }

    func send(_ bytes: Span<UInt8>) throws(SystemError) {
        let sent = unsafe bytes.withUnsafeBufferPointer { raw in
            retrying { unsafe Glibc.send(number, raw.baseAddress, raw.count, Int32(MSG_DONTWAIT)) }
        }
        guard sent == bytes.count else { throw .last("send", "to the kernel") }
    }

    func receive() throws(SystemError) -> [UInt8]? {
        while true {
            var sender = sockaddr_nl()
            var length = socklen_t(MemoryLayout<sockaddr_nl>.size)
            let flags = Int32(MSG_DONTWAIT) | Int32(MSG_TRUNC)
            let count = unsafe withUnsafeMutablePointer(to: &sender) { pointer in
                // recvfrom(2) takes a sockaddr_nl as sockaddr.
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                    retrying { unsafe recvfrom(number, &buffer, buffer.count, flags, generic, &length) }
                }
            }
            guard count >= 0 else {
                if errno == EAGAIN { return nil }
                throw .last("recvfrom", "from the kernel")
            }
            guard count <= buffer.count else { throw SystemError("recvfrom", EMSGSIZE, "from the kernel") }
            // Port 0 is the kernel. Messages of other processes are ignored.
            if sender.nl_pid == 0 { return Array(buffer.prefix(count)) }
        }
    }

    private static func failure(_ call: String, _ result: Int32) -> UpcallError {
        // libnl has its own error numbers, which nl_geterror(3) translates.
        let text = unsafe nl_geterror(result).map { unsafe String(cString: $0) } ?? "error \(result)"
        return .system(SystemError(call, 0, "failed: \(text)"))
    }
}
