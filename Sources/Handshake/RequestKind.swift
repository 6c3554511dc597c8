/// Interface over which a handshake request arrived.
package enum Transport: UInt8, Sendable, Equatable, CaseIterable {
    /// The generic-netlink family `handshake` (net/handshake/netlink.c).
    case netlink = 1
    /// An AF_TLSH listener socket.
    case listener = 2
}

/// Our role in the TLS handshake (net/handshake/tlshd.c: clienthello and serverhello).
package enum Role: UInt8, Sendable, Equatable, CaseIterable {
    case client = 1
    case server = 2
}

/// Authentication mode; the kernel's enum `handshake-auth`.
package enum Authentication: UInt8, Sendable, Equatable, CaseIterable {
    /// Client only: the server is verified, we present no certificate.
    case unauthenticated = 1
    case preSharedKey = 2
    case x509 = 3
}
