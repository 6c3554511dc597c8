internal import CNetlink
internal import System
internal import Unconfined
internal import Wire

/// A netlink socket, connected by libnl. It stays in the network namespace in which it was opened.
@safe final class NetlinkSocket: NetlinkPort {
    // Allocated in init, freed in deinit, and used by one thread.
    private let handle: OpaquePointer
    private static let datagramLimit = 32_768

    /// - Parameter netlinkProtocol: NETLINK_GENERIC, or another (include/uapi/linux/netlink.h).
    init(_ netlinkProtocol: Int32 = NETLINK_GENERIC) throws(UpcallError) {
        guard let handle = unsafe nl_socket_alloc() else { throw .system(SystemError("nl_socket_alloc", .enomem)) }
        unsafe self.handle = unsafe handle
        let result = unsafe nl_connect(handle, netlinkProtocol)
        guard result == 0 else { throw Self.failure("nl_connect", result) }
        // Extended acknowledgements are optional; without them only the errno is known.
        Socket.explainErrors(of: number)
        // READY is not repeated if the buffer is full.
        Socket.setReceiveBuffer(of: number, to: 1 << 20)
    }

    /// Takes over a socket that this class created in a previous process.
    init(adopting descriptor: consuming OwnedDescriptor, _ netlinkProtocol: Int32 = NETLINK_GENERIC) throws(UpcallError)
    {
        guard let handle = unsafe nl_socket_alloc() else { throw .system(SystemError("nl_socket_alloc", .enomem)) }
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
        do throws(Errno) {
            // A datagram is sent whole.
            _ = try Socket.send(bytes, over: number)
        } catch {
            throw SystemError("send", error, "to the kernel")
        }
    }

    func receive() throws(SystemError) -> [UInt8]? {
        try Socket.receive(atMost: Self.datagramLimit, fromKernel: number)
    }

    private static func failure(_ call: String, _ result: Int32) -> UpcallError {
        // libnl has its own error numbers, which nl_geterror(3) translates.
        let text = unsafe nl_geterror(result).map { unsafe String(cString: $0) } ?? "error \(result)"
        return .system(SystemError(call, 0, "failed: \(text)"))
    }
}
