internal import KernelWire
internal import System
internal import Unconfined
internal import Wire

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
                    throw WireError.outOfRange(field: "errno \(number), is the module netlink_diag there", offset: 0)
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
