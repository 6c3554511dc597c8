/// A setting in force with its origin, as shown by `tlshctl explain`.
package struct EffectiveSetting: Equatable, Sendable {
    /// Section name without brackets, such as `authenticate.client` or `profile blue`.
    package let section: String
    package let key: String
    /// Value in force as text, also if it is the absence of a value. Key URLs are reduced to their scheme, because they
    /// may contain a PIN.
    package let value: String
    package let origin: SettingOrigin
    /// Other lines that set it, under its current or a former name, and have no effect; in reading order.
    package let replaced: [SettingOrigin]

    package init(
        section: String, key: String, value: String, origin: SettingOrigin, replaced: [SettingOrigin] = []
    ) {
        self.section = section
        self.key = key
        self.value = value
        self.origin = origin
        self.replaced = replaced
    }
}

extension SettingsReader {
    /// Records the value in force for a key. `found` is the entry that set it, `nil` for the default.
    mutating func note(_ key: SettingKey, _ value: String, _ found: Found?) {
        let places = places(of: key).map(\.origin)
        let origin = found.map { SettingOrigin.line(file: $0.file, line: $0.value.line) } ?? .builtIn
        effective.append(
            EffectiveSetting(
                section: key.name.section, key: key.name.key, value: value, origin: origin,
                replaced: places.filter { $0 != origin }))
    }
}

extension Bool {
    /// Spelling in the settings.
    var word: String { self ? "yes" : "no" }
}
