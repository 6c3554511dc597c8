package import Handshake
package import KernelWire
package import Policy
package import System
package import Unconfined
package import Wire

/// An interface over which kernel consumers send requests and receive answers. Each belongs to the network namespace in
/// which it was opened, and to one thread: ACCEPT and accept(2) install descriptors for the calling thread's process.
package protocol Upcall: AnyObject {
    /// Descriptors to poll for reading. Call `drain` when one is readable, and once at the start.
    var descriptors: [Int32] { get }

    /// FDNAME of `descriptors` in the descriptor store; the same for every namespace.
    var storeName: String? { get }

    /// True if the last `drain` left requests for which there is no further event: call it again after other events
    /// were handled.
    var isBehind: Bool { get }

    /// True if the kernel accepts session tags.
    var takesTags: Bool { get }

    /// Accepts pending requests until there are no more, or until a limit is reached. The kernel queues only 3 to 50
    /// requests (net/handshake/netlink.c), so call it often.
    ///
    /// - Parameter body: receives each request, which must be answered exactly once.
    /// - Returns: Errors on the way. Requests that the kernel could not hand over have failed already.
    func drain(_ body: (AcceptedHandshake) -> Void) -> [UpcallError]

    /// Sends the result and closes our descriptor, in that order. A worker must have closed its own descriptor before:
    /// on AF_TLSH the last close is the answer.
    ///
    /// - Parameter remoteIdentity: the key that represents the peer; only with `.success` and an authenticated peer.
    /// - Throws: The error of the kernel. The descriptor is closed nevertheless, and the request must not be answered
    ///   again. Success does not prove that the consumer was still waiting.
    func answer(_ accepted: AcceptedHandshake, status: Status, remoteIdentity: KeySerial?) throws(UpcallError)

    /// The same with the peer's session tags, which are omitted if the kernel does not accept them.
    func answer(
        _ accepted: AcceptedHandshake, status: Status, remoteIdentity: KeySerial?, tags: [String]
    ) throws(UpcallError)

    /// Stops listening. Accepted requests must still be answered; `drain` accepts no more.
    func retire()

    /// Other listeners in the same network namespace.
    func rivals() throws(UpcallError) -> [RivalListener]

    /// Identifies the connection of a request, before its answer; `nil` if the kernel cannot report connections.
    func connection(of accepted: AcceptedHandshake) -> ConnectionDiagnostics?

    /// Returns `true` if the connection is established; `nil` if the kernel cannot report it.
    func isEstablished(_ connection: ConnectionDiagnostics) -> Bool?
}

extension Upcall {
    package var storeName: String? { nil }
    package var isBehind: Bool { false }
    package var takesTags: Bool { false }
    package func answer(
        _ accepted: AcceptedHandshake, status: Status, remoteIdentity: KeySerial?, tags: [String]
    ) throws(UpcallError) {
        try answer(accepted, status: status, remoteIdentity: remoteIdentity)
    }

    package func connection(of accepted: AcceptedHandshake) -> ConnectionDiagnostics? { nil }
    package func isEstablished(_ connection: ConnectionDiagnostics) -> Bool? { nil }
    package func retire() {}
    package func rivals() throws(UpcallError) -> [RivalListener] { [] }
}

/// A socket of another process that also receives every request.
package struct RivalListener: Sendable, Hashable {
    /// Inode, as in /proc/PID/fd.
    package let inode: UInt64
    /// Netlink port, by convention the process ID.
    package let port: UInt32
    /// Memory of unread notifications in bytes.
    package let unread: UInt32

    package init(inode: UInt64, port: UInt32, unread: UInt32) {
        self.inode = inode
        self.port = port
        self.unread = unread
    }
}

/// An error in the communication with the kernel.
package enum UpcallError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kernel has no generic-netlink family `handshake`.
    case familyMissing(kernel: String)
    /// The kernel has no AF_TLSH under this number.
    case listenerMissing(family: Int32)
    /// Another process already listens for these connections.
    case listenerTaken(ListenerFamily, holders: [String])
    /// An AF_TLSH consumer gave up before its socket was accepted.
    case consumerGone(peer: String)
    /// A system call, or libnl, failed.
    case system(SystemError)
    /// The kernel rejected a command, possibly with an explanation.
    case rejected(command: String, number: Errno, text: String?)
    /// A message of the kernel is malformed.
    case malformed(WireError)
    /// The kernel executed the command but sent no reply, because it did not fit into our receive buffer.
    case noReply(command: String)

    /// Problem and remedy, for a log line.
    package var description: String {
        switch self {
        case .familyMissing(let kernel):
            "kernel \(kernel) offers no TLS handshake upcall: "
                + (Self.isBefore65(kernel) ? "use Linux 6.5 or later, built with" : "use one that was built with")
                + " CONFIG_NET_HANDSHAKE, which comes with CONFIG_SUNRPC, CONFIG_NVME_TCP or CONFIG_NVME_TARGET_TCP"
        case .listenerMissing(let family): "the kernel has no AF_TLSH (address family \(family))"
        case .listenerTaken(let family, let holders):
            "another process listens for TLS handshakes on \(family.name) (AF_TLSH): "
                + (holders.isEmpty
                    ? "tlshd may not see which, `tlshctl check` names it" : holders.joined(separator: ", "))
                + "; stop it, and tlshd takes over"
        case .consumerGone(let peer):
            "\(peer): the consumer gave up before its request was accepted; check if tlshd was stopped or the host overloaded"
        case .system(let error): Self.text(of: error)
        case .rejected(let command, let number, let text):
            "the kernel refused \(command): "
                + [text, number.name, Self.remedy(for: number)].compactMap(\.self).joined(
                    separator: "; ")
        case .malformed(let error): "malformed message from the kernel: \(error.description)"
        case .noReply(let command): "the kernel did not answer \(command)"
        }
    }

    /// Returns `true` for a release such as `6.4.16-generic`.
    private static func isBefore65(_ release: String) -> Bool {
        let numbers = release.split(separator: ".").prefix(2).map { Int($0.prefix { $0.isNumber }) ?? 0 }
        return numbers.lexicographicallyPrecedes([6, 5])
    }

    private static func text(of error: SystemError) -> String {
        let needsCapability = error.number == .eperm && ["bind", "listen", "accept4"].contains(error.call)
        return error.description + (needsCapability ? "; run tlshd with CAP_NET_BIND_SERVICE" : "")
    }

    private static func remedy(for number: Errno) -> String? {
        switch number {
        case .eperm: "run tlshd with CAP_NET_ADMIN, outside of user namespaces"
        case .eacces: "run tlshd as root: the consumer's keyring is root's"
        case .enfile, .emfile: "raise LimitNOFILE in the unit"
        default: nil
        }
    }

    /// The value of a system call.
    static func of<Value>(_ call: @autoclosure () throws(SystemError) -> Value) throws(UpcallError) -> Value {
        do throws(SystemError) {
            return try call()
        } catch {
            throw .system(error)
        }
    }

    /// The value of a call that parses a message.
    static func of<Value>(message call: @autoclosure () throws(WireError) -> Value) throws(UpcallError) -> Value {
        do throws(WireError) {
            return try call()
        } catch {
            throw .malformed(error)
        }
    }
}

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
    /// `nil` if it is not a TCP connection.
    var delivery: StreamDelivery? { get }
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
    package var delivery: StreamDelivery? { StreamDelivery(of: socket) }
    package func transportProtocol() throws(SystemError) -> Int32 { try SocketFacts.transportProtocol(of: socket) }
    package func peerAddress() throws(SystemError) -> String { try SocketFacts.peerAddress(of: socket) }
    package func localPort() throws(SystemError) -> UInt16 { try SocketFacts.localPort(of: socket) }
    package func cookie() throws(SystemError) -> UInt64 { try SocketFacts.cookie(of: socket) }
}

/// Other listeners for handshake requests in the calling thread's network namespace. Neither listens nor needs
/// privileges.
package enum ListenerScan {
    /// Sockets subscribed to the netlink multicast group. If there are none, handshake requests fail at once.
    ///
    /// - Throws: `.familyMissing` if the kernel lacks the family; `.system` if it cannot list sockets (the module
    ///   netlink_diag).
    package static func netlink() throws(UpcallError) -> [RivalListener] {
        let socket = try NetlinkSocket()
        guard try socket.resolve(family: HandshakeFamily.name) != nil else {
            throw .familyMissing(kernel: Kernel.release())
        }
        let group = try socket.resolve(group: HandshakeFamily.group, of: HandshakeFamily.name)
        let port = try NetlinkSocket(NetlinkDiagnostics.netlinkProtocol)
        return try NetlinkDiagnosis(port: port, group: group, own: 0).rivals()
    }

    /// Processes that hold AF_TLSH sockets, such as `tlshd (812)`, as far as /proc shows them.
    ///
    /// - Returns: `nil` if the kernel has no AF_TLSH under this number.
    package static func listener(_ parameters: ListenerParameters) -> [String]? {
        let port = KernelListenerPort()
        return port.isPresent(parameters) ? port.holders(parameters) : nil
    }
}
