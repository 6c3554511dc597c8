internal import CLinux
internal import Glibc
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
