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
