package import Policy

/// `[namespaces]`: the network namespaces to serve.
package struct NamespaceSettings: Equatable, Sendable {
    /// `named`: all in /run/netns.
    package var named = false
    /// `names`: the listed ones, whenever they exist.
    package var names: [NamespaceName] = []
    /// `processes`: all that contain a process.
    package var processes = false
    /// `initial`: the one that tlshd was started in.
    package var initial = true
    /// `default_profile`: if set, requests of other namespaces without a matching profile use `[authenticate.*]`.
    package var defaultProfile = false

    package init() {}

    /// True if any namespace other than the initial one may be served.
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

    /// Reads a boolean. An invalid value is an error, because its meaning is unclear.
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

    /// Items of a list without surrounding blanks; empty items are omitted.
    func list(_ found: Found) throws(SettingsError) -> [String] {
        do {
            return try found.value.list().map { $0.utf8.trimmingBlanks() }.filter { !$0.isEmpty }
        } catch {
            throw self.error(found, .value(key: "\(found.name)", error))
        }
    }
}
