import Handshake
import Policy
import TestSupport
import Testing

@testable import Broker
@testable import System
@testable import Unconfined
@testable import Upcall

/// Handshakes on real connections over loopback, in the test's hands; so is the clock.
class ConnectionBench {
    private let upcall = ScriptedUpcall()
    private(set) var handshakes: [Handshake] = []

    init() {}

    deinit {
        for one in handshakes where one.accepted.number >= 0 { one.accepted.takeSocket()?.close() }
    }

    static let second: UInt64 = 1_000_000_000

    /// Adds a handshake on a connection.
    ///
    /// - Parameter prepare: gets the connection before the handshake has it.
    /// - Returns: the peer's end.
    func connect(
        as role: Role, _ authentication: Authentication = .x509,
        prepare: (borrowing LoopbackConnection) throws -> Void = { _ in }
    ) throws -> OwnedDescriptor {
        let connection = try LoopbackConnection()
        try prepare(connection)
        let accepted = AcceptedHandshake(
            socket: try connection.client.duplicate(),
            request: .success(HandshakeRequest(transport: .netlink, role: role, authentication: authentication)))
        handshakes.append(
            Handshake(UInt64(handshakes.count), accepted, try accepted.request.get(), from: upcall, backstop: .max))
        return try connection.server.duplicate()
    }
}
