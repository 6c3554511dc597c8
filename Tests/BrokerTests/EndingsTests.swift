import Glibc
import Handshake
import Policy
import TestSupport
import Testing

@testable import Broker
@testable import System
@testable import Unconfined
@testable import Upcall

/// How the connection of a failed handshake ends before the kernel is told. The clock is the test's, the sockets are
/// real.
@Suite("the end of refused connections")
final class EndingsTests: ConnectionBench {
    private var endings = Endings()

    /// Begins to end a connection at time 1 s; the consumer's timer is at 5 s.
    ///
    /// - Returns: the peer's end.
    private func begin(
        _ reason: FailureReason, as role: Role, _ authentication: Authentication = .x509,
        sending bytes: [UInt8] = [], timer: UInt64 = 5 * second
    ) throws -> OwnedDescriptor {
        let peer = try connect(as: role, authentication)
        if !bytes.isEmpty { try Self.send(bytes, peer.number) }
        let result = HandshakeResult(outcome: .failure(HandshakeFailure(reason)))
        endings.begin(try #require(handshakes.last), result, by: timer, now: Self.second)
        return peer
    }

    private static func send(_ bytes: [UInt8], _ socket: Int32) throws {
        try #require(unsafe Glibc.send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
    }

    /// All that the peer receives until the connection's end.
    ///
    /// - Throws: ECONNRESET where it was reset.
    private func rest(_ peer: Int32) throws -> [UInt8] {
        var all: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe recv(peer, &part, part.count, 0)
            guard count >= 0 else { throw SystemError.last("recv") }
            guard count > 0 else { return all }
            all += part.prefix(count)
        }
    }

    /// Whether the peer has received nothing, no end either.
    private func hasHeardNothing(_ peer: Int32) -> Bool {
        var byte: UInt8 = 0
        return unsafe recv(peer, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) == -1 && errno == EAGAIN
    }

    /// Looks until something is over, with a clock that stands still.
    private func untilOver(at now: UInt64) throws -> [Endings.Over] {
        var over: [Endings.Over] = []
        try wait {
            endings.hurry()
            over = endings.look(now)
            return !over.isEmpty
        }
        return over
    }

    @Test("a server says nothing before the first byte of the hello; then the alert, then the end, and no reset")
    func hello() throws {
        let peer = try begin(.roleNotConfigured, as: .server)
        #expect(endings.look(Self.second + 1).isEmpty)
        #expect(hasHeardNothing(peer.number))
        try Self.send([22, 3, 1, 2, 0] + [UInt8](repeating: 1, count: 512), peer.number)
        endings.hurry()
        #expect(endings.look(Self.second + 2).isEmpty)
        #expect(try rest(peer.number) == [21, 3, 3, 0, 2, 2, 49])
        peer.close()
        let over = try untilOver(at: Self.second + 3)
        #expect(over.map(\.result.alertSent) == [.accessDenied])
    }

    @Test("a client that never speaks hears the alert when its time is up")
    func silent() throws {
        let peer = try begin(.overloaded, as: .server)
        #expect(endings.look(Self.second + Endings.patience - 1).isEmpty)
        #expect(hasHeardNothing(peer.number))
        endings.hurry()
        #expect(endings.look(Self.second + Endings.patience).count == 1)
        #expect(try rest(peer.number) == [21, 3, 3, 0, 2, 2, 80])
        peer.close()
    }

    @Test("the consumer's timer comes first")
    func timer() throws {
        let peer = try begin(.overloaded, as: .server, timer: Self.second + 7)
        #expect(endings.nextLook == Self.second)
        #expect(endings.look(Self.second + 6).isEmpty)
        #expect(endings.nextLook == Self.second + 7)
        #expect(endings.look(Self.second + 7).count == 1)
        peer.close()
    }

    @Test("what the peer has sent is discarded, so that the close does not reset the connection")
    func drained() throws {
        let peer = try begin(.alertReceived, as: .server, sending: [UInt8](repeating: 7, count: 100_000))
        #expect(endings.look(Self.second + 1).isEmpty)
        #expect(TCPConnection(handshakes[0].accepted.number).hasUnread == false)
        try Self.send([UInt8](repeating: 7, count: 1000), peer.number)
        endings.hurry()
        #expect(endings.look(Self.second + 2).isEmpty)
        shutdown(peer.number, Int32(SHUT_WR))
        #expect(try untilOver(at: Self.second + 3).count == 1)
        handshakes[0].accepted.takeSocket()?.close()
        #expect(try rest(peer.number).isEmpty, "an end, and no reset")
        peer.close()
    }

    @Test("a peer that sends without end is cut off")
    func endless() throws {
        let peer = try begin(.alertReceived, as: .server)
        let chunk = [UInt8](repeating: 7, count: 65_536)
        var sent = 0
        var over: [Endings.Over] = []
        while over.isEmpty, sent < 4 * Endings.mostBytes {
            let count = unsafe Glibc.send(peer.number, chunk, chunk.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
            sent += max(0, count)
            endings.hurry()
            over = endings.look(Self.second + 1)
        }
        #expect(over.count == 1)
        #expect(sent <= 3 * Endings.mostBytes)
        peer.close()
    }

    @Test("an NFS client's kernel is told a while after the reset, others at once")
    func resetClient() throws {
        for (role, authentication, settles) in [
            (Role.client, Authentication.x509, true), (.client, .unauthenticated, true),
            (.client, .preSharedKey, false),
            (.server, .x509, false),
        ] {
            let peer = try begin(.alertReceived, as: role, authentication)
            reset(peer.number)
            peer.close()
            let socket = TCPConnection(try #require(handshakes.last).accepted.number)
            try wait { socket.state == .ended }
            let now = Self.second + 5_000_000
            endings.hurry()
            if settles {
                #expect(endings.look(now).isEmpty)
                #expect(endings.look(now + Endings.settlingTime - 1).isEmpty)
                #expect(endings.nextLook == now + Endings.settlingTime)
                #expect(endings.look(now + Endings.settlingTime).count == 1)
            } else {
                #expect(endings.look(now).count == 1)
            }
            #expect(endings.isEmpty)
        }
    }

    @Test("one too many cuts the oldest short; all can be cut short")
    func most() throws {
        let peers = try (0...2).map { _ in SilentPeer(try begin(.overloaded, as: .server)) }
        endings.limit = 3
        let another = try begin(.overloaded, as: .server)
        let over = endings.look(Self.second)
        #expect(over.count == 1 && over.first?.handshake === handshakes.first)
        #expect(endings.cutShort().count == 3)
        #expect(endings.isEmpty && endings.nextLook == nil)
        another.close()
        withExtendedLifetime(peers) {}
    }

    @Test("of many that come at once as many are cut short, and an NFS client's connection last of all")
    func crowd() throws {
        let client = SilentPeer(try begin(.alertReceived, as: .client))
        endings.limit = 3
        let peers = try (1...6).map { _ in SilentPeer(try begin(.overloaded, as: .server)) }
        let over = endings.look(Self.second)
        #expect(over.map(\.handshake.request.role) == [.server, .server, .server, .server])
        #expect(endings.count == endings.limit)
        withExtendedLifetime((client, peers)) {}
    }

    @Test("a success whose connection has ended is none; a client's also where the server has closed it")
    func successes() throws {
        let session = HandshakeResult.Outcome.success(
            NegotiatedSession(cipherSuite: "", group: "", applicationProtocol: "", peerAuthenticated: true))
        for (role, isReset, reason) in [
            (Role.client, true, FailureReason.connectionReset), (.server, true, .connectionReset),
            (.client, false, .peerClosed),
            (.server, false, nil),
        ] as [(Role, Bool, FailureReason?)] {
            let peer = try connect(as: role)
            let handshake = try #require(handshakes.last)
            #expect(handshake.checkConnection(session) == session)
            if isReset { reset(peer.number) }
            peer.close()
            try wait { handshake.checkConnection(session) != session || reason == nil }
            switch (handshake.checkConnection(session), reason) {
            case (.success, nil): break
            case (.failure(let failure), let reason?):
                #expect(failure == HandshakeFailure(reason, "directly after the handshake"))
            case (let outcome, _): Issue.record("\(role), reset \(isReset): \(outcome)")
            }
        }
    }

    /// Has the close of a socket reset its connection.
    private func reset(_ socket: Int32) {
        var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
        unsafe setsockopt(socket, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    }
}
