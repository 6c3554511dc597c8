internal import CLinux
internal import Glibc
package import Handshake
package import System

/// Properties of a connected socket.
package enum SocketFacts {
    /// Number of the transport protocol: 6 for TCP.
    package static func transportProtocol(of socket: Int32) throws(SystemError) -> Int32 {
        try option(SO_PROTOCOL, of: socket, "getsockopt SO_PROTOCOL")
    }

    /// Socket cookie (SO_COOKIE): the same for each descriptor of the socket, and not reused before the next boot.
    package static func cookie(of socket: Int32) throws(SystemError) -> UInt64 {
        try option(SO_COOKIE, of: socket, "getsockopt SO_COOKIE")
    }

    /// Protocol name of a socket by its path in /proc, such as `/proc/1/fd/3` (net/socket.c, the attribute
    /// system.sockprotoname); `nil` if it is no socket or cannot be read.
    package static func protocolName(ofPath path: String) -> String? {
        var name = [CChar](repeating: 0, count: 32)
        return unsafe linux_socket_protocol(path, &name, name.count) > 0 ? text(name) : nil
    }

    private static func option<Number: FixedWidthInteger>(
        _ option: Int32, of socket: Int32, _ call: String
    ) throws(SystemError) -> Number {
        var number: Number = 0
        var length = socklen_t(MemoryLayout<Number>.size)
        guard unsafe getsockopt(socket, SOL_SOCKET, option, &number, &length) == 0 else { throw .last(call) }
        return number
    }

    /// Numeric address and port of the peer, such as `192.0.2.1:2049` or `[2001:db8::1]:4420`.
    package static func peerAddress(of socket: Int32) throws(SystemError) -> String {
        let (host, port) = try unsafe numeric("getpeername") { unsafe getpeername(socket, $0, $1) }
        return host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// Local port.
    package static func localPort(of socket: Int32) throws(SystemError) -> UInt16 {
        let (_, port) = try unsafe numeric("getsockname") { unsafe getsockname(socket, $0, $1) }
        guard let number = UInt16(port) else { throw SystemError("getsockname", EAFNOSUPPORT) }
        return number
    }

    /// The struct sockaddr of both ends.
    package static func ends(of socket: Int32) throws(SystemError) -> (local: [UInt8], peer: [UInt8]) {
        (
            try unsafe raw("getsockname") { unsafe getsockname(socket, $0, $1) },
            try unsafe raw("getpeername") { unsafe getpeername(socket, $0, $1) }
        )
    }

    @unsafe private static func raw(
        _ call: String, _ fetch: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) throws(SystemError) -> [UInt8] {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe fetch($0, &length) }
        }
        guard result == 0 else { throw .last(call) }
        return unsafe withUnsafeBytes(of: &storage) { unsafe Array($0.prefix(Int(length))) }
    }

    /// Numeric host and port of the address that `fetch` fills in. IPv4-mapped IPv6 addresses are formatted as IPv4.
    @unsafe private static func numeric(
        _ call: String, _ fetch: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) throws(SystemError) -> (host: String, port: String) {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        var host = [CChar](repeating: 0, count: 128)
        var port = [CChar](repeating: 0, count: 16)
        var result: Int32 = 0
        // A sockaddr_storage has room and alignment for the address of every family.
        let fetched = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                guard unsafe fetch(generic, &length) == 0 else { return false }
                let flags = Int32(NI_NUMERICHOST) | Int32(NI_NUMERICSERV)
                result = unsafe getnameinfo(
                    generic, length, &host, socklen_t(host.count), &port, socklen_t(port.count), flags)
                return true
            }
        }
        guard fetched else { throw .last(call) }
        guard result == 0 else { throw SystemError(call, EAFNOSUPPORT) }
        let text = Self.text(host)
        let mapped = "::ffff:"
        let isMapped = text.hasPrefix(mapped) && text.utf8.contains(UInt8(ascii: "."))
        return (isMapped ? String(text.dropFirst(mapped.utf8.count)) : text, Self.text(port))
    }

    private static func text(_ characters: [CChar]) -> String {
        String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// The running kernel.
package enum Kernel {
    /// Release, such as `6.12.43+deb13-amd64`.
    package static func release() -> String {
        var names = utsname()
        guard unsafe uname(&names) == 0 else { return "unknown" }
        // A NUL-terminated C array.
        return unsafe withUnsafeBytes(of: &names.release) { raw in
            unsafe String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// Maximum number of pending handshakes in the kernel: one per 400 MiB of memory (net/handshake/netlink.c,
    /// handshake_net_init).
    package static var pendingHandshakes: Int {
        let bytes = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        return min(max(bytes / (400 << 20), 3), 50)
    }
}

/// Bytes of a TCP connection written to and read from its socket since it was created.
package struct StreamProgress: Sendable, Equatable {
    package let written: UInt64
    package let read: UInt64

    package init(written: UInt64, read: UInt64) {
        self.written = written
        self.read = read
    }

    /// - Returns: `nil` if it is not a TCP socket, or the kernel lacks the counters.
    package init?(of socket: Int32) {
        var written: UInt64 = 0
        var read: UInt64 = 0
        guard unsafe linux_stream_progress(socket, &written, &read) == 0 else { return nil }
        self.written = written
        self.read = read
    }
}

/// Delivery of a TCP connection's data, as far as it shows that large packets are lost: a device on the path drops
/// them, and its ICMP messages, from which a host learns the path's MTU (RFC 1191, RFC 8201), do not arrive.
package struct StreamDelivery: Sendable, Equatable {
    /// Bytes of the send queue that the peer has not acknowledged.
    package let unacknowledged: Int
    /// Retransmissions by timer since the last acknowledgement.
    package let retransmissions: Int
    /// Segments that were received after a missing one.
    package let outOfOrder: Int

    /// Bytes that each path carries in one segment: the least MTU of IPv6 (RFC 8200 §5) without headers.
    private static let smallSegment = 1220

    package init(unacknowledged: Int, retransmissions: Int, outOfOrder: Int) {
        self.unacknowledged = unacknowledged
        self.retransmissions = retransmissions
        self.outOfOrder = outOfOrder
    }

    /// - Returns: `nil` if it is not a TCP socket.
    package init?(of socket: Int32) {
        var unacknowledged: UInt32 = 0
        var retransmissions: UInt32 = 0
        var outOfOrder: UInt32 = 0
        guard unsafe linux_stream_delivery(socket, &unacknowledged, &retransmissions, &outOfOrder) == 0 else {
            return nil
        }
        self.init(
            unacknowledged: Int(unacknowledged), retransmissions: Int(retransmissions), outOfOrder: Int(outOfOrder))
    }

    /// Failure if large packets that we sent seem to be lost; `nil` if not.
    package var sendingFailure: HandshakeFailure? {
        guard unacknowledged > Self.smallSegment, retransmissions > 1 else { return nil }
        return HandshakeFailure(
            .largePacketsLost, "\(unacknowledged) bytes are not acknowledged after \(retransmissions) retransmissions")
    }

    /// Failure of a handshake that was not complete in time.
    ///
    /// - Parameter isAnswered: true if the peer has sent anything in answer to us, or owes no answer.
    package func explainTimeout(isAnswered: Bool) -> HandshakeFailure {
        if let sendingFailure { return sendingFailure }
        if outOfOrder > 0 {
            return HandshakeFailure(
                .largePacketsLost, "\(outOfOrder.counted("packet")) arrived after a missing one"
            )
        }
        return HandshakeFailure(
            .deadlineExceeded,
            isAnswered
                ? "" : "it sent not one byte; if its TLS daemon runs, large packets seem to be lost on the way (MTU)")
    }
}

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
        while true {
            var sender = sockaddr_nl()
            var length = socklen_t(MemoryLayout<sockaddr_nl>.size)
            let flags = Int32(MSG_DONTWAIT) | Int32(MSG_TRUNC)
            var received = 0
            var error: SystemError?
            // Not cleared before: nearly all datagrams are much shorter than the limit.
            let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
                received = unsafe withUnsafeMutablePointer(to: &sender) { pointer in
                    // recvfrom(2) takes a sockaddr_nl as sockaddr.
                    unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                        retrying { unsafe recvfrom(netlink, buffer.baseAddress, limit, flags, generic, &length) }
                    }
                }
                if received < 0 { error = .last("recvfrom", "from the kernel") }
                count = min(max(0, received), limit)
            }
            if let error {
                guard error.number == .eagain else { throw error }
                return nil
            }
            guard received <= limit else { throw SystemError("recvfrom", EMSGSIZE, "from the kernel") }
            if sender.nl_pid == 0 { return bytes }
        }
    }
}
