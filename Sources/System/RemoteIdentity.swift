package import Handshake

/// What the kernel is told about a peer whose certificate verified. NFS asks only whether there is an identity at all
/// (net/sunrpc/svcsock.c, svc_tcp_handshake_done); NVMe is given the serial of the PSK instead, which is not made here.
///
/// It is one key for all peers: a key per peer would pile up, and the last would take its predecessor's place.
package struct RemoteIdentity: Sendable {
    /// Never 0, and the same as long as this process lives.
    package let serial: KeySerial

    /// Makes the key in the process keyring; call it once, after `Keyring.establish()`.
    package init() throws(KeyError) {
        // The kernel wants a payload of at least one byte; nobody reads it.
        let payload: SecretBuffer
        do throws(SystemError) {
            payload = try SecretBuffer(capacity: 1)
        } catch {
            throw KeyError(error)
        }
        serial = try Keyring.process.add(
            type: "user", description: "tlshd:verified-peer", payload: 0..<1, of: payload)
    }
}
