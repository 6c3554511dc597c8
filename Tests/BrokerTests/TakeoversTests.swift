import Glibc
import Handshake
import Policy
import TestSupport
import Testing

@testable import Broker
@testable import System
@testable import Unconfined
@testable import Upcall

/// What becomes of an NFS client's connection after its kernel was told. The clock is the test's, the sockets are real;
/// the test plays the kernel that takes a connection over by setting TCP_NODELAY.
@Suite("connections that the NFS client takes over")
final class TakeoversTests {
    private let upcall = ScriptedUpcall()
    private var takeovers = Takeovers()
    private var handshakes: [Handshake] = []

    deinit {
        for one in handshakes where one.accepted.number >= 0 { one.accepted.takeSocket()?.close() }
    }

    private static let millisecond: UInt64 = 1_000_000
    private static let second: UInt64 = 1_000_000_000

    /// Answers a handshake at time 1 s.
    ///
    /// - Returns: the peer's end.
    private func answer(
        _ authentication: Authentication = .x509, isNFS: Bool = true, hasFailed: Bool = false
    ) throws -> OwnedDescriptor {
        let connection = try LoopbackConnection()
        let peer = try connection.server.duplicate()
        TCPConnection(connection.client.number).isUndelayed = isNFS
        let accepted = AcceptedHandshake(
            socket: try connection.client.duplicate(),
            request: .success(HandshakeRequest(transport: .netlink, role: .client, authentication: authentication)))
        handshakes.append(
            Handshake(UInt64(handshakes.count), accepted, try accepted.request.get(), from: upcall, backstop: .max))
        takeovers.begin(handshakes[handshakes.count - 1], hasFailed: hasFailed, now: Self.second)
        return peer
    }

    private func consumer(_ number: Int = 0) -> TCPConnection { TCPConnection(handshakes[number].accepted.number) }

    /// The decision on one that is taken over at once.
    private func decide() -> [Takeovers.ShutDown] {
        #expect(takeovers.look(Self.second + 2 * Self.millisecond).isEmpty)
        return takeovers.look(Self.second + 2 * Self.millisecond + Takeovers.settlingTime)
    }

    private func awaitState(_ state: TCPConnection.State) throws {
        let deadline = Clock.deadline(in: .seconds(60))
        while consumer().state != state { try #require(Clock.monotonicNanoseconds() < deadline) }
    }

    @Test("one that stands is released as it was")
    func stands() throws {
        let peer = try answer()
        #expect(!consumer().isUndelayed)
        consumer().isUndelayed = true
        #expect(decide().isEmpty)
        #expect(takeovers.count == 0)
        #expect(consumer().state == .open)
        peer.close()
    }

    @Test("one that the server has closed before it was taken over is shut down")
    func closedBefore() throws {
        try answer().close()
        try awaitState(.closedByPeer)
        consumer().isUndelayed = true
        #expect(decide().map(\.hasFailed) == [false])
        try awaitState(.ended)
        #expect(takeovers.nextLook == nil)
    }

    @Test("one of a failed handshake that is used nevertheless is shut down, though it stands")
    func lostVerdict() throws {
        let peer = try answer(hasFailed: true)
        consumer().isUndelayed = true
        #expect(decide().map(\.hasFailed) == [true])
        #expect(consumer().state != .open)
        peer.close()
    }

    @Test("one that is not taken over in time is released with TCP_NODELAY set, and is not shut down")
    func neverTaken() throws {
        let peer = try answer(hasFailed: true)
        var now = Self.second
        while let next = takeovers.nextLook, next < 10 * Self.second {
            now = next
            #expect(takeovers.look(now).isEmpty)
        }
        #expect(now >= Self.second + Takeovers.patience)
        #expect(takeovers.count == 0)
        #expect(consumer().isUndelayed)
        #expect(consumer().state == .open)
        peer.close()
    }

    @Test("sockets of other consumers are left alone")
    func others() throws {
        let host = try answer(.preSharedKey)
        let other = try answer(isNFS: false)
        #expect(takeovers.count == 0)
        #expect(consumer(0).isUndelayed)
        #expect(!consumer(1).isUndelayed)
        host.close()
        other.close()
    }

    @Test("the oldest is released for one more than the limit")
    func limit() throws {
        takeovers.limit = 1
        let first = try answer(), second = try answer()
        #expect(takeovers.count == 1)
        #expect(consumer(0).isUndelayed)
        #expect(!consumer(1).isUndelayed)
        takeovers.releaseAll()
        #expect(takeovers.count == 0)
        #expect(consumer(1).isUndelayed)
        first.close()
        second.close()
    }
}
