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
final class TakeoversTests: ConnectionBench {
    private var takeovers = Takeovers()

    private static let millisecond: UInt64 = 1_000_000

    /// Answers a handshake at time 1 s.
    ///
    /// - Returns: the peer's end.
    private func answer(
        _ authentication: Authentication = .x509, isNFS: Bool = true, hasFailed: Bool = false
    ) throws -> OwnedDescriptor {
        let peer = try connect(as: .client, authentication) { connection in
            TCPConnection(connection.client.number).isUndelayed = isNFS
            // As the kernel does it for its NFS client (xs_create_sock).
            var one: Int32 = 1
            _ = unsafe setsockopt(
                connection.client.number, SOL_SOCKET, SO_REUSEPORT, &one, socklen_t(MemoryLayout<Int32>.size))
        }
        takeovers.begin(handshakes[handshakes.count - 1], hasFailed: hasFailed, now: Self.second)
        return peer
    }

    private func consumer(_ number: Int = 0) -> TCPConnection { TCPConnection(handshakes[number].accepted.number) }

    private static let takenOverAt = second + 2 * millisecond

    /// The first decision on one that is taken over at once.
    private func decide() -> [Takeovers.Reason] {
        #expect(takeovers.look(Self.takenOverAt).isEmpty)
        return takeovers.look(Self.takenOverAt + Takeovers.looks[0]).map(\.reason)
    }

    private func awaitState(_ state: TCPConnection.State) throws {
        try wait { consumer().state == state }
    }

    @Test("one that stands is released as it was")
    func stands() throws {
        let peer = try answer()
        #expect(!consumer().isUndelayed)
        consumer().isUndelayed = true
        #expect(decide().isEmpty)
        for later in Takeovers.looks.dropFirst() { #expect(takeovers.look(Self.takenOverAt + later).isEmpty) }
        #expect(takeovers.count == 0)
        #expect(consumer().state == .open)
        #expect(consumer().isUndelayed)
        peer.close()
    }

    @Test(
        "one that the server closes while the kernel is interrupted in its takeover is shut down later, without a line")
    func closedAfterDecision() throws {
        let peer = try answer()
        consumer().isUndelayed = true
        #expect(decide().isEmpty)
        peer.close()
        try awaitState(.closedByPeer)
        #expect(takeovers.look(Self.takenOverAt + Takeovers.looks[1]).isEmpty)
        try awaitState(.ended)
    }

    @Test("the end of the daemon waits for a takeover, but not for one that does not come")
    func end() throws {
        let first = try answer(), second = try answer()
        #expect(takeovers.delayEnd(Self.second + Self.millisecond))
        consumer(0).isUndelayed = true
        consumer(1).isUndelayed = true
        #expect(decide().isEmpty)
        #expect(!takeovers.delayEnd(Self.takenOverAt + Takeovers.looks[0]))
        let third = try answer()
        #expect(takeovers.delayEnd(Self.second))
        #expect(!takeovers.delayEnd(Self.second + 250 * Self.millisecond))
        first.close()
        second.close()
        third.close()
    }

    @Test("one that the server has closed before it was taken over is shut down")
    func closedBefore() throws {
        try answer().close()
        try awaitState(.closedByPeer)
        consumer().isUndelayed = true
        #expect(decide() == [.closedByPeer])
        try awaitState(.ended)
        for later in Takeovers.looks.dropFirst() { #expect(takeovers.look(Self.takenOverAt + later).isEmpty) }
        #expect(takeovers.nextLook == nil)
    }

    @Test("one of a failed handshake that is used nevertheless is shut down, though it stands")
    func lostVerdict() throws {
        let peer = try answer(hasFailed: true)
        consumer().isUndelayed = true
        #expect(decide() == [.failed])
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
