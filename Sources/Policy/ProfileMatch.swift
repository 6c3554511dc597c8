package import Handshake

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
