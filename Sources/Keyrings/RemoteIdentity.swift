package import Policy
package import System

/// The remote identity in DONE for a peer whose certificate was verified. NFS only checks that there is one
/// (net/sunrpc/svcsock.c, svc_tcp_handshake_done). NVMe gets the serial of the PSK instead.
///
/// One key serves all peers: a key per peer would accumulate, and a key with the same description would replace the
/// previous one.
package struct RemoteIdentity: Sendable {
    /// Never 0, and constant for the lifetime of this process.
    package let serial: KeySerial

    /// Creates the key in the session keyring. Call it once, after `Keyring.establish()`.
    package init() throws(SystemError) {
        // The kernel requires a payload of at least one byte; it is not used.
        let payload = try SecretBuffer(capacity: 1)
        serial = try Keyring.session.add(
            type: "user", description: "tlshd:verified-peer", payload: 0..<1, of: payload)
    }
}
