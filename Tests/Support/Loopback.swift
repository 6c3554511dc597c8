internal import Glibc
internal import System

/// TCP on the loopback interface.
package enum Loopback {
    /// A listener on a port that the kernel chooses.
    package static func listen() throws -> (socket: Int32, port: UInt16) {
        let socket = try makeSocket()
        let port = try bindToAnyPort(socket)
        guard Glibc.listen(socket, 8) == 0 else { throw SystemError.last("listen") }
        return (socket, port)
    }

    /// Connects, trying again until somebody listens.
    package static func connect(_ port: UInt16) throws -> Int32 {
        var address = self.address(port)
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let socket = try makeSocket()
        try wait {
            unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe Glibc.connect(socket, $0, size) == 0
                }
            }
        }
        return socket
    }

    package static func accept(_ listener: Int32) throws -> Int32 {
        guard awaitInput(listener) else { throw SystemError("accept", ETIMEDOUT, "nobody connects") }
        let socket = Glibc.accept(listener, nil, nil)
        guard socket >= 0, fcntl(socket, F_SETFD, FD_CLOEXEC) == 0 else { throw SystemError.last("accept") }
        return socket
    }

    /// Two ends of one connection.
    package static func pair() throws -> (Int32, Int32) {
        let (listener, port) = try listen()
        defer { close(listener) }
        let client = try connect(port)
        return (client, try accept(listener))
    }

    /// TCP_NODELAY, as the worker sets it for a handshake.
    package static func sendAtOnce(_ socket: Int32) {
        var one: Int32 = 1
        _ = unsafe setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    }

    /// A port for a program that reuses addresses: nobody is given it while the socket, which only holds it, is open.
    package static func reservePort() throws -> (socket: Int32, port: UInt16) {
        let socket = try makeSocket()
        var one: Int32 = 1
        _ = unsafe setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        return (socket, try bindToAnyPort(socket))
    }

    /// Bytes that can be read from the socket right now.
    package static func waiting(_ socket: Int32) -> Int {
        var count: Int32 = 0
        _ = unsafe ioctl(socket, UInt(FIONREAD), &count)
        return Int(count)
    }

    private static func makeSocket() throws -> Int32 {
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw SystemError.last("socket") }
        return number
    }

    private static func address(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    private static func bindToAnyPort(_ socket: Int32) throws -> UInt16 {
        var address = self.address(0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe bind(socket, $0, size) == 0 }
        }
        guard isBound else { throw SystemError.last("bind") }
        _ = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe getsockname(socket, $0, &size) }
        }
        return UInt16(bigEndian: address.sin_port)
    }
}
