internal import Handshake
internal import Keyrings
internal import Policy
package import Settings

/// The profiles in force, and the numbers that workers use for them.
struct ProfileTable {
    /// A profile, or the default.
    struct Entry {
        let number: ProfileNumber
        /// `nil` for the default.
        let name: String?
        let credentials: [Role: RoleSettings]
    }

    /// The profile and keyrings for a request.
    struct Choice {
        let number: ProfileNumber
        let name: String?
        let keyrings: KeyringScope
    }

    /// Identity of a profile that keeps its number. Credentials stay in force under a number if newer ones cannot be
    /// used, so a number must not be reused for another match: credentials for one namespace would serve another.
    private struct Identity: Hashable {
        let name: String
        let match: ProfileMatch
    }

    private var settings = DaemonSettings()
    private var numbers: [Identity: ProfileNumber] = [:]
    private var lastNumber = ProfileNumber.standard

    /// Applies new settings.
    ///
    /// - Returns: Numbers of removed profiles.
    mutating func update(_ settings: DaemonSettings) -> [ProfileNumber] {
        guard settings != self.settings else { return [] }
        self.settings = settings
        let wanted = Set(settings.profiles.map(Self.identity))
        let gone = numbers.filter { !wanted.contains($0.key) }
        for identity in gone.keys { numbers[identity] = nil }
        for identity in settings.profiles.map(Self.identity) where numbers[identity] == nil {
            numbers[identity] = nextNumber()
        }
        return gone.values.sorted()
    }

    /// The default, then all profiles in the order of the settings.
    var entries: [Entry] {
        let standard = Entry(
            number: .standard, name: nil, credentials: [.client: settings.client, .server: settings.server])
        return [standard]
            + settings.profiles.map { profile in
                Entry(
                    number: number(of: profile), name: profile.name,
                    credentials: Dictionary(
                        uniqueKeysWithValues: profile.match.roles.map { ($0, profile.credentials) }))
            }
    }

    /// The choice for a request; `nil` if no profile matches it.
    func choose(for subject: ProfileSubject) -> Choice? {
        switch settings.choose(for: subject) {
        case .none: return nil
        case .standard:
            return Choice(number: .standard, name: nil, keyrings: standardKeyrings(for: subject.namespace))
        case .profile(let index):
            let profile = settings.profiles[index]
            return Choice(
                number: number(of: profile), name: profile.name, keyrings: keyrings(of: profile, for: subject.namespace)
            )
        }
    }

    private func keyrings(of profile: ProfileSettings, for namespace: NamespaceName?) -> KeyringScope {
        if let own = profile.keyrings { return .only(own.map(\.value.description)) }
        // The kernel's keyrings are not separate for each namespace, so other namespaces use them only if the settings
        // say so.
        return namespace == nil ? standardKeyrings(for: nil) : .only([])
    }

    private func standardKeyrings(for namespace: NamespaceName?) -> KeyringScope {
        let names = KeyringSet.kernelNames + settings.keyringNames
        let isShared = settings.profileKeyringNames.contains { !names.contains($0) }
        return namespace == nil && !isShared ? .everything : .only(names)
    }

    private func number(of profile: ProfileSettings) -> ProfileNumber { numbers[Self.identity(profile)] ?? .standard }

    /// Cycles through all numbers, so that a number is reused as late as possible.
    private mutating func nextNumber() -> ProfileNumber {
        let used = Set(numbers.values)
        repeat {
            lastNumber = ProfileNumber(lastNumber.rawValue &+ 1)
        } while lastNumber == .standard || used.contains(lastNumber)
        return lastNumber
    }

    private static func identity(_ profile: ProfileSettings) -> Identity {
        Identity(name: profile.name, match: profile.match)
    }
}

extension DaemonSettings {
    /// Keyrings of `[authenticate]` and of `psk.file`, besides the kernel's.
    package var keyringNames: [String] {
        keyrings.map(\.value.description) + [psk?.keyring.value.description ?? ".nvme"]
    }

    /// Keyrings of profiles.
    package var profileKeyringNames: [String] {
        profiles.flatMap { $0.keyrings ?? [] }.map(\.value.description)
    }
}
