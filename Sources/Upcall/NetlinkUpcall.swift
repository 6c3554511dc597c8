internal import CNetlink
package import Handshake
package import KernelWire
package import Policy
package import System
internal import Unconfined
internal import Wire

/// The generic-netlink upcall of mainline kernels: READY, ACCEPT, DONE (net/handshake/netlink.c).
///
/// It has two sockets: one receives READY notifications, the other sends commands and receives replies. So a flood of
/// notifications cannot fill the buffer for the reply to ACCEPT, whose loss would lose the request.
package final class NetlinkUpcall: Upcall {
    /// `nil` after `retire`.
    private var notifications: (any NetlinkPort)?
    private let requests: any NetlinkPort
    /// Reads the members of the multicast group; `nil` if the kernel cannot report them.
    private let diagnostics: NetlinkDiagnosis?
    private let family: UInt16
    private var sequence: UInt32 = 0
    /// True if DONE accepts session tags. The kernel would reject DONE with an unknown attribute.
    package private(set) var takesTags = false
    package private(set) var isBehind = false

    /// Consecutive failures after which `drain` gives up: more than the kernel queues.
    private static let failureLimit = 64

    /// Maximum number of requests per `drain`: more than the kernel queues. Bounded so that a flood of requests cannot
    /// starve DONE.
    private static let batch = 64

    package static let storeName = "netlink"

    /// Opens both sockets in the calling thread's network namespace and starts listening. From now on the kernel queues
    /// requests for us.
    ///
    /// - Parameter kept: the notification socket of a previous daemon process in this namespace, which is already
    ///   subscribed.
    /// - Throws: `.familyMissing`, or other errors.
    package convenience init(kept: consuming OwnedDescriptor? = nil) throws(UpcallError) {
        let requests = try NetlinkSocket()
        guard let family = try requests.resolve(family: HandshakeFamily.name) else {
            throw .familyMissing(kernel: Kernel.release())
        }
        // No command is sent on the notification socket: notifications would arrive before the reply.
        let group = try requests.resolve(group: HandshakeFamily.group, of: HandshakeFamily.name)
        let notifications: NetlinkSocket
        if let kept {
            notifications = try NetlinkSocket(adopting: kept)
        } else {
            notifications = try NetlinkSocket()
            try notifications.join(group)
        }
        self.init(
            notifications: notifications, requests: requests, family: family,
            diagnostics: try? NetlinkDiagnosis(group: group, besides: notifications.number))
        learnAboutTags()
    }

    init(
        notifications: any NetlinkPort, requests: any NetlinkPort, family: UInt16, diagnostics: NetlinkDiagnosis? = nil
    ) {
        self.diagnostics = diagnostics
        self.notifications = notifications
        self.requests = requests
        self.family = family
    }

    /// Debug level of libnl on stderr (`[debug] nl`); 0 disables it.
    package static func setDebugLevel(_ level: Int) {
        cnetlink_set_debug_level(Int32(clamping: level))
    }

    package var descriptors: [Int32] { notifications.map { [$0.number] } ?? [] }

    package var storeName: String? { Self.storeName }

    package func retire() {
        notifications = nil
        isBehind = false
    }

    package func connection(of accepted: AcceptedHandshake) -> ConnectionDiagnostics? {
        guard let connection = accepted.connection, diagnostics?.isEstablished(connection) == true else { return nil }
        return connection
    }

    package func isEstablished(_ connection: ConnectionDiagnostics) -> Bool? { diagnostics?.isEstablished(connection) }

    package func rivals() throws(UpcallError) -> [RivalListener] { try diagnostics?.rivals() ?? [] }

    package func drain(_ body: (AcceptedHandshake) -> Void) -> [UpcallError] {
        guard let notifications else { return [] }
        var problems = Self.discard(notifications)
        var failures = 0
        var taken = 0
        isBehind = false
        while failures < Self.failureLimit {
            guard taken < Self.batch else {
                isBehind = true
                return problems
            }
            do throws(UpcallError) {
                guard let accepted = try accept() else { return problems }
                failures = 0
                taken += 1
                body(accepted)
            } catch {
                problems.append(error)
                guard Self.consumedRequest(error) else { return problems }
                failures += 1
            }
        }
        return problems
    }

    package func answer(
        _ accepted: AcceptedHandshake, status: Status, remoteIdentity: KeySerial?
    ) throws(UpcallError) {
        try answer(accepted, status: status, remoteIdentity: remoteIdentity, tags: [])
    }

    package func answer(
        _ accepted: AcceptedHandshake, status: Status, remoteIdentity: KeySerial?, tags: [String]
    ) throws(UpcallError) {
        guard let socket = accepted.takeSocket() else {
            assertionFailure("a handshake request was answered twice")
            return
        }
        // The descriptor is closed after DONE, which names the socket by our descriptor.
        let identity = status == .success ? remoteIdentity : nil
        do throws(UpcallError) {
            try done(socket.number, status, identity, takesTags && status == .success ? accepted.divide(tags).told : [])
        } catch {
            socket.close()
            throw error
        }
        socket.close()
    }

    private func done(
        _ socket: Int32, _ status: Status, _ identity: KeySerial?, _ tags: [String]
    ) throws(UpcallError) {
        do throws(UpcallError) {
            try done(.done(socket: socket, status: status, remoteIdentity: identity, tags: tags))
        } catch .rejected(_, .einval, _) where !tags.isEmpty {
            // The policy was wrong. The session is more important than the tags.
            takesTags = false
            try done(.done(socket: socket, status: status, remoteIdentity: identity))
        }
    }

    private func done(_ command: HandshakeCommand) throws(UpcallError) {
        for (bytes, message) in try exchange(command, "DONE") where message.type == NetlinkNumber.error {
            return try Self.check(message, in: bytes, "DONE")
        }
        throw .noReply(command: "DONE")
    }

    /// Sends one ACCEPT; `nil` if no request is pending.
    private func accept() throws(UpcallError) -> AcceptedHandshake? {
        for (bytes, message) in try exchange(.accept, "ACCEPT") {
            if message.type == family {
                return try read(message, in: bytes)
            }
            if message.type == NetlinkNumber.error {
                do throws(UpcallError) {
                    try Self.check(message, in: bytes, "ACCEPT")
                } catch .rejected(command: _, number: .eagain, text: _) {
                    return nil
                }
            }
        }
        throw .noReply(command: "ACCEPT")
    }

    private func read(_ message: NetlinkMessage, in bytes: [UInt8]) throws(UpcallError) -> AcceptedHandshake {
        let reply = try UpcallError.of(
            message: AcceptReply(from: try GenericNetlinkMessage(from: message, in: bytes.span), in: bytes.span))
        guard let number = reply.socket else {
            guard case .failure(let problem) = reply.request else { throw .malformed(.missing(field: "socket")) }
            throw .malformed(problem)
        }
        let request = reply.request.mapError { HandshakeFailure(.requestMalformed, $0.description) }
        return AcceptedHandshake(
            socket: OwnedDescriptor(adopting: number), request: request, mostTags: reply.mostTags)
    }

    /// Sends a command and receives its reply, one datagram: the kernel replies before send returns. Other datagrams in
    /// the queue belong to earlier commands and are skipped.
    private func exchange(
        _ command: HandshakeCommand, _ name: String
    ) throws(UpcallError) -> [(bytes: [UInt8], message: NetlinkMessage)] {
        let (family, number) = (family, nextSequence())
        return try exchange(room: command.length) { (span) throws(WireError) in
            try command.encode(family: family, sequence: number, to: &span)
        }
    }

    /// Determines if DONE accepts session tags. If the kernel does not report its policy, it does not.
    func learnAboutTags() {
        takesTags = (try? policyTakesTags()) ?? false
    }

    /// Reads the policy of DONE (net/netlink/policy.c).
    private func policyTakesTags() throws(UpcallError) -> Bool {
        var policy = NetlinkPolicy(ofCommand: HandshakeFamily.Command.done.rawValue)
        let (family, number, question) = (family, nextSequence(), policy)
        let replies = try exchange(room: 64, isDump: true) { (span) throws(WireError) in
            try question.encodeQuestion(family: family, sequence: number, to: &span)
        }
        for (bytes, message) in replies where message.type == NetlinkPolicy.controller {
            try UpcallError.of(message: try policy.add(message, in: bytes.span))
        }
        return policy.takesText(HandshakeFamily.DoneAttribute.tag.rawValue)
    }

    private func nextSequence() -> UInt32 {
        sequence = sequence == .max ? 1 : sequence + 1
        return sequence
    }

    private func exchange(
        room: Int, isDump: Bool = false, _ encode: (inout MutableSpan<UInt8>) throws(WireError) -> Int
    ) throws(UpcallError) -> [(bytes: [UInt8], message: NetlinkMessage)] {
        var request = [UInt8](repeating: 0, count: room)
        let length: Int
        do throws(WireError) {
            var span = request.mutableSpan
            length = try encode(&span)
        } catch {
            throw .malformed(error)
        }
        try UpcallError.of(try requests.send(request.span.extracting(first: length)))
        return try replies(isDump)
    }

    /// - Parameter isDump: the reply may consist of several datagrams.
    private func replies(_ isDump: Bool) throws(UpcallError) -> [(bytes: [UInt8], message: NetlinkMessage)] {
        var found: [(bytes: [UInt8], message: NetlinkMessage)] = []
        while true {
            guard let bytes = try UpcallError.of(try requests.receive()) else { return found }
            for message in try UpcallError.of(message: try NetlinkMessage.all(in: bytes.span))
            where message.sequence == sequence {
                found.append((bytes, message))
            }
            if !isDump, !found.isEmpty { return found }
        }
    }

    /// Discards all notifications. Their contents do not matter: each of them, or the loss of one, means that ACCEPT
    /// must be sent.
    private static func discard(_ notifications: any NetlinkPort) -> [UpcallError] {
        var problems: [UpcallError] = []
        var failures = 0
        while failures < Self.failureLimit {
            do throws(SystemError) {
                guard try notifications.receive() != nil else { return problems }
            } catch {
                failures += 1
                if error.number != .enobufs { problems.append(.system(error)) }
            }
        }
        return problems
    }

    /// Throws if the acknowledgement contains an error.
    private static func check(
        _ message: NetlinkMessage, in bytes: [UInt8], _ command: String
    ) throws(UpcallError) {
        let verdict = try UpcallError.of(message: try NetlinkAcknowledgement(from: message, in: bytes.span))
        let number = Errno(verdict.number)
        guard number == .success else {
            throw .rejected(command: command, number: number, text: verdict.text)
        }
    }

    /// Returns `true` if the failed ACCEPT removed a request from the queue, so that the next ACCEPT may succeed.
    /// Errors of ACCEPT itself occur every time.
    private static func consumedRequest(_ error: UpcallError) -> Bool {
        switch error {
        case .rejected(_, let number, _): ![.eperm, .einval, .erange, .eopnotsupp].contains(number)
        case .malformed, .noReply: true
        case .familyMissing, .listenerMissing, .listenerTaken, .consumerGone, .system: false
        }
    }
}

/// A netlink socket for `NetlinkUpcall`. Tests substitute a scripted kernel.
protocol NetlinkPort: AnyObject {
    var number: Int32 { get }

    /// Sends one datagram to the kernel.
    func send(_ bytes: Span<UInt8>) throws(SystemError)

    /// Receives the next datagram of the kernel; `nil` if there is none. Never waits.
    ///
    /// - Throws: `recvmsg`; ENOBUFS once after datagrams were dropped because the buffer was full.
    func receive() throws(SystemError) -> [UInt8]?
}

/// A netlink socket, connected by libnl. It stays in the network namespace in which it was opened.
@safe final class NetlinkSocket: NetlinkPort {
    // Allocated in init, freed in deinit, and used by one thread.
    private let handle: OpaquePointer
    private static let datagramLimit = 32_768

    /// - Parameter netlinkProtocol: NETLINK_GENERIC, or another (include/uapi/linux/netlink.h).
    init(_ netlinkProtocol: Int32 = NETLINK_GENERIC) throws(UpcallError) {
        guard let handle = unsafe nl_socket_alloc() else { throw .system(SystemError("nl_socket_alloc", .enomem)) }
        unsafe self.handle = unsafe handle
        let result = unsafe nl_connect(handle, netlinkProtocol)
        guard result == 0 else { throw Self.failure("nl_connect", result) }
        // Extended acknowledgements are optional; without them only the errno is known.
        Socket.explainErrors(of: number)
        // READY is not repeated if the buffer is full.
        Socket.setReceiveBuffer(of: number, to: 1 << 20)
    }

    /// Takes over a socket that this class created in a previous process.
    init(adopting descriptor: consuming OwnedDescriptor, _ netlinkProtocol: Int32 = NETLINK_GENERIC) throws(UpcallError)
    {
        guard let handle = unsafe nl_socket_alloc() else { throw .system(SystemError("nl_socket_alloc", .enomem)) }
        unsafe self.handle = unsafe handle
        // libnl closes the descriptor with the handle. If it refuses the descriptor, we still own it.
        let result = unsafe nl_socket_set_fd(handle, netlinkProtocol, descriptor.number)
        guard result == 0 else { throw Self.failure("nl_socket_set_fd", result) }
        _ = descriptor.release()
    }

    deinit {
        unsafe nl_socket_free(handle)
    }

    var number: Int32 { unsafe nl_socket_get_fd(handle) }

    /// Number of a generic-netlink family; `nil` if the kernel lacks it.
    func resolve(family: String) throws(UpcallError) -> UInt16? {
        let result = unsafe genl_ctrl_resolve(handle, family)
        if result == -NLE_OBJ_NOTFOUND { return nil }
        guard result >= 0, let number = UInt16(exactly: result) else { throw Self.failure("genl_ctrl_resolve", result) }
        return number
    }

    /// Number of a multicast group of a family.
    func resolve(group: String, of family: String) throws(UpcallError) -> UInt32 {
        let number = unsafe genl_ctrl_resolve_grp(handle, family, group)
        guard number >= 0 else { throw Self.failure("genl_ctrl_resolve_grp", number) }
        return UInt32(number)
    }

    /// Joins a multicast group.
    func join(_ group: UInt32) throws(UpcallError) {
        let result = unsafe nl_socket_add_membership(handle, Int32(truncatingIfNeeded: group))
        guard result == 0 else { throw Self.failure("nl_socket_add_membership", result) }
    }

    func send(_ bytes: Span<UInt8>) throws(SystemError) {
        do throws(Errno) {
            // A datagram is sent whole.
            _ = try Socket.send(bytes, over: number)
        } catch {
            throw SystemError("send", error, "to the kernel")
        }
    }

    func receive() throws(SystemError) -> [UInt8]? {
        try Socket.receive(atMost: Self.datagramLimit, fromKernel: number)
    }

    private static func failure(_ call: String, _ result: Int32) -> UpcallError {
        // libnl has its own error numbers, which nl_geterror(3) translates.
        let text = unsafe nl_geterror(result).map { unsafe String(cString: $0) } ?? "error \(result)"
        return .system(SystemError(call, 0, "failed: \(text)"))
    }
}

/// Asks the kernel which sockets of its network namespace are in a multicast group (net/netlink/diag.c).
final class NetlinkDiagnosis {
    private let port: any NetlinkPort
    private let group: UInt32
    private let own: UInt64
    private var sequence: UInt32 = 0

    /// Opens a socket in the calling thread's network namespace.
    ///
    /// - Parameter socket: our own socket in the group, which is not reported.
    convenience init(group: UInt32, besides socket: Int32) throws(UpcallError) {
        let inode = try UpcallError.of(try FileIdentity(ofNumber: socket).inode)
        self.init(port: try NetlinkSocket(NetlinkDiagnostics.netlinkProtocol), group: group, own: inode)
    }

    init(port: any NetlinkPort, group: UInt32, own: UInt64) {
        self.port = port
        self.group = group
        self.own = own
    }

    /// Returns `true` if a TCP connection of the namespace is established; `nil` if the kernel does not report it.
    func isEstablished(_ connection: ConnectionDiagnostics) -> Bool? {
        sequence &+= 1
        do {
            try port.send(connection.request(sequence: sequence).span)
            while let bytes = try port.receive() {
                for message in try NetlinkMessage.all(in: bytes.span) where message.sequence == sequence {
                    guard message.type == NetlinkNumber.error else {
                        return try ConnectionDiagnostics.isEstablished(message, in: bytes.span)
                    }
                    // The same error occurs if the module tcp_diag is missing, so ask first while
                    // the connection is established.
                    let number = Errno(try NetlinkAcknowledgement(from: message, in: bytes.span).number)
                    return number == .enoent || number == .estale ? false : nil
                }
            }
        } catch {}
        return nil
    }

    /// All other sockets in the group.
    func rivals() throws(UpcallError) -> [RivalListener] {
        sequence &+= 1
        var found: [RivalListener] = []
        do throws(SystemError) {
            try port.send(NetlinkDiagnostics.request(sequence: sequence).span)
            while let bytes = try port.receive() {
                if try read(bytes, into: &found) { return found }
            }
        } catch {
            throw .system(error)
        }
        throw .noReply(command: "SOCK_DIAG_BY_FAMILY")
    }

    /// Returns `true` at the end of the answer.
    private func read(_ bytes: [UInt8], into found: inout [RivalListener]) throws(SystemError) -> Bool {
        do throws(WireError) {
            for message in try NetlinkMessage.all(in: bytes.span) where message.sequence == sequence {
                if message.type == NetlinkNumber.done { return true }
                if message.type == NetlinkNumber.error {
                    let number = Errno(try NetlinkAcknowledgement(from: message, in: bytes.span).number)
                    throw WireError.outOfRange(field: "\(number), is the module netlink_diag there", offset: 0)
                }
                let socket = try NetlinkDiagnostics(from: message, in: bytes.span)
                if socket.isMember(of: group), socket.inode != own {
                    found.append(RivalListener(inode: socket.inode, port: socket.port, unread: socket.unread))
                }
            }
        } catch {
            throw SystemError("SOCK_DIAG_BY_FAMILY", 0, error.description)
        }
        return false
    }
}
