package import Handshake
package import System
package import Wire

/// A way in which kernel consumers' requests reach us, and answers go back. Each belongs to one network namespace, that
/// in which it was opened, and to one thread: what ACCEPT or accept(2) installs is the calling thread's.
package protocol Upcall: AnyObject {
    /// Descriptors to poll for reading. When one is readable, and once at the start, call `drain`.
    var descriptors: [Int32] { get }

    /// What `descriptors` are known by where they are kept over a restart; the same for every namespace.
    var storeName: String? { get }

    /// Whether the last `drain` left requests that nothing will tell of again: call it once more, after others had
    /// their turn.
    var isBehind: Bool { get }

    /// Whether the kernel takes session tags with an answer.
    var takesTags: Bool { get }

    /// Takes the requests that wait, until the kernel says that there is no more, or until they are so many that others
    /// have to wait. The kernel lets 3 to 50 requests wait (net/handshake/netlink.c), so call it often.
    ///
    /// - Parameter body: is given each request; it must come to `answer` once, whatever happens to it.
    /// - Returns: what went wrong on the way. Requests that the kernel could not hand over it has refused by itself.
    func drain(_ body: (AcceptedHandshake) -> Void) -> [UpcallError]

    /// Gives the verdict and closes our descriptor, in that order. A worker must have closed its own before: where the
    /// last close is the answer (AF_TLSH), this call is what the consumer waits for.
    ///
    /// - Parameter remoteIdentity: the key that stands for the peer; only with `.success`, and only where its identity
    ///   is proven.
    /// - Throws: what the kernel had against it. The descriptor is closed all the same, and the request is not to be
    ///   answered again. No error does not prove that the consumer was still waiting.
    func answer(_ accepted: AcceptedHandshake, status: Status, remoteIdentity: KeySerial?) throws(UpcallError)

    /// The same with the session tags that the peer has earned; for kernels that take none they are left out.
    func answer(
        _ accepted: AcceptedHandshake, status: Status, remoteIdentity: KeySerial?, tags: [String]
    ) throws(UpcallError)

    /// Ends the listening, so that consumers no longer count on us. Requests that were taken are still to be answered;
    /// `drain` takes none any longer.
    func retire()

    /// Who else listens where we do.
    func rivals() throws(UpcallError) -> [RivalListener]

    /// What a request's connection is asked for by, before the answer; `nil` where the kernel does not tell.
    func connection(of accepted: AcceptedHandshake) -> ConnectionDiagnostics?

    /// Whether such a connection stands; `nil` where the kernel does not tell.
    func stands(_ connection: ConnectionDiagnostics) -> Bool?
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
    package func stands(_ connection: ConnectionDiagnostics) -> Bool? { nil }
    package func retire() {}
    package func rivals() throws(UpcallError) -> [RivalListener] { [] }
}

/// A socket of somebody else that hears of every request, too.
package struct RivalListener: Sendable, Hashable {
    /// As /proc/PID/fd shows it.
    package let inode: UInt64
    /// Its netlink port, by custom the number of its process.
    package let port: UInt32
    /// The memory of the notifications that it has not read, in bytes.
    package let unread: UInt32

    package init(inode: UInt64, port: UInt32, unread: UInt32) {
        self.inode = inode
        self.port = port
        self.unread = unread
    }
}

/// Why the kernel could not be heard or spoken to.
package enum UpcallError: Error, Sendable, Equatable {
    /// The kernel has no generic-netlink family `handshake`.
    case familyMissing(kernel: String)
    /// The kernel has no AF_TLSH under this number.
    case listenerMissing(family: Int32)
    /// Another process listens for these connections already.
    case listenerTaken(ListenerFamily, holders: [String])
    /// An AF_TLSH consumer had given up before its socket was accepted.
    case consumerGone(peer: String)
    /// A system call, or libnl, failed.
    case system(SystemError)
    /// The kernel refused a request of ours, perhaps with words of its own.
    case rejected(command: String, number: Int32, text: String?)
    /// The kernel's message cannot be understood.
    case malformed(WireError)
    /// The kernel took the command and sent no answer: its answer did not fit our socket's buffer.
    case noReply(command: String)

    /// What is wrong and what helps, for a log line.
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
            "\(peer): the consumer had given up before its request was taken; see whether tlshd was stopped or the host overloaded"
        case .system(let error): Self.text(of: error)
        case .rejected(let command, let number, let text):
            "the kernel refused \(command): "
                + [text, SystemError.name(of: number), Self.remedy(for: number)].compactMap(\.self).joined(
                    separator: "; ")
        case .malformed(let error): "the kernel's message cannot be understood: \(error.description)"
        case .noReply(let command): "the kernel did not answer \(command)"
        }
    }

    private static func text(of error: SystemError) -> String {
        let needsCapability = error.number == 1 && ["bind", "listen", "accept4"].contains(error.call)  // EPERM
        return error.description + (needsCapability ? "; run tlshd with CAP_NET_BIND_SERVICE" : "")
    }

    private static func remedy(for number: Int32) -> String? {
        switch number {
        case 1: "run tlshd with CAP_NET_ADMIN, outside of user namespaces"  // EPERM
        case 13: "run tlshd as root: the consumer's keyring is root's"  // EACCES
        case 23, 24: "raise LimitNOFILE in the unit"  // ENFILE, EMFILE
        default: nil
        }
    }
}
