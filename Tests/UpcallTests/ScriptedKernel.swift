import Glibc
import Handshake
import KernelWire
import Testing

@testable import System
@testable import Upcall

/// The kernel's side of the family `handshake`, played by a script: requests that wait, and what DONE was told.
final class ScriptedKernel {
    enum Waiting {
        /// A reply with these attributes behind SOCKFD, each 8 bytes: type and value.
        case request(socket: Int32, attributes: [(UInt16, UInt32)])
        /// An error in place of the request.
        case error(Int32)
        /// Nothing comes back at all.
        case silence
    }

    struct Verdict: Equatable {
        let socket: Int32
        let status: UInt32
        let remoteIdentity: UInt32?
        /// Whether the socket was open in this process when DONE came in.
        let wasOpen: Bool
        var tags: [String] = []
    }

    static let family: UInt16 = 31

    var waiting: [Waiting] = []
    /// What DONE is answered with.
    var doneError: Int32 = 0
    /// What DONE with a tag is answered with.
    var tagError: Int32 = 0
    /// The types of DONE's attributes, for who asks; `nil` for a kernel that does not tell.
    var policy: [UInt16: UInt32]?
    private(set) var verdicts: [Verdict] = []
    private(set) var accepts = 0

    let requests = ScriptedPort()
    let notifications = ScriptedPort()

    init() {
        requests.onSend = { [unowned self] in self.handle($0) }
    }

    var upcall: NetlinkUpcall {
        NetlinkUpcall(notifications: notifications, requests: requests, family: Self.family)
    }

    private func handle(_ bytes: [UInt8]) {
        guard let message = try? NetlinkMessage.all(in: bytes.span).first,
            let generic = try? GenericNetlinkMessage(from: message, in: bytes.span)
        else {
            Issue.record("the request is no netlink message")
            return
        }
        if message.type == NetlinkPolicy.controller {
            tellPolicy(message.sequence)
        } else if generic.command == HandshakeFamily.Command.accept.rawValue {
            accepts += 1
            accept(message.sequence)
        } else {
            done(generic, in: bytes, message.sequence)
        }
    }

    private func accept(_ sequence: UInt32) {
        guard !waiting.isEmpty else { return requests.queue.append(Self.error(EAGAIN, sequence)) }
        switch waiting.removeFirst() {
        case .request(let socket, let attributes):
            let all = [(HandshakeFamily.AcceptAttribute.socket.rawValue, UInt32(bitPattern: socket))] + attributes
            var payload: [UInt8] = [2, 1, 0, 0]
            for (type, value) in all { payload += host16(8) + host16(type) + host32(value) }
            requests.queue.append(Self.message(Self.family, sequence, payload))
        case .error(let number): requests.queue.append(Self.error(number, sequence))
        case .silence: break
        }
    }

    private func done(_ generic: GenericNetlinkMessage, in bytes: [UInt8], _ sequence: UInt32) {
        let attributes = (try? NetlinkAttribute.all(in: generic.attributes, of: bytes.span)) ?? []
        var values: [UInt16: UInt32] = [:]
        for attribute in attributes {
            values[attribute.type] = try? attribute.unsigned32("value", in: bytes.span)
        }
        let tags = attributes.filter { $0.type == 4 }
        if !tags.isEmpty, tagError != 0 { return requests.queue.append(Self.error(tagError, sequence)) }
        let socket = Int32(bitPattern: values[2] ?? .max)
        verdicts.append(
            Verdict(
                socket: socket, status: values[1] ?? .max, remoteIdentity: values[3],
                wasOpen: fcntl(socket, F_GETFD) >= 0,
                tags: tags.compactMap { try? $0.text("tag", in: bytes.span) }))
        requests.queue.append(Self.error(doneError, sequence))
    }

    /// As net/netlink/genetlink.c does it: the policy of the operation, then the policy's attributes, then the end.
    private func tellPolicy(_ sequence: UInt32) {
        guard let policy else { return requests.queue.append(Self.error(EOPNOTSUPP, sequence)) }
        func attribute(_ type: UInt16, _ value: [UInt8]) -> [UInt8] {
            host16(UInt16(4 + value.count)) + host16(type) + value + [UInt8](repeating: 0, count: -value.count & 3)
        }
        let operations = attribute(9, attribute(3, attribute(1, host32(7))) + attribute(2, attribute(1, host32(6))))
        requests.queue.append(Self.message(16, sequence, [2, 2, 0, 0] + operations, flags: 2))
        for (type, kind) in policy.sorted(by: { $0.key < $1.key }) {
            let described = attribute(8, attribute(7, attribute(type, attribute(1, host32(kind)))))
            requests.queue.append(Self.message(16, sequence, [2, 2, 0, 0] + described, flags: 2))
        }
        requests.queue.append(Self.message(3, sequence, host32(0), flags: 2))
    }

    static func error(_ number: Int32, _ sequence: UInt32) -> [UInt8] {
        message(2, sequence, host32(UInt32(bitPattern: -number)) + [UInt8](repeating: 0, count: 16), flags: 0x100)
    }

    static func message(_ type: UInt16, _ sequence: UInt32, _ payload: [UInt8], flags: UInt16 = 0) -> [UInt8] {
        host32(UInt32(16 + payload.count)) + host16(type) + host16(flags) + host32(sequence) + host32(99) + payload
    }
}

/// A port whose datagrams the test provides.
final class ScriptedPort: NetlinkPort {
    var queue: [[UInt8]] = []
    /// Errors that come before the queue.
    var failures: [Int32] = []
    var onSend: ([UInt8]) -> Void = { _ in }
    let number: Int32 = -1

    func send(_ bytes: Span<UInt8>) throws(SystemError) {
        onSend(bytes.indices.map { bytes[$0] })
    }

    func receive() throws(SystemError) -> [UInt8]? {
        if !failures.isEmpty { throw SystemError("recvfrom", failures.removeFirst()) }
        return queue.isEmpty ? nil : queue.removeFirst()
    }
}

private func host16(_ value: UInt16) -> [UInt8] { unsafe withUnsafeBytes(of: value) { unsafe Array($0) } }
private func host32(_ value: UInt32) -> [UInt8] { unsafe withUnsafeBytes(of: value) { unsafe Array($0) } }
