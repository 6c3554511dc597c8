package import Handshake

/// `[namespaces]`: which network namespaces are served.
package struct NamespaceSettings: Equatable, Sendable {
    /// `named`: every one in /run/netns.
    package var named = false
    /// `names`: these, whenever they exist.
    package var names: [NamespaceName] = []
    /// `processes`: every one that a process is in.
    package var processes = false
    /// `initial`: the one that tlshd was started in.
    package var initial = true
    /// `default_profile`: whether another namespace's requests that no profile fits get what `[authenticate.*]` says.
    package var defaultProfile = false

    package init() {}

    /// Whether any namespace but the initial one may be served.
    package var watchesOthers: Bool { named || processes || !names.isEmpty }
}

extension SettingsReader {
    mutating func namespaces() throws(SettingsError) -> NamespaceSettings {
        var settings = NamespaceSettings()
        settings.named = try boolean(.namedNamespaces, settings.named)
        settings.processes = try boolean(.processNamespaces, settings.processes)
        settings.initial = try boolean(.initialNamespace, settings.initial)
        settings.defaultProfile = try boolean(.defaultProfile, settings.defaultProfile)
        let names = find(.namespaceNames)
        if let found = names {
            for item in try list(found) {
                guard let name = NamespaceName(item), name.path != nil else { throw error(found, .namespaceName) }
                if !settings.names.contains(name) { settings.names.append(name) }
            }
        }
        let list = settings.names.map(\.description).joined(separator: ";")
        note(.namespaceNames, list.isEmpty ? "none" : list, names)
        if !settings.initial, !settings.watchesOthers, let found = find(.initialNamespace) {
            notice(found, "no namespace is served: \(found.name) is no, and nothing else in its section names one")
        }
        return settings
    }

    /// Whether it is so; what cannot be read refuses the file, for nobody can say what was meant.
    mutating func boolean(_ key: SettingKey, _ usual: Bool) throws(SettingsError) -> Bool {
        guard let found = find(key) else {
            note(key, usual.word, nil)
            return usual
        }
        do {
            let value = try found.value.boolean()
            note(key, value.word, found)
            return value
        } catch {
            throw self.error(found, .value(key: "\(found.name)", error))
        }
    }

    /// The items of a list without the blanks around them; empty ones are left out.
    func list(_ found: Found) throws(SettingsError) -> [String] {
        do {
            return try found.value.list().map { $0.utf8.trimmingBlanks() }.filter { !$0.isEmpty }
        } catch {
            throw self.error(found, .value(key: "\(found.name)", error))
        }
    }
}
