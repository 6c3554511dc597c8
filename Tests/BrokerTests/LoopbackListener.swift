import TestSupport

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
        let (socket, port) = try Loopback.listen()
        descriptor = OwnedDescriptor(adopting: socket)
        self.port = port
    }

    /// A connection to a server that may still be starting.
    static func connect(to port: UInt16) throws -> OwnedDescriptor {
        OwnedDescriptor(adopting: try Loopback.connect(port))
    }

    /// The connection of a program that may still be starting.
    func accept() throws -> OwnedDescriptor {
        OwnedDescriptor(adopting: try Loopback.accept(descriptor.number))
    }
}
