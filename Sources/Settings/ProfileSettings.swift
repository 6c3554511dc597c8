internal import Handshake
package import Policy

/// `[profile NAME]`: credentials for requests that match its rules, instead of those of `[authenticate.*]`. The first
/// matching profile in file order is used.
package struct ProfileSettings: Equatable, Sendable {
    package let name: String
    package var match = ProfileMatch()
    /// The `x509` keys, used for each role that `match` allows.
    package var credentials = RoleSettings()
    /// `keyrings`, exclusively; `nil` if the key is absent. Then the keyrings of `[authenticate]` apply, but none
    /// outside the initial namespace.
    package var keyrings: [Located<KeyringReference>]?
    /// `isolation`; `nil` if the key is absent. Then that of `[workers]` applies.
    package var isolation: Isolation?

    package init(name: String) {
        self.name = name
    }

    /// Maximum number of profiles.
    static let limit = 1024
    static let longestName = 64
}

/// A profile is invalid.
package enum ProfileProblem: Equatable, Sendable {
    case name
    /// Position of the other profile; `file` is `nil` if it is in the same file.
    case repeated(file: String?, line: Int)
    case tooMany
    case rule(key: String, expected: String)

    var what: String {
        switch self {
        case .name: "the section name starts with profile, but is not of the form [profile NAME]"
        case .repeated(nil, let line): "line \(line) has a profile of the same name"
        case .repeated(let file?, let line): "\(file):\(line) has a profile of the same name"
        case .tooMany: "there are more than \(ProfileSettings.limit) profiles"
        case .rule(let key, _): "the value of \(key) is not understood"
        }
    }

    var remedy: String {
        switch self {
        case .name: "write [profile NAME] with a name of at most \(ProfileSettings.longestName) printable characters"
        case .repeated: "give each profile a name of its own"
        case .tooMany: "use fewer"
        case .rule(_, let expected): "write \(expected)"
        }
    }
}

/// Credentials selected for a request.
package enum ProfileChoice: Equatable, Sendable {
    /// Those of the profile with this index.
    case profile(Int)
    /// Those of `[authenticate.*]`.
    case standard
    /// None: no profile matches a request from another namespace.
    case none
}

extension DaemonSettings {
    /// Selects the first matching profile in file order; otherwise the default, which other namespaces get only if the
    /// settings allow it.
    package func choose(for subject: ProfileSubject) -> ProfileChoice {
        if let index = profiles.firstIndex(where: { $0.match.fits(subject) }) { return .profile(index) }
        return subject.namespace == nil || namespaces.defaultProfile ? .standard : .none
    }
}

extension SettingsReader {
    /// A section header and its file.
    struct Header {
        let file: String
        let section: INIDocument.Section
    }

    mutating func profiles(_ headers: [Header]) throws(SettingsError) -> [ProfileSettings] {
        var profiles: [ProfileSettings] = []
        for header in headers {
            let keys = SettingKey.Profile(header.section.name)
            var profile = ProfileSettings(name: keys.profile)
            profile.match = try match(keys)
            profile.credentials = try role(SettingKey.Role(section: header.section.name))
            let found = find(keys.keyrings)
            if let found {
                noticeCommas(found, try list(found))
                profile.keyrings = try list(found).compactMap(KeyringReference.init).map { located($0, found) }
            }
            let names = profile.keyrings.map { $0.map { "\($0.value)" }.joined(separator: ";") }
            note(
                keys.keyrings, names ?? "those of [authenticate], in the initial namespace only", found,
                isSet: names != nil)
            profile.isolation = try isolation(keys.isolation)
            if profile.isolation == nil { note(keys.isolation, "that of [workers]", nil, isSet: false) }
            if profile.match.isEmpty {
                notice(
                    header.file, header.section.line,
                    "[\(header.section.name)] has no match rules and fits every request")
            }
            profiles.append(profile)
        }
        return profiles
    }

    /// The section headers of profiles, in reading order. A profile must be in a single file, because its rules are
    /// checked together.
    func profileHeaders() throws(SettingsError) -> [Header] {
        var headers: [Header] = []
        for header in documents.flatMap({ document in
            document.sections.map { Header(file: document.file, section: $0) }
        }) where header.section.name.lowercased().hasPrefix("profile") {
            guard SettingKey.Profile.isSection(header.section.name) else { throw error(header, .profile(.name)) }
            if let other = headers.first(where: { $0.section.name == header.section.name }) {
                let file = other.file == header.file ? nil : other.file
                throw error(header, .profile(.repeated(file: file, line: other.section.line)))
            }
            guard headers.count < ProfileSettings.limit else { throw error(header, .profile(.tooMany)) }
            headers.append(header)
        }
        return headers
    }

    private mutating func match(_ keys: SettingKey.Profile) throws(SettingsError) -> ProfileMatch {
        var match = ProfileMatch()
        match.namespace = try rule(
            keys.namespace,
            "initial, *, a name in /run/netns, or an absolute path. The number in net:[INODE] is given to the next namespace "
                + "as soon as it is free: give the namespace a name (ip netns attach NAME PID)"
        ) { text in
            switch text {
            case "initial": .initial
            case "*": .others
            default: NamespaceName(text).flatMap { $0.path == nil ? nil : .one($0) }
            }
        }
        match.role = try rule(keys.role, "client or server") { text in
            switch text {
            case "client": .client
            case "server": .server
            default: nil
            }
        }
        match.peerName = try rule(keys.peerName, "a name, an address, or *. and a domain") { text in
            let name = text.hasPrefix("*.") ? text.dropFirst(2) : text[...]
            // It is one name: neither a comma nor a semicolon separates items here.
            let isName =
                !name.isEmpty && !name.hasPrefix(".") && !name.utf8.contains { $0 <= 0x20 || "*,;".utf8.contains($0) }
            return isName ? text : nil
        }
        match.peerAddress = try rule(
            keys.peerAddress, "an address, or ADDRESS/BITS without host bits", NetworkPrefix.init)
        match.localPort = try rule(keys.localPort, "a port, 1 to 65535") { text in
            UInt16(text).flatMap { String($0) == text && $0 > 0 ? $0 : nil }
        }
        match.transport = try rule(keys.transport, "netlink or listener") { text in
            switch text {
            case "netlink": .netlink
            case "listener": .listener
            default: nil
            }
        }
        return match
    }

    private mutating func rule<Value>(
        _ key: SettingKey, _ expected: String, _ read: (String) -> Value?
    ) throws(SettingsError) -> Value? {
        guard let found = find(key) else {
            note(key, "any", nil, isSet: false)
            return nil
        }
        let text: String
        do {
            text = try found.value.path()
        } catch {
            throw self.error(found, .value(key: "\(found.name)", error))
        }
        guard let value = read(text) else {
            throw error(found, .profile(.rule(key: "\(found.name)", expected: expected)))
        }
        note(key, text, found)
        return value
    }

    private func error(_ header: Header, _ problem: SettingsError.Problem) -> SettingsError {
        SettingsError(file: header.file, line: header.section.line, column: 1, problem: problem)
    }
}
