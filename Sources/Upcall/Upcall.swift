package import Handshake
package import KernelWire
package import Policy
package import System
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
            "kernel \(kernel) offers no TLS handshake upcall: use Linux 6.5 or later, built with CONFIG_NET_HANDSHAKE, "
                + "which comes with CONFIG_SUNRPC, CONFIG_NVME_TCP or CONFIG_NVME_TARGET_TCP"
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
