internal import CLinux
internal import Glibc
internal import Handshake
internal import InspectWire
internal import System
internal import TLSWire
internal import Unconfined
internal import Wire

/// The peer cannot be reached.
struct ConnectionProblem: Error, Equatable {
    let text: String
    let remedy: String
    /// True if it is unknown whether the peer would make a handshake: no host has answered.
    var isUnknown = false
}

/// A TCP connection with a deadline for all operations. Waits longer than two seconds are displayed.
final class Connection {
    /// Owned; non-blocking.
    let socket: Int32
    /// Such as `192.0.2.7:2049`.
    let peer: String
    let localPort: UInt16
    /// CLOCK_MONOTONIC nanoseconds.
    let deadline: UInt64

    /// Connects to the first address of a host that answers, within the given number of seconds.
    init(_ target: ProbeTarget, seconds: Int) throws(ConnectionProblem) {
        let deadline = Clock.deadline(in: .seconds(seconds))
        var progress = Progress("connecting to \(target.host), port \(target.port)")
        var problem = ConnectionProblem(
            text: "\(target.host) has no address", remedy: "check the name", isUnknown: true)
        let addresses = try Address.resolve(target.host, target.port)
        guard Clock.monotonicNanoseconds() < deadline else {
            throw ConnectionProblem(
                text: "looking up \(target.host) took longer than \(seconds) s",
                remedy: "check the name servers, or give an address", isUnknown: true)
        }
        for (index, address) in addresses.enumerated() {
            let turn = Self.turn(Clock.monotonicNanoseconds(), until: deadline, among: addresses.count - index)
            do throws(ConnectionProblem) {
                socket = try Self.connect(address, until: turn, &progress)
                self.deadline = deadline
                peer = address.text
                localPort = (try? SocketFacts.localPort(of: socket)) ?? 0
                return
            } catch {
                // A refusal is an answer. Otherwise the problem of the preferred address, which is the first, counts.
                if index == 0 || problem.isUnknown && !error.isUnknown { problem = error }
            }
        }
        throw problem
    }

    deinit { close(socket) }

    /// Deadline for one address, so that an address that drops all packets leaves time for the following ones.
    ///
    /// - Parameter count: number of remaining addresses, including this one.
    static func turn(_ now: UInt64, until deadline: UInt64, among count: Int) -> UInt64 {
        now < deadline ? now + (deadline - now) / UInt64(max(1, count)) : deadline
    }

    private static func connect(
        _ address: Address, until deadline: UInt64, _ progress: inout Progress
    ) throws(ConnectionProblem) -> Int32 {
        let socket: OwnedDescriptor
        do throws(SystemError) {
            socket = try Socket.stream(family: address.family, transport: Int32(IPPROTO_TCP))
        } catch {
            throw ConnectionProblem(text: error.description, remedy: "see socket(2)")
        }
        let number = socket.number
        var error = address.connect(number)
        if error == .einprogress {
            guard wait(number, for: .write, until: deadline, &progress) else {
                throw ConnectionProblem(
                    text: "\(address.text) does not answer: the connection timed out",
                    remedy: "check that the host is up, and the firewalls between", isUnknown: true)
            }
            error = TCPConnection(number).error
        }
        guard error == .success else {
            let remedy =
                switch error {
                case .econnrefused: "start the service there, or give another port"
                case .einval where address.lacksZone: "name the interface of a link-local address, as in [fe80::1%eth0]"
                default: "check the network between the hosts"
                }
            throw ConnectionProblem(
                text: SystemError("connect", error, "to \(address.text)").description, remedy: remedy,
                isUnknown: error != .econnrefused)
        }
        // A handshake consists of a few small messages, each of which the other side waits for.
        TCPConnection(number).isUndelayed = true
        return socket.release()
    }

    /// Waits in short intervals, so that progress can be displayed.
    ///
    /// - Returns: `true` if the socket is ready, `false` at the deadline.
    private static func wait(
        _ socket: Int32, for interest: Poller.Interest, until deadline: UInt64, _ progress: inout Progress
    )
        -> Bool
    {
        while true {
            let now = Clock.monotonicNanoseconds()
            guard now < deadline else { return false }
            if isReady(socket, for: interest, within: Int32(min((deadline - now) / 1_000_000 + 1, 200))) { return true }
            progress.tick()
        }
    }

    /// poll(2): `false` if the time is over first.
    static func isReady(_ socket: Int32, for interest: Poller.Interest, within milliseconds: Int32) -> Bool {
        let events = (interest.contains(.read) ? POLLIN : 0) | (interest.contains(.write) ? POLLOUT : 0)
        var entry = pollfd(fd: socket, events: Int16(events), revents: 0)
        return unsafe poll(&entry, 1, milliseconds) > 0
    }

    /// Waits for readiness, at most until `soonest` if that is earlier.
    ///
    /// - Returns: `false` if the deadline has passed.
    func wait(for interest: Poller.Interest, until soonest: UInt64? = nil, _ progress: inout Progress) -> Bool {
        _ = Self.wait(socket, for: interest, until: min(deadline, soonest ?? deadline), &progress)
        return Clock.monotonicNanoseconds() < deadline
    }

    /// Sends a few bytes, which a new connection accepts at once.
    func send(_ bytes: [UInt8]) throws(Errno) { _ = try Socket.send(bytes.span, over: socket) }

    /// Reason why no bytes were received.
    enum ReadProblem: Error {
        case closed
        case broken(Errno)
        case timedOut
    }

    /// Receives exactly `count` bytes, and no more.
    func receive(_ count: Int, _ progress: inout Progress) throws(ReadProblem) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let part: [UInt8]
            do throws(Errno) {
                part = try Socket.receive(atMost: count - bytes.count, from: socket)
            } catch {
                guard error == .eagain else { throw .broken(error) }
                guard wait(for: .read, &progress) else { throw .timedOut }
                continue
            }
            guard !part.isEmpty else { throw .closed }
            bytes += part
        }
        return bytes
    }

    /// Peeks at received bytes.
    func peek(_ count: Int) -> [UInt8] {
        (try? Socket.receive(atMost: count, from: socket, peeking: true)) ?? []
    }
}

/// An address to connect to.
private struct Address {
    let family: Int32
    let text: String
    private let bytes: [UInt8]

    /// All addresses of a name, or the given numeric address.
    static func resolve(_ host: String, _ port: UInt16) throws(ConnectionProblem) -> [Address] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let code = unsafe getaddrinfo(host, "\(port)", &hints, &list)
        guard code == 0 else {
            if let percent = host.firstIndex(of: "%"), host.contains(":"),
                unsafe if_nametoindex(String(host[percent...].dropFirst())) == 0
            {
                throw ConnectionProblem(
                    text: "\(host) cannot be reached: this host has no interface \(host[percent...].dropFirst())",
                    remedy: "name one that ip link shows", isUnknown: true)
            }
            // A string constant of the C library.
            let why = unsafe String(cString: gai_strerror(code))
            throw ConnectionProblem(
                text: "\(host) has no address: \(why)", remedy: "check the name, or give an address", isUnknown: true)
        }
        defer { unsafe freeaddrinfo(list) }
        var found: [Address] = []
        var entry = unsafe list
        while let current = unsafe entry {
            unsafe found.append(Address(current.pointee, port))
            unsafe entry = current.pointee.ai_next
        }
        return found
    }

    /// Copies an entry of the C library's list.
    @unsafe private init(_ entry: addrinfo, _ port: UInt16) {
        family = unsafe entry.ai_family
        let raw = unsafe UnsafeRawBufferPointer(start: entry.ai_addr, count: Int(entry.ai_addrlen))
        bytes = unsafe Array(raw)
        var host = [CChar](repeating: 0, count: 128)
        _ = unsafe getnameinfo(
            entry.ai_addr, entry.ai_addrlen, &host, socklen_t(host.count), nil, 0, Int32(NI_NUMERICHOST))
        let name = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        text = name.contains(":") ? "[\(name)]:\(port)" : "\(name):\(port)"
    }

    /// True if it is a link-local IPv6 address without an interface.
    var lacksZone: Bool { text.hasPrefix("[fe80:") && !text.contains("%") }

    /// connect(2).
    func connect(_ socket: Int32) -> Errno {
        unsafe bytes.withUnsafeBytes { raw in
            // The bytes and length of a sockaddr from the C library.
            guard let start = unsafe raw.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return .einval }
            return unsafe Glibc.connect(socket, start, socklen_t(raw.count)) == 0 ? .success : .last
        }
    }
}

/// Start of a connection before TLS, in the consumer's protocol.
enum Opening {
    /// Description for the report, or the reason why TLS cannot start.
    typealias Result = (text: String, failure: HandshakeFailure?)

    /// Detail of a server that sends a TLS record where an RPC reply is expected.
    static let beginsWithTLS = "it speaks TLS from the first byte, which NFS does not"

    /// Requests TLS from an RPC server.
    static func rpc(on connection: Connection, _ progress: inout Progress) -> Result {
        let transaction = UInt32.random(in: 1...UInt32.max)
        do throws(Errno) {
            try connection.send(RPCTLSProbe.call(transaction: transaction))
        } catch {
            return ("", HandshakeFailure(.connectionReset, error.name))
        }
        do throws(Connection.ReadProblem) {
            guard connection.wait(for: .read, &progress) else { throw .timedOut }
            if let failure = strangeStart(connection.peek(12)) { return ("", failure) }
            return try answer(on: connection, transaction, &progress)
        } catch {
            switch error {
            case .closed: return ("", HandshakeFailure(.peerClosed, "instead of answering an RPC call"))
            case .broken(let number): return ("", HandshakeFailure(.connectionReset, number.name))
            case .timedOut: return ("", HandshakeFailure(.deadlineExceeded, "no answer to an RPC call"))
            }
        }
    }

    /// Failure if the first bytes cannot be an RPC reply.
    private static func strangeStart(_ bytes: [UInt8]) -> HandshakeFailure? {
        guard let first = bytes.first else { return nil }
        if first & 0x80 != 0 || bytes.count < 4 { return nil }
        if first == 0x15 || first == 0x16 {
            return HandshakeFailure(.protocolViolation, beginsWithTLS)
        }
        return HandshakeFailure(
            .peerSpeaksPlainText, "it is not an RPC server: it sent \(PlainText(lookingAt: bytes).description)")
    }

    private static func answer(
        on connection: Connection, _ transaction: UInt32, _ progress: inout Progress
    ) throws(Connection.ReadProblem) -> Result {
        let answer: RPCTLSAnswer
        let reply = try record(on: connection, &progress)
        do throws(WireError) {
            answer = try RPCTLSAnswer(from: reply.span, transaction: transaction)
        } catch {
            return ("", HandshakeFailure(.protocolViolation, "its answer is not an RPC reply: \(error.description)"))
        }
        switch answer {
        case .startTLS: return ("RPC answered STARTTLS", nil)
        case .acceptedWithoutTLS:
            return ("", HandshakeFailure(.peerSpeaksPlainText, "it answered RPC and offered no TLS"))
        case .flavorRefused(let status):
            return ("", HandshakeFailure(.peerSpeaksPlainText, "it refused AUTH_TLS with \(name(ofStatus: status))"))
        case .versionRefused: return ("", HandshakeFailure(.protocolViolation, "it does not support RPC version 2"))
        }
    }

    /// Receives a whole RPC record of at most `RPCTLSProbe.answerLimit` bytes; a longer one is not an answer to the
    /// probe.
    private static func record(
        on connection: Connection, _ progress: inout Progress
    ) throws(Connection.ReadProblem) -> [UInt8] {
        var reply: [UInt8] = []
        while true {
            let head = try connection.receive(4, &progress)
            guard let mark = try? RPCTLSProbe.RecordMark(from: head.span),
                mark.length <= RPCTLSProbe.answerLimit - reply.count
            else { return reply }
            reply += try connection.receive(mark.length, &progress)
            if mark.isLast { return reply }
        }
    }

    /// RFC 5531 §9, auth_stat.
    private static func name(ofStatus status: UInt32) -> String {
        switch status {
        case 1: "AUTH_BADCRED"
        case 2: "AUTH_REJECTEDCRED"
        case 3: "AUTH_BADVERF"
        case 5: "AUTH_TOOWEAK"
        default: "authentication error \(status)"
        }
    }

    /// Returns `true` if an NVMe/TCP target answers without TLS. Tested on a new connection after the first one was
    /// closed without an answer (NVMe/TCP transport specification §3.6.2.2).
    static func greetsPlainly(_ target: ProbeTarget, seconds: Int) -> Bool {
        guard let connection = try? Connection(target, seconds: seconds) else { return false }
        // ICReq: type, flags, header length, data offset, total length, format version 0; the rest is zero.
        let request: [UInt8] = [0, 0, 128, 0, 128] + [UInt8](repeating: 0, count: 123)
        var progress = Progress("asking \(connection.peer) without TLS")
        guard (try? connection.send(request)) != nil, let reply = try? connection.receive(8, &progress) else {
            return false
        }
        return PlainText(lookingAt: reply) == .nvmeInitializeResponse
    }
}
