package import Handshake

/// The serial number of a key in the kernel's keyrings; never 0.
package struct KeySerial: Sendable, Hashable {
    package let number: Int32

    /// `nil` for 0, which the kernel uses for "no key".
    package init?(_ number: Int32) {
        guard number != 0 else { return nil }
        self.number = number
    }
}

/// A request of a kernel consumer, from either interface. The descriptor is passed separately.
package struct HandshakeRequest: Sendable, Equatable {
    package var transport: Transport
    package var role: Role
    package var authentication: Authentication
    /// Name or address that the peer's certificate must contain, exactly as the consumer gave it.
    package var peerName: String?
    /// Serials of the PSKs to offer in order of preference (client); empty for a server.
    package var peerIdentities: [KeySerial]
    /// Serial of a DER certificate, or several concatenated, to present instead of the configured one.
    package var certificate: KeySerial?
    /// Serial of the DER private key of `certificate`.
    package var privateKey: KeySerial?
    /// The consumer's own keyring, which is searched first.
    package var keyring: KeySerial?
    /// The consumer's timeout, which started when it submitted the request; `nil` if unknown.
    package var timeout: Duration?
    /// Origin of the request; `nil` for the namespace that tlshd was started in. Set by the broker from the upcall
    /// socket.
    package var namespace: NamespaceName?

    /// GnuTLS priority string that restricts the algorithms; `nil` if the consumer gave none.
    package var priorities: String?
    /// The consumer may request key updates later.
    package var wantsSession = false
    /// Set for a key update instead of a handshake. The other fields are then those of the connection's handshake.
    package var keyUpdate: KeyUpdate?

    package init(
        transport: Transport, role: Role, authentication: Authentication, peerName: String? = nil,
        peerIdentities: [KeySerial] = [], certificate: KeySerial? = nil, privateKey: KeySerial? = nil,
        keyring: KeySerial? = nil, timeout: Duration? = nil, priorities: String? = nil
    ) {
        self.transport = transport
        self.role = role
        self.authentication = authentication
        self.peerName = peerName
        self.peerIdentities = peerIdentities
        self.certificate = certificate
        self.privateKey = privateKey
        self.keyring = keyring
        self.timeout = timeout
        self.priorities = priorities
    }

    /// Time that the handshake may take from now. The consumer's timer started when it submitted the request, so a
    /// tenth is subtracted. A netlink request without timeout comes from NFS, whose timers are 10 s as client
    /// (net/sunrpc/xprtsock.c, XS_TLS_HANDSHAKE_TO) and 5 s as server (net/sunrpc/svcsock.c, SVC_HANDSHAKE_TO). AF_TLSH
    /// has no timeout, and 10 s are assumed.
    package var allowance: Duration {
        if let timeout { return timeout * 9 / 10 }
        return role == .server && transport == .netlink ? .milliseconds(4500) : .milliseconds(9000)
    }

    /// True if the consumer is the kernel's NFS client, or one that cannot be told from it.
    package var isFromNFSClient: Bool { transport == .netlink && role == .client && authentication != .preSharedKey }

    /// Checks the combination of fields. The kernel produces five pairs of role and authentication
    /// (net/handshake/tlshd.c); the sixth pair comes only from an unknown kernel.
    ///
    /// - Throws: `FailureReason.requestUnsupported` or `.peerNameMissing`, with the status for the consumer.
    package func validate() throws(HandshakeFailure) {
        if role == .server, authentication == .unauthenticated {
            throw HandshakeFailure(.requestUnsupported, "server without certificate or PSK")
        }
        // AF_TLSH cannot pass a name: there only the chain is verified, and the log says so.
        if role == .client, authentication != .preSharedKey, transport == .netlink, (peerName ?? "").isEmpty {
            throw HandshakeFailure(.peerNameMissing)
        }
        if role == .client, authentication == .preSharedKey, peerIdentities.isEmpty {
            throw HandshakeFailure(.pskUnreadable, "the request names no PSK")
        }
    }
}
