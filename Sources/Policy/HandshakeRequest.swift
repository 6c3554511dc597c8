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

/// Name of a network namespace other than the one that tlshd was started in. The latter has no name and is represented
/// by `nil`.
package enum NamespaceName: Sendable, Hashable, CustomStringConvertible {
    /// A file in /run/netns, as created by `ip netns add`.
    case named(String)
    /// Another file that the namespace is mounted on; an absolute path.
    case path(String)
    /// No file: the inode number in the link /proc/PID/ns/net.
    case unnamed(inode: UInt64)

    package static let folder = "/run/netns"

    /// Parses a name in the settings: a name in /run/netns, an absolute path, or `net:[INODE]`.
    ///
    /// - Returns: `nil` for any other text.
    package init?(_ text: String) {
        guard !text.isEmpty, !text.utf8.contains(0) else { return nil }
        if let inode = Self.inode(ofLink: text) {
            self = .unnamed(inode: inode)
            return
        }
        if text.utf8.first == UInt8(ascii: "/") {
            let prefix = Self.folder + "/"
            let rest = text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : ""
            self = Self.isFileName(rest) ? .named(rest) : .path(text)
            return
        }
        guard Self.isFileName(text) else { return nil }
        self = .named(text)
    }

    /// File that the namespace is mounted on; `nil` if it has none.
    package var path: String? {
        switch self {
        case .named(let name): "\(Self.folder)/\(name)"
        case .path(let path): path
        case .unnamed: nil
        }
    }

    package var description: String {
        switch self {
        case .named(let name): name
        case .path(let path): path
        case .unnamed(let inode): "net:[\(inode)]"
        }
    }

    /// Inode number in the text of a link such as `net:[4026531840]` (fs/nsfs.c); `nil` for other texts.
    package static func inode(ofLink text: String) -> UInt64? {
        guard text.hasPrefix("net:["), text.hasSuffix("]") else { return nil }
        let digits = text.dropFirst(5).dropLast()
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return UInt64(digits)
    }

    private static func isFileName(_ text: String) -> Bool {
        !text.isEmpty && text != "." && text != ".." && !text.utf8.contains(UInt8(ascii: "/"))
    }
}

/// Properties of a request that profile rules match.
package struct ProfileSubject: Sendable, Equatable {
    /// `nil` for the namespace that tlshd was started in.
    package var namespace: NamespaceName?
    package var role: Role
    package var transport: Transport
    package var peerName: String?
    /// `nil` if the socket has none.
    package var peerAddress: NetworkAddress?
    /// 0 if the socket has none.
    package var localPort: UInt16

    /// - Parameter peerAddress: address and port, as in the log.
    package init(_ request: HandshakeRequest, peerAddress: String, localPort: UInt16) {
        namespace = request.namespace
        role = request.role
        transport = request.transport
        peerName = request.peerName
        self.peerAddress = NetworkAddress(ofSocketAddress: peerAddress)
        self.localPort = localPort
    }
}

/// Match rules of a profile. All rules that are set must match; without rules every request matches.
package struct ProfileMatch: Sendable, Hashable {
    /// Network namespaces that match.
    package enum Namespaces: Sendable, Hashable {
        /// The namespace that tlshd was started in.
        case initial
        /// Any other namespace.
        case others
        case one(NamespaceName)
    }

    package var namespace: Namespaces?
    package var role: Role?
    /// A whole name or address, or `*.` followed by a name without its first label.
    package var peerName: String?
    package var peerAddress: NetworkPrefix?
    package var localPort: UInt16?
    package var transport: Transport?

    package init() {}

    package var isEmpty: Bool { self == ProfileMatch() }

    /// Roles that can match.
    package var roles: [Role] { role.map { [$0] } ?? Role.allCases }

    package func fits(_ subject: ProfileSubject) -> Bool {
        fitsNamespace(subject.namespace) && (role == nil || role == subject.role)
            && (transport == nil || transport == subject.transport)
            && (localPort == nil || localPort == subject.localPort)
            && peerName.map { Self.name($0, fits: subject.peerName) } ?? true
            && peerAddress.map { prefix in subject.peerAddress.map(prefix.contains) ?? false } ?? true
    }

    /// True if this matches every request that `other` matches.
    package func covers(_ other: ProfileMatch) -> Bool {
        coversNamespace(other.namespace) && (role == nil || role == other.role)
            && (transport == nil || transport == other.transport)
            && (localPort == nil || localPort == other.localPort)
            && peerName.map { name in other.peerName.map { Self.name(name, covers: $0) } ?? false } ?? true
            && peerAddress.map { network in other.peerAddress.map(network.contains) ?? false } ?? true
    }

    private func coversNamespace(_ other: Namespaces?) -> Bool {
        switch (namespace, other) {
        case (nil, _), (.others, .others), (.others, .one), (.initial, .initial): true
        case (.one(let name), .one(let otherName)): name == otherName
        case (_, nil), (.initial, _), (_, .initial), (.one, .others): false
        }
    }

    private static func name(_ pattern: String, covers other: String) -> Bool {
        other.hasPrefix("*.") ? PeerName(pattern) == PeerName(other) : name(pattern, fits: other)
    }

    private func fitsNamespace(_ name: NamespaceName?) -> Bool {
        switch namespace {
        case nil: true
        case .initial: name == nil
        case .others: name != nil
        case .one(let wanted): name == wanted
        }
    }

    private static func name(_ pattern: String, fits name: String?) -> Bool {
        guard let name, !name.isEmpty else { return false }
        // `*.` must not match `192.0.2.1`, although `1.example` has a first label.
        return switch (PeerName(pattern), PeerName(name)) {
        case (.address(let wanted), .address(let given)): wanted == given
        case (.dns(let pattern), .dns(let name)): DomainPattern.matches(pattern, name)
        case (.address, .dns), (.dns, .address): false
        }
    }
}
