package import Handshake
internal import KernelWire
package import Policy
package import System
package import Unconfined

/// A request accepted from the kernel, with our descriptor of the consumer's socket. It is answered exactly once, by
/// `Upcall.answer`; dropping it unanswered is a failed assertion in debug builds.
package final class AcceptedHandshake {
    /// The request, or the failure to answer with if it cannot be served.
    package var request: Result<HandshakeRequest, HandshakeFailure> { facts.request }
    /// Numeric address and port of the peer; `unknown` if the socket does not provide them.
    package var peerAddress: String { facts.peerAddress }
    /// Local port; 0 if the socket does not provide it.
    package var localPort: UInt16 { facts.localPort }
    /// CLOCK_MONOTONIC nanoseconds.
    package let acceptedAt: UInt64
    /// Reference to give the consumer with a success, if it wants one. Set before the answer.
    package var sessionReference: SessionReference?

    /// Number of session tags that the kernel accepts in DONE.
    package let mostTags: Int

    private var socket: OwnedDescriptor?
    private let givenStream: (any ConsumerStream)?
    private let asked: Result<HandshakeRequest, HandshakeFailure>

    private struct Facts {
        let request: Result<HandshakeRequest, HandshakeFailure>
        let peerAddress: String
        let localPort: UInt16
    }

    /// Properties of the socket. Read lazily, because other requests wait meanwhile, but at the latest before the
    /// socket is closed.
    private lazy var facts = Facts(
        request: Self.check(asked, stream), peerAddress: (try? stream.peerAddress()) ?? "unknown",
        localPort: (try? stream.localPort()) ?? 0)

    /// Requests on sockets other than TCP are refused, because kernel TLS supports only TCP.
    ///
    /// - Parameters:
    ///   - acceptedAt: CLOCK_MONOTONIC nanoseconds.
    ///   - stream: the connection behind the socket; by default that which the kernel describes.
    package init(
        socket: consuming OwnedDescriptor, request: Result<HandshakeRequest, HandshakeFailure>,
        mostTags: Int? = nil, acceptedAt: UInt64 = Clock.monotonicNanoseconds(), stream: (any ConsumerStream)? = nil
    ) {
        self.mostTags = mostTags ?? HandshakeFamily.mostTags
        self.acceptedAt = acceptedAt
        givenStream = stream
        asked = request
        self.socket = consume socket
    }

    deinit {
        assert(socket == nil, "a handshake request was dropped without an answer")
    }

    /// The descriptor, borrowed; -1 after the answer.
    package var number: Int32 {
        guard let number = socket?.number else { return -1 }
        return number
    }

    /// The connection behind the socket.
    package var stream: any ConsumerStream { givenStream ?? TCPConnection(number) }

    /// Identifies the connection for sock_diag; `nil` after the answer.
    var connection: ConnectionDiagnostics? {
        guard let ends = try? SocketFacts.ends(of: number), let cookie = try? SocketFacts.cookie(of: number) else {
            return nil
        }
        return ConnectionDiagnostics(local: ends.local, peer: ends.peer, cookie: cookie)
    }

    /// Returns the descriptor once, for `Upcall.answer`.
    package func takeSocket() -> OwnedDescriptor? {
        if socket != nil { _ = facts }
        return socket.take()
    }

    /// Splits session tags into those that the kernel accepts (the first ones) and the others.
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
        _ request: Result<HandshakeRequest, HandshakeFailure>, _ stream: any ConsumerStream
    ) -> Result<HandshakeRequest, HandshakeFailure> {
        let tcp: Int32 = 6
        do throws(SystemError) {
            let transport = try stream.transportProtocol()
            guard transport != tcp, case .success = request else { return request }
            return .failure(HandshakeFailure(.socketUnsupported, "transport protocol \(transport)"))
        } catch {
            guard case .success = request else { return request }
            return .failure(HandshakeFailure(.socketUnsupported, error.description))
        }
    }
}

/// The connection of a request: what the broker asks the kernel about it, and the ways to end it.
package protocol ConsumerStream {
    var state: TCPConnection.State { get }
    var hasUnread: Bool { get }
    var waitingRecord: TCPConnection.Record? { get }
    func discard(_ limit: Int) -> TCPConnection.Discarded
    func shutDownSending()
    func send(_ bytes: [UInt8]) -> Bool

    /// `nil` if it is not a TCP connection, or the kernel lacks the counters.
    var progress: StreamProgress? { get }
    /// IPPROTO_TCP or another one.
    func transportProtocol() throws(SystemError) -> Int32
    /// Address and port, numeric.
    func peerAddress() throws(SystemError) -> String
    func localPort() throws(SystemError) -> UInt16
    /// SO_COOKIE, the same for each descriptor of a socket.
    func cookie() throws(SystemError) -> UInt64
}

extension TCPConnection: ConsumerStream {
    package var progress: StreamProgress? { StreamProgress(of: socket) }
    package func transportProtocol() throws(SystemError) -> Int32 { try SocketFacts.transportProtocol(of: socket) }
    package func peerAddress() throws(SystemError) -> String { try SocketFacts.peerAddress(of: socket) }
    package func localPort() throws(SystemError) -> UInt16 { try SocketFacts.localPort(of: socket) }
    package func cookie() throws(SystemError) -> UInt64 { try SocketFacts.cookie(of: socket) }
}
