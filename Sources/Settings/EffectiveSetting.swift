/// One setting as it is in force, with the place that decided it; what `tlshctl explain` shows.
package struct EffectiveSetting: Equatable, Sendable {
    /// Without its brackets, such as `authenticate.client` or `profile blue`.
    package let section: String
    package let key: String
    /// What is in force, as text; it says so where that is nothing. URLs of keys are cut to their scheme, as they can
    /// hold a PIN.
    package let value: String
    package let origin: SettingOrigin
    /// Other places that set it, under this name or a former one, and count for nothing; in the order in which they are
    /// read.
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
    /// Notes what is in force for a key. `found` is the entry that decided it, nil where the default holds.
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
    /// As it is written in the settings.
    var word: String { self ? "yes" : "no" }
}
