internal import System
internal import Wire

/// Who listens for handshake requests in the calling thread's network namespace; asked without listening, and without
/// privileges.
package enum ListenerCensus {
    /// The sockets that hear of requests on the netlink way; none means that consumers fail at once.
    ///
    /// - Throws: `.familyMissing` where the kernel has no such way; `.system` where it does not tell (the module
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

    /// Processes that hold AF_TLSH sockets, such as `tlshd (812)`, as far as /proc tells.
    ///
    /// - Returns: `nil` where the kernel has no AF_TLSH under this number.
    package static func listener(_ parameters: ListenerParameters) -> [String]? {
        let port = KernelListenerPort()
        return port.isPresent(parameters) ? port.holders(parameters) : nil
    }
}
