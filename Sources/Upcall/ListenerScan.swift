internal import KernelWire
internal import Unconfined

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
