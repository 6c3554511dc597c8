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

/// Name or address that a peer's certificate must contain, as the kernel consumer gave it.
package enum PeerName: Sendable, Hashable {
    case dns(String)
    case address(NetworkAddress)

    /// Removes brackets, zone and the final dot of a fully qualified name, which certificates do not contain.
    package init(_ text: String) {
        var bare = Substring(text)
        if bare.hasPrefix("["), bare.hasSuffix("]") { bare = bare.dropFirst().dropLast() }
        if bare.hasSuffix("."), bare.count > 1 { bare = bare.dropLast() }
        self = NetworkAddress(String(bare)).map { .address($0) } ?? .dns(String(bare))
    }

    /// Name for the server_name extension; `nil` for an address (RFC 6066 §3).
    package var serverName: String? {
        switch self {
        case .dns(let name): name
        case .address: nil
        }
    }
}

extension PeerName: CustomStringConvertible {
    package var description: String {
        switch self {
        case .dns(let name): name
        case .address(let address): address.description
        }
    }
}

/// Number of a set of credentials in messages between broker and workers. 0 is `[authenticate.client]` and
/// `[authenticate.server]`.
package struct ProfileNumber: Sendable, Hashable, Comparable {
    package let rawValue: UInt16

    package init(_ rawValue: UInt16) {
        self.rawValue = rawValue
    }

    package static let standard = ProfileNumber(0)

    package static func < (left: ProfileNumber, right: ProfileNumber) -> Bool { left.rawValue < right.rawValue }
}

/// Identifies a set of credentials: profile and role.
package struct CredentialsOwner: Sendable, Hashable, Comparable {
    package let profile: ProfileNumber
    package let role: Role

    package init(_ profile: ProfileNumber, _ role: Role) {
        self.profile = profile
        self.role = role
    }

    package static func < (left: CredentialsOwner, right: CredentialsOwner) -> Bool {
        (left.profile, left.role.rawValue) < (right.profile, right.role.rawValue)
    }
}

/// A worker process, by the broker's own count.
package struct WorkerID: Sendable, Hashable {
    package let number: Int

    package init(_ number: Int) {
        self.number = number
    }

    /// The same in messages to the signer.
    package var channelNumber: UInt32 { UInt32(truncatingIfNeeded: number) }
}

/// Limit of bytes that a peer may send before its handshake is done; `[limits] handshake_bytes` in tlshd.conf(5).
package enum HandshakeBytes {
    /// Default, record headers included. Four certificates with post-quantum signatures take 30 kB.
    package static let standard = 98_304
    /// Allowed values of the setting. A typical ClientHello and certificate chain take 8 kB.
    package static let range = 32_768...262_144
}

/// A worker's report that the peer of a handshake has sent its first byte.
package enum FirstByteReport {
    /// Age of the handshake at which workers send the report, in nanoseconds.
    package static let delay: UInt64 = 100_000_000
}
