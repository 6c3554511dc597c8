/// Looks up known keys in the documents, and collects notices.
struct SettingsReader {
    /// In reading order; later documents override earlier ones.
    let documents: [INIDocument]
    var notices: [SettingsNotice] = []
    var effective: [EffectiveSetting] = []

    /// A key's value, and the name under which it was found.
    struct Found {
        let name: SettingKey.Name
        let file: String
        let value: INIValue

        var origin: SettingOrigin { .line(file: file, line: value.line) }
    }

    /// The entry that sets a key: under its own name, else under the newest former name. Adds a notice if a former name
    /// is used, or is overridden by a newer one.
    mutating func find(_ key: SettingKey) -> Found? {
        let found = ([key.name] + key.former).compactMap(last)
        guard let first = found.first else { return nil }
        if first.name != key.name {
            notice(first, "\(first.name) is an old name; use \(key.name)")
        }
        for ignored in found.dropFirst() {
            let place = ignored.file == first.file ? "line \(first.value.line)" : "\(first.origin)"
            notice(ignored, "\(ignored.name) is an old name and is ignored, because \(place) has \(first.name)")
        }
        return first
    }

    /// All lines that set a key, under any of its names, in reading order.
    func places(of key: SettingKey) -> [Found] {
        let names = [key.name] + key.former
        return documents.flatMap { document in
            document.entries.compactMap { entry in
                let name = SettingKey.Name(section: entry.section, key: entry.key)
                return names.contains(name) ? Found(name: name, file: document.file, value: entry.value) : nil
            }
        }
    }

    private func last(_ name: SettingKey.Name) -> Found? {
        for document in documents.reversed() {
            if let entry = document.entry(name.key, in: name.section) {
                return Found(name: name, file: document.file, value: entry.value)
            }
        }
        return nil
    }

    func located<Value>(_ value: Value, _ found: Found) -> Located<Value> {
        Located(value, origin: found.origin)
    }

    func error(_ found: Found, _ problem: SettingsError.Problem) -> SettingsError {
        SettingsError(file: found.file, line: found.value.line, column: found.value.column, problem: problem)
    }

    /// The notices in order of files and lines.
    var sortedNotices: [SettingsNotice] {
        var order: [String: Int] = [:]
        for (index, document) in documents.enumerated() where order[document.file] == nil {
            order[document.file] = index
        }
        return notices.enumerated()
            .sorted {
                (order[$0.element.file, default: 0], $0.element.line, $0.offset)
                    < (order[$1.element.file, default: 0], $1.element.line, $1.offset)
            }
            .map(\.element)
    }
}

extension SettingsReader {
    mutating func notice(_ found: Found, _ text: String) {
        notice(found.file, found.value.line, text)
    }

    mutating func notice(_ file: String, _ line: Int, _ text: String) {
        notices.append(SettingsNotice(file: file, line: line, text: text))
    }

    mutating func noticeUnreadable(_ found: Found, _ problem: INIValueProblem) {
        notice(found, "the value of \(found.name) \(problem.what), and is ignored; \(problem.remedy)")
    }

    /// Adds notices about unknown sections, once each, and about unknown keys in known sections.
    mutating func noticeUnknown() {
        let known = Dictionary(
            grouping: SettingKey.all(in: documents).flatMap { [$0.name] + $0.former }, by: \.section
        ).mapValues { $0.map(\.key) }
        for document in documents {
            for section in document.sections where known[section.name] == nil {
                let list = (SettingKey.sections + ["profile NAME"]).joined(separator: ", ")
                notice(
                    document.file, section.line,
                    "section \(quoted(section.name)) is unknown and ignored; known: \(list)")
            }
            for entry in document.entries {
                guard let keys = known[entry.section], !keys.contains(entry.key) else { continue }
                let list = keys.joined(separator: ", ")
                notice(
                    document.file, entry.value.line,
                    "key \(quoted(entry.key)) is unknown in [\(entry.section)] and ignored; known there: \(list)")
            }
        }
    }

    /// Adds notices about known keys that one file sets repeatedly; the last line counts, which may be far away. A
    /// later file may override an earlier one without notice.
    mutating func noticeRepeated() {
        for name in SettingKey.all(in: documents).flatMap({ [$0.name] + $0.former }) {
            for document in documents {
                let entries = document.entries.filter { $0.section == name.section && $0.key == name.key }
                for entry in entries.dropLast() {
                    notice(
                        document.file, entry.value.line,
                        "\(name) is ignored here, as line \(entries[entries.count - 1].value.line) sets it again")
                }
            }
        }
    }

    /// Adds notices about paths that are valid but probably a mistake. The value is not repeated, because it may
    /// contain a PIN.
    mutating func noticeOddPath(_ found: Found, _ path: String) {
        if path.first == "\"" || path.first == "'" {
            notice(found, "the quotes in \(found.name) are part of the value")
        }
        if path.utf8.indices.contains(where: { path.utf8[$0...].starts(with: " #".utf8) }) {
            notice(found, "the # in \(found.name) counts as part of the value; put comments on a line of their own")
        }
    }

    /// Adds notices about certificates without key and keys without certificate.
    mutating func noticeHalfPair(_ keys: SettingKey.Role, _ role: RoleSettings) {
        noticeHalfPair(keys.certificate, role.certificate != nil, keys.privateKey, role.privateKey != nil)
        noticeHalfPair(keys.pqCertificate, role.pqCertificate != nil, keys.pqPrivateKey, role.pqPrivateKey != nil)
    }

    mutating func noticeHalfPair(_ one: SettingKey, _ hasOne: Bool, _ other: SettingKey, _ hasOther: Bool) {
        if hasOne, !hasOther, let found = find(one) {
            notice(found, "\(found.name) cannot be used without \(other.name)")
        }
        if hasOther, !hasOne, let found = find(other) {
            notice(found, "\(found.name) cannot be used without \(one.name)")
        }
    }
}

/// Values that several sections have.
extension SettingsReader {
    /// Records and returns the default.
    mutating func standard(_ key: SettingKey, _ number: Int) -> Located<Int> {
        note(key, "\(number)", nil)
        return Located(number, origin: .builtIn)
    }

    mutating func number(
        _ key: SettingKey, in range: ClosedRange<Int>, but taken: Set<Int>, _ usual: Located<Int>
    ) -> Located<Int> {
        guard let found = find(key) else { return standard(key, usual.value) }
        do {
            let number = try found.value.integer()
            if range.contains(number), !taken.contains(number) {
                note(key, "\(number)", found)
                return located(number, found)
            }
            notice(found, "\(found.name) cannot be \(number), and is ignored; \(usual.value) is used")
        } catch {
            noticeUnreadable(found, error)
        }
        return standard(key, usual.value)
    }

    mutating func path(_ key: SettingKey) throws(SettingsError) -> Located<String>? {
        guard let found = find(key) else { return nil }
        let path = try text(found)
        guard !KeyURL.isOpenable(path) else {
            throw self.error(found, .urlAsFile(key: "\(found.name)"))
        }
        return located(path, found)
    }

    mutating func fileOrURL(_ key: SettingKey) throws(SettingsError) -> Located<PrivateKeySource>? {
        guard let found = find(key) else { return nil }
        let text = try text(found)
        guard let source = PrivateKeySource(text) else {
            throw self.error(found, .keyURLScheme(key: "\(found.name)"))
        }
        return located(source, found)
    }

    mutating func text(_ found: Found) throws(SettingsError) -> String {
        do {
            let text = try found.value.path()
            noticeOddPath(found, text)
            return text
        } catch {
            throw self.error(found, .value(key: "\(found.name)", error))
        }
    }

    /// For keys without which the daemon is not weaker: an invalid value leaves the key unset.
    mutating func optionally<Value>(
        _ key: SettingKey,
        _ read: (inout SettingsReader, SettingKey) throws(SettingsError) -> Located<Value>?
    ) -> Located<Value>? {
        do {
            return try read(&self, key)
        } catch {
            notices.append(
                SettingsNotice(
                    file: error.file, line: error.line, text: "\(error.what), and is ignored; \(error.remedy)"))
            return nil
        }
    }
}
