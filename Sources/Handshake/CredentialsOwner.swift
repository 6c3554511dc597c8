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
