internal import CLinux
internal import Glibc
package import System

/// Calls of the broker on its own sockets.
extension Socket {
    /// A stream socket, close-on-exec. It does not block.
    ///
    /// - Parameter transport: number of the transport protocol; 0 for the default of the family.
    package static func stream(family: Int32, transport: Int32 = 0) throws(SystemError) -> OwnedDescriptor {
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let number = socket(family, type, transport)
        guard number >= 0 else { throw .last("socket", "of family \(family)") }
        return OwnedDescriptor(adopting: number)
    }

    /// Binds a socket to all addresses of the host, and listens.
    ///
    /// - Parameters:
    ///   - isIPv6: true for a sockaddr_in6, false for a sockaddr_in. The port is 0.
    ///   - name: name of the listener, for errors.
    package static func listen(
        _ listener: borrowing OwnedDescriptor, isIPv6: Bool, backlog: Int32, name: String
    ) throws(SystemError) {
        var address = sockaddr_storage()
        address.ss_family = sa_family_t(isIPv6 ? AF_INET6 : AF_INET)
        let size = isIPv6 ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size
        // A sockaddr_storage has room and alignment for both, and starts like a sockaddr.
        let bound = unsafe withUnsafePointer(to: &address) { storage in
            unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(listener.number, $0, socklen_t(size))
            }
        }
        guard bound == 0 else { throw .last("bind", "of the listener for \(name)") }
        guard Glibc.listen(listener.number, backlog) == 0 else { throw .last("listen", "for \(name)") }
    }

    /// The next connection, which does not block either; `nil` if none is pending.
    package static func accept(on listener: Int32) throws(Errno) -> OwnedDescriptor? {
        let number = retrying { linux_accept(listener) }
        guard number < 0 else { return OwnedDescriptor(adopting: number) }
        let error = Errno.last
        guard error == .eagain else { throw error }
        return nil
    }

    /// Value of an option, at most `room` bytes.
    package static func option(
        _ number: Int32, at level: Int32, of socket: Int32, room: Int
    ) throws(SystemError) -> [UInt8] {
        var value = [UInt8](repeating: 0, count: room)
        var length = socklen_t(room)
        guard unsafe getsockopt(socket, level, number, &value, &length) == 0 else {
            throw .last("getsockopt", "of option \(number)")
        }
        return Array(value.prefix(Int(length)))
    }

    /// Sets an option.
    package static func setOption(
        _ number: Int32, at level: Int32, of socket: Int32, to value: [UInt8]
    ) throws(SystemError) {
        guard unsafe setsockopt(socket, level, number, value, socklen_t(value.count)) == 0 else {
            throw .last("setsockopt", "of option \(number)")
        }
    }

    /// Sets the size of the receive buffer. A size above net.core.rmem_max requires CAP_NET_ADMIN.
    package static func setReceiveBuffer(of socket: Int32, to bytes: Int32) {
        if !setOption(SO_RCVBUFFORCE, at: SOL_SOCKET, of: socket, to: bytes) {
            setOption(SO_RCVBUF, at: SOL_SOCKET, of: socket, to: bytes)
        }
    }

    /// Requests extended acknowledgements (NETLINK_EXT_ACK), which explain an error.
    package static func explainErrors(of netlink: Int32) {
        setOption(NETLINK_EXT_ACK, at: SOL_NETLINK, of: netlink, to: 1)
    }

    /// The next netlink datagram of the kernel, whose port is 0; `nil` if there is none. Messages of other processes
    /// are ignored.
    ///
    /// - Throws: `recvfrom`; EMSGSIZE if the datagram has more than `limit` bytes, ENOBUFS once after datagrams were
    ///   dropped.
    package static func receive(atMost limit: Int, fromKernel netlink: Int32) throws(SystemError) -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: limit)
        while true {
            var sender = sockaddr_nl()
            var length = socklen_t(MemoryLayout<sockaddr_nl>.size)
            let flags = Int32(MSG_DONTWAIT) | Int32(MSG_TRUNC)
            let count = unsafe withUnsafeMutablePointer(to: &sender) { pointer in
                // recvfrom(2) takes a sockaddr_nl as sockaddr.
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                    retrying { unsafe recvfrom(netlink, &buffer, buffer.count, flags, generic, &length) }
                }
            }
            guard count >= 0 else {
                let error = SystemError.last("recvfrom", "from the kernel")
                guard error.number == .eagain else { throw error }
                return nil
            }
            guard count <= limit else { throw SystemError("recvfrom", EMSGSIZE, "from the kernel") }
            if sender.nl_pid == 0 { return Array(buffer.prefix(count)) }
        }
    }
}
