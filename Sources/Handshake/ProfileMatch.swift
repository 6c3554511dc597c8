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

/// DNS names in rules.
enum DomainPattern {
    /// Compares names case-insensitively (RFC 4343). A leading `*.` stands for one label (RFC 6125 §6.4.3).
    static func matches(_ pattern: String, _ name: String) -> Bool {
        let wanted = folded(pattern)
        let given = folded(name)
        guard wanted.starts(with: "*.".utf8) else { return given == wanted }
        guard let dot = given.firstIndex(of: UInt8(ascii: ".")), dot > given.startIndex else { return false }
        return given[dot...] == wanted.dropFirst()
    }

    /// Folds ASCII letters only: DNS has no case for other letters, and Unicode folding would map some of them to
    /// ASCII.
    private static func folded(_ text: String) -> [UInt8] {
        text.utf8.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
    }
}
