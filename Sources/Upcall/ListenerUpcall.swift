package import Handshake
package import Policy
package import System
internal import Unconfined

/// IP version of the connections that a listener accepts.
package enum ListenerFamily: Sendable, Equatable, CaseIterable {
    case ipv4
    case ipv6

    /// FDNAME of the listener in the descriptor store.
    package var storeName: String {
        switch self {
        case .ipv4: "tlsh-ipv4"
        case .ipv6: "tlsh-ipv6"
        }
    }

    package var name: String {
        switch self {
        case .ipv4: "IPv4"
        case .ipv6: "IPv6"
        }
    }
}

/// Numbers of AF_TLSH in the kernel; docs/af-tlsh.md.
package struct ListenerParameters: Sendable, Equatable {
    /// Meaning of a value of TLSH_HANDSHAKE_TYPE.
    package struct Kind: Sendable, Equatable {
        package var role: Role
        package var authentication: Authentication

        package init(_ role: Role, _ authentication: Authentication) {
            self.role = role
            self.authentication = authentication
        }
    }

    /// The address family.
    package var family: Int32
    /// The option level SOL_TLSH.
    package var level: Int32
    /// Keyed by the value of TLSH_HANDSHAKE_TYPE.
    package var kinds: [Int32: Kind]
    /// Value of TLSH_HANDSHAKE_TYPE that requests a key update.
    package var keyUpdate: Int32 = 5

    package init(
        family: Int32 = 46, level: Int32 = 287,
        kinds: [Int32: Kind] = [
            0: Kind(.client, .x509), 1: Kind(.client, .preSharedKey), 2: Kind(.client, .unauthenticated),
            3: Kind(.server, .x509), 4: Kind(.server, .preSharedKey),
        ]
    ) {
        self.family = family
        self.level = level
        self.kinds = kinds
    }
}

/// An AF_TLSH listener: accept(2) returns the consumers' sockets, parameters are socket options, and the last close is
/// the answer. A network namespace has one listener for IPv4 and one for IPv6.
package final class ListenerUpcall: Upcall {
    private let port: any ListenerPort
    private let parameters: ListenerParameters
    private let family: ListenerFamily
    /// Closed by `retire`.
    private var listener: OwnedDescriptor?
    /// Reserve descriptor for EMFILE: closed to accept and reject one request, which would otherwise keep the listener
    /// readable.
    private var spare: OwnedDescriptor?

    /// Maximum number of requests per `drain`. If more wait, the listener stays readable.
    private static let batch = 1024
    /// Maximum length of a text option in bytes.
    private static let textLimit = 1024

    /// Options at level SOL_TLSH.
    enum Option {
        static let priorities: Int32 = 1
        static let peerIdentity: Int32 = 2
        static let handshakeType: Int32 = 3
        static let certificate: Int32 = 4
        static let privateKey: Int32 = 5
        static let peerName: Int32 = 6
        static let session: Int32 = 7
        static let keyUpdate: Int32 = 8
    }

    /// Starts listening in the calling thread's network namespace.
    ///
    /// - Parameter kept: the listener of a previous daemon process in this namespace.
    /// - Throws: `.listenerMissing` if the kernel lacks the family, which is usual; `.listenerTaken` if another process
    ///   listens, so that a retry may succeed; other errors.
    package convenience init(
        _ family: ListenerFamily, _ parameters: ListenerParameters, kept: consuming OwnedDescriptor? = nil
    ) throws(UpcallError) {
        try self.init(family, parameters, port: KernelListenerPort(), kept: kept)
    }

    init(
        _ family: ListenerFamily, _ parameters: ListenerParameters, port: any ListenerPort,
        kept: consuming OwnedDescriptor? = nil
    ) throws(UpcallError) {
        self.port = port
        self.parameters = parameters
        self.family = family
        do throws(SystemError) {
            listener = if let kept { kept } else { try port.listen(for: family, parameters) }
        } catch {
            switch error.number {
            case .eafnosupport: throw .listenerMissing(family: parameters.family)
            case .eaddrinuse: throw .listenerTaken(family, holders: port.holders(parameters))
            default: throw .system(error)
            }
        }
        spare = try? listener?.duplicate()
    }

    package var descriptors: [Int32] { number.map { [$0] } ?? [] }

    package var storeName: String? { family.storeName }

    /// The listener, borrowed; `nil` after `retire`.
    private var number: Int32? { listener?.number }

    /// Closes the listener. The kernel refuses the requests that still wait.
    package func retire() {
        listener = nil
        spare = nil
    }

    package func drain(_ body: (AcceptedHandshake) -> Void) -> [UpcallError] {
        guard let number else { return [] }
        var problems: [UpcallError] = []
        for _ in 0..<Self.batch {
            do throws(SystemError) {
                guard let socket = try port.accept(on: number) else { return problems }
                receive(socket, &problems, body)
            } catch {
                guard [.emfile, .enfile].contains(error.number) else {
                    problems.append(.system(error))
                    return problems
                }
                problems.append(.rejected(command: error.call, number: error.number, text: "a request is lost"))
                guard refuseOne() else { return problems }
            }
        }
        return problems
    }

    /// Accepts a request with the reserve descriptor and closes it, which rejects the request.
    ///
    /// - Returns: `true` if more requests may be waiting.
    private func refuseOne() -> Bool {
        guard let number, let spare = spare.take() else { return false }
        spare.close()
        defer { self.spare = try? listener?.duplicate() }
        do throws(SystemError) {
            guard let socket = try port.accept(on: number) else { return false }
            socket.close()
            return true
        } catch {
            return false
        }
    }

    package func answer(
        _ accepted: AcceptedHandshake, status: Status, remoteIdentity: KeySerial?
    ) throws(UpcallError) {
        guard let socket = accepted.takeSocket() else {
            assertionFailure("a handshake request was answered twice")
            return
        }
        // The kernel determines the result from the installed keys; status and identity cannot be passed.
        var problem: SystemError?
        if status == .success, let reference = accepted.sessionReference {
            do throws(SystemError) {
                try port.setOption(Option.session, at: parameters.level, of: socket.number, to: reference.bytes)
            } catch {
                problem = error
            }
        }
        socket.close()
        if let problem { throw .system(problem) }
    }

    private func receive(
        _ socket: consuming OwnedDescriptor, _ problems: inout [UpcallError], _ body: (AcceptedHandshake) -> Void
    ) {
        let number = socket.number
        let request: Result<HandshakeRequest, HandshakeFailure>
        do throws(SystemError) {
            request = try read(number)
        } catch {
            guard error.number != .ebusy else {
                let peer = try? SocketFacts.peerAddress(of: number)
                socket.close()
                return problems.append(.consumerGone(peer: peer ?? "unknown"))
            }
            request = .failure(HandshakeFailure(.requestMalformed, error.description))
        }
        body(AcceptedHandshake(socket: socket, request: request))
    }

    /// Reads all parameters. The first option that the kernel refuses shows that the consumer is gone.
    private func read(_ socket: Int32) throws(SystemError) -> Result<HandshakeRequest, HandshakeFailure> {
        guard let type = try number(Option.handshakeType, of: socket) else {
            return .failure(HandshakeFailure(.requestMalformed, "an option is not 4 bytes long"))
        }
        guard type != parameters.keyUpdate else { return try readKeyUpdate(socket) }
        guard
            let identity = try number(Option.peerIdentity, of: socket),
            let certificate = try number(Option.certificate, of: socket)
        else { return .failure(HandshakeFailure(.requestMalformed, "an option is not 4 bytes long")) }
        guard let kind = parameters.kinds[type] else {
            return .failure(HandshakeFailure(.requestUnsupported, "handshake type \(type)"))
        }
        guard let priorities = try text(Option.priorities, of: socket),
            let name = try optional({ () throws(SystemError) in try text(Option.peerName, of: socket) }, otherwise: "")
        else { return .failure(HandshakeFailure(.requestMalformed, "a text contains a NUL or is not UTF-8")) }
        let ownKey = try optional({ () throws(SystemError) in try number(Option.privateKey, of: socket) }, otherwise: 0)
        let wantsSession = try optional(
            { () throws(SystemError) in
                _ = try port.option(Option.session, at: parameters.level, of: socket, room: SessionReference.size)
                return true
            }, otherwise: false)
        let peer = KeySerial(identity)
        var request = HandshakeRequest(
            transport: .listener, role: kind.role, authentication: kind.authentication,
            peerName: name.isEmpty ? nil : name, priorities: priorities.isEmpty ? nil : priorities)
        request.wantsSession = wantsSession ?? false
        switch kind.authentication {
        case .unauthenticated: break
        case .preSharedKey: if kind.role == .client, let peer { request.peerIdentities = [peer] }
        case .x509:
            request.certificate = KeySerial(certificate)
            request.privateKey = KeySerial(ownKey ?? 0) ?? peer
        }
        return .success(request)
    }

    /// Reads a key update request. The broker knows role and authentication from the handshake.
    private func readKeyUpdate(_ socket: Int32) throws(SystemError) -> Result<HandshakeRequest, HandshakeFailure> {
        guard let bits = try number(Option.keyUpdate, of: socket), let raw = UInt8(exactly: bits),
            KeyUpdate.Steps(rawValue: raw).isValid
        else { return .failure(HandshakeFailure(.requestMalformed, "invalid directions of a key update")) }
        let bytes = try port.option(Option.session, at: parameters.level, of: socket, room: Self.textLimit)
        guard let session = SessionReference(bytes) else {
            return .failure(HandshakeFailure(.sessionUnknown, "not a reference of this daemon"))
        }
        var request = HandshakeRequest(transport: .listener, role: .client, authentication: .x509)
        request.keyUpdate = KeyUpdate(session: session, steps: KeyUpdate.Steps(rawValue: raw))
        return .success(request)
    }

    /// Reads an option that not every kernel has.
    private func optional<Value>(
        _ read: () throws(SystemError) -> Value?, otherwise value: Value
    ) throws(SystemError) -> Value? {
        do throws(SystemError) {
            return try read()
        } catch {
            guard error.number == .enoprotoopt else { throw error }
            return value
        }
    }

    /// Reads a number. The buffer has exactly 4 bytes, because a prototype kernel would copy more; `nil` if fewer were
    /// returned.
    private func number(_ option: Int32, of socket: Int32) throws(SystemError) -> Int32? {
        let bytes = try port.option(option, at: parameters.level, of: socket, room: 4)
        guard bytes.count == 4 else { return nil }
        return unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(as: Int32.self) }
    }

    /// Reads a text without trailing NUL; `nil` if it is not valid text.
    private func text(_ option: Int32, of socket: Int32) throws(SystemError) -> String? {
        let bytes = try port.option(option, at: parameters.level, of: socket, room: Self.textLimit)
        guard !bytes.contains(0) else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }
}

/// System calls on AF_TLSH sockets for `ListenerUpcall`. Tests substitute a scripted kernel.
protocol ListenerPort: AnyObject {
    /// Creates a non-blocking listener for connections of one family, in the calling thread's network namespace.
    ///
    /// - Throws: The call that failed; `bind` with EADDRINUSE if another process listens.
    func listen(for family: ListenerFamily, _ parameters: ListenerParameters) throws(SystemError) -> OwnedDescriptor

    /// Accepts the socket of a waiting consumer; `nil` if there is none.
    func accept(on listener: Int32) throws(SystemError) -> OwnedDescriptor?

    /// Value of an option, at most `room` bytes.
    func option(_ number: Int32, at level: Int32, of socket: Int32, room: Int) throws(SystemError) -> [UInt8]

    /// Sets an option.
    func setOption(_ number: Int32, at level: Int32, of socket: Int32, to value: [UInt8]) throws(SystemError)

    /// Processes that hold AF_TLSH sockets, such as `other (812)`, as far as /proc shows them.
    func holders(_ parameters: ListenerParameters) -> [String]
}

/// AF_TLSH of the running kernel.
final class KernelListenerPort: ListenerPort {
    /// Above the kernel's own limit (net.core.somaxconn), which then applies.
    private static let backlog: Int32 = 4096

    func listen(for family: ListenerFamily, _ parameters: ListenerParameters) throws(SystemError) -> OwnedDescriptor {
        let listener = try Self.open(parameters)
        try Socket.listen(listener, isIPv6: family == .ipv6, backlog: Self.backlog, name: family.name)
        return listener
    }

    func accept(on listener: Int32) throws(SystemError) -> OwnedDescriptor? {
        do throws(Errno) {
            return try Socket.accept(on: listener)
        } catch {
            throw SystemError("accept4", error)
        }
    }

    func option(_ number: Int32, at level: Int32, of socket: Int32, room: Int) throws(SystemError) -> [UInt8] {
        try Socket.option(number, at: level, of: socket, room: room)
    }

    func setOption(_ number: Int32, at level: Int32, of socket: Int32, to value: [UInt8]) throws(SystemError) {
        try Socket.setOption(number, at: level, of: socket, to: value)
    }

    func holders(_ parameters: ListenerParameters) -> [String] {
        guard let sample = try? Self.open(parameters),
            let name = SocketFacts.protocolName(ofPath: "/proc/self/fd/\(sample.number)"),
            let namespace = ProcessTable.target(of: "/proc/self/ns/net")
        else { return [] }
        return ProcessTable.identifiers().filter { $0 != ThisProcess.identifier }.compactMap { process in
            guard ProcessTable.target(of: "/proc/\(process)/ns/net") == namespace else { return nil }
            let descriptors = "/proc/\(process)/fd"
            let isHolder = ProcessTable.names(in: descriptors).contains {
                SocketFacts.protocolName(ofPath: "\(descriptors)/\($0)") == name
            }
            guard isHolder else { return nil }
            return "\(Self.programName(of: process)) (\(process))"
        }
    }

    /// Returns `true` if the kernel has the address family.
    func isPresent(_ parameters: ListenerParameters) -> Bool { (try? Self.open(parameters).number) != nil }

    private static func open(_ parameters: ListenerParameters) throws(SystemError) -> OwnedDescriptor {
        try Socket.stream(family: parameters.family, transport: 6)  // IPPROTO_TCP
    }

    private static func programName(of process: Int32) -> String {
        ProcessTable.target(of: "/proc/\(process)/exe").flatMap { $0.split(separator: "/").last.map(String.init) }
            ?? "process"
    }
}
