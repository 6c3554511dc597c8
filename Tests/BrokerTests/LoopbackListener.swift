import Glibc
import TestSupport
import Testing

@testable import System

/// A connection on which nothing is said.
final class SilentPeer {
    private let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }
}

/// A listener on the loopback interface.
final class LoopbackListener {
    private let descriptor: OwnedDescriptor
    let port: UInt16

    init() throws {
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        descriptor = OwnedDescriptor(adopting: number)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                unsafe bind(number, pointer, size) == 0 && listen(number, 1) == 0
                    && getsockname(number, pointer, &size) == 0
            }
        }
        try #require(isBound)
        port = UInt16(bigEndian: address.sin_port)
    }

    /// A connection to a server that may still be starting.
    static func connect(to port: UInt16) throws -> OwnedDescriptor {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        address.sin_port = port.bigEndian
        let socket = OwnedDescriptor(
            adopting: socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0))
        let number = socket.number
        try wait {
            unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                    unsafe Glibc.connect(number, pointer, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                }
            }
        }
        return socket
    }

    /// The connection of a program that may still be starting.
    func accept() throws -> OwnedDescriptor {
        let poller = try Poller()
        try poller.add(descriptor.number, token: 1, interest: .read)
        try #require(try !poller.waitUndisturbed(timeout: 60_000_000_000).isEmpty, "nobody connects")
        let number = Glibc.accept(descriptor.number, nil, nil)
        try #require(number >= 0)
        return OwnedDescriptor(adopting: number)
    }
}
