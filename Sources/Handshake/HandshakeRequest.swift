/// Which way a handshake request reached us.
package enum Transport: UInt8, Sendable, Equatable, CaseIterable {
    /// The generic-netlink family `handshake` (net/handshake/netlink.c).
    case netlink = 1
    /// An AF_TLSH listener socket.
    case listener = 2
}

/// The side of the TLS handshake that we play (net/handshake/tlshd.c: clienthello and serverhello).
package enum Role: UInt8, Sendable, Equatable, CaseIterable {
    case client = 1
    case server = 2
}

/// How the two ends prove who they are; the kernel's enum `handshake-auth`.
package enum Authentication: UInt8, Sendable, Equatable, CaseIterable {
    /// Client only: the server is verified, we present nothing.
    case unauthenticated = 1
    case preSharedKey = 2
    case x509 = 3
}

/// The serial number of a key in the kernel's keyrings; never 0.
package struct KeySerial: Sendable, Hashable {
    package let number: Int32

    /// `nil` for 0, by which the kernel says "no key".
    package init?(_ number: Int32) {
        guard number != 0 else { return nil }
        self.number = number
    }
}

/// What a kernel consumer asks for, whichever way it reached us. The descriptor travels beside it.
package struct HandshakeRequest: Sendable, Equatable {
    package var transport: Transport
    package var role: Role
    package var authentication: Authentication
    /// The name or address that the peer's certificate must carry, exactly as the consumer gave it.
    package var peerName: String?
    /// Serials of the PSKs to offer, in the order of preference (client), empty on a server.
    package var peerIdentities: [KeySerial]
    /// Serial of a DER certificate (or several, concatenated) to present instead of the configured one.
    package var certificate: KeySerial?
    /// Serial of the DER private key of `certificate`.
    package var privateKey: KeySerial?
    /// The consumer's own keyring, to be searched before all others.
    package var keyring: KeySerial?
    /// How long the consumer waits, counted from when it submitted; `nil` if it did not say.
    package var timeout: Duration?
    /// Where it comes from; `nil` for the namespace that tlshd was started in. The broker knows it by the upcall.
    package var namespace: NamespaceName?

    /// What may be negotiated, as a GnuTLS priority string; `nil` where the consumer leaves it to us.
    package var priorities: String?
    /// The consumer wants to be able to ask for key updates later.
    package var wantsSession = false
    /// A key update instead of a handshake; the rest is then its handshake's.
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

    /// How long the handshake may take from now. The consumer's timer started when it submitted, so a tenth is kept
    /// back; without a stated timeout it is an NFS consumer, whose timers are 10 s as client (net/sunrpc/xprtsock.c,
    /// XS_TLS_HANDSHAKE_TO) and 5 s as server (net/sunrpc/svcsock.c, SVC_HANDSHAKE_TO). On AF_TLSH no consumer says,
    /// and 10 s are taken for all.
    package var allowance: Duration {
        if let timeout { return timeout * 9 / 10 }
        return role == .server && transport == .netlink ? .milliseconds(4500) : .milliseconds(9000)
    }

    /// Checks what only the whole request shows. The kernel produces five pairs of role and authentication
    /// (net/handshake/tlshd.c); a sixth is a kernel that we do not know.
    ///
    /// - Throws: `FailureReason.requestUnsupported` or `.peerNameMissing`, with the status that tells the consumer.
    package func validate() throws(HandshakeFailure) {
        if role == .server, authentication == .unauthenticated {
            throw HandshakeFailure(.requestUnsupported, "server without certificate or PSK")
        }
        // AF_TLSH has no way to give a name: there the chain alone is verified, and the log says so.
        if role == .client, authentication != .preSharedKey, transport == .netlink, (peerName ?? "").isEmpty {
            throw HandshakeFailure(.peerNameMissing)
        }
        if role == .client, authentication == .preSharedKey, peerIdentities.isEmpty {
            throw HandshakeFailure(.pskUnreadable, "the request names no PSK")
        }
    }
}
