package import Handshake
internal import System
internal import Wire

/// A request that the kernel has handed over, with our descriptor of the consumer's socket. It is answered exactly
/// once, by `Upcall.answer`; letting go of one that is not is an error that stops a debug build.
package final class AcceptedHandshake {
    /// What is asked; or why it cannot be served, which is then the answer to give.
    package var request: Result<HandshakeRequest, HandshakeFailure> { facts.request }
    /// Numeric address and port of the peer; `unknown` where the socket does not tell.
    package var peerAddress: String { facts.peerAddress }
    /// The port at our end, 0 where the socket does not tell.
    package var localPort: UInt16 { facts.localPort }
    /// CLOCK_MONOTONIC nanoseconds.
    package let acceptedAt: UInt64
    /// What to give the consumer with a success, where it wants one; set before the answer.
    package var sessionReference: SessionReference?

    /// How many session tags the kernel takes with the answer.
    package let mostTags: Int

    private var socket: OwnedDescriptor?
    private let asked: Result<HandshakeRequest, HandshakeFailure>

    private struct Facts {
        let request: Result<HandshakeRequest, HandshakeFailure>
        let peerAddress: String
        let localPort: UInt16
    }

    /// What the socket tells. Looked at when first needed, for while it is, others wait to be accepted; at the latest
    /// before the socket goes.
    private lazy var facts = Facts(
        request: Self.check(asked, number), peerAddress: (try? SocketFacts.peerAddress(of: number)) ?? "unknown",
        localPort: (try? SocketFacts.localPort(of: number)) ?? 0)

    /// Only TCP is served, for kTLS carries nothing else.
    init(
        socket: consuming OwnedDescriptor, request: Result<HandshakeRequest, HandshakeFailure>,
        mostTags: Int? = nil
    ) {
        self.mostTags = mostTags ?? HandshakeFamily.mostTags
        acceptedAt = Clock.monotonicNanoseconds()
        asked = request
        self.socket = consume socket
    }

    deinit {
        assert(socket == nil, "a handshake request was dropped without an answer")
    }

    /// The descriptor's number, borrowed; -1 after the answer.
    package var number: Int32 {
        guard let number = socket?.number else { return -1 }
        return number
    }

    /// The connection, as long as it is not answered.
    var connection: ConnectionDiagnostics? {
        guard let ends = try? SocketFacts.ends(of: number), let cookie = try? SocketFacts.cookie(of: number) else {
            return nil
        }
        return ConnectionDiagnostics(local: ends.local, peer: ends.peer, cookie: cookie)
    }

    /// For `Upcall.answer`: the descriptor, the first time.
    func takeSocket() -> OwnedDescriptor? {
        if socket != nil { _ = facts }
        return socket.take()
    }

    /// Those of a peer's session tags that the kernel takes, the first of them, and the others.
    package func divide(_ tags: [String]) -> (told: [String], leftOut: [String]) {
        var told: [String] = [], leftOut: [String] = []
        for tag in tags {
            if told.count < mostTags, tag.utf8.count <= HandshakeFamily.longestTag {
                told.append(tag)
            } else {
                leftOut.append(tag)
            }
        }
        return (told, leftOut)
    }

    private static func check(
        _ request: Result<HandshakeRequest, HandshakeFailure>, _ number: Int32
    ) -> Result<HandshakeRequest, HandshakeFailure> {
        let tcp: Int32 = 6
        do throws(SystemError) {
            let transport = try SocketFacts.transportProtocol(of: number)
            guard transport != tcp, case .success = request else { return request }
            return .failure(HandshakeFailure(.socketUnsupported, "transport protocol \(transport)"))
        } catch {
            guard case .success = request else { return request }
            return .failure(HandshakeFailure(.socketUnsupported, error.description))
        }
    }
}
