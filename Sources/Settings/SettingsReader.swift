/// Looks known keys up in a document and collects what is to be said about it.
struct SettingsReader {
    let document: INIDocument
    var notices: [SettingsNotice] = []

    /// A key's value under the name it was found by.
    struct Found {
        let name: SettingKey.Name
        let value: INIValue
    }

    /// The entry that counts for a key: under its own name, else under the newest of its former names. Says so
    /// when a former name is used, or is not used because a newer one is there.
    mutating func find(_ key: SettingKey) -> Found? {
        let found = ([key.name] + key.former).compactMap { name in
            document.entry(name.key, in: name.section).map { Found(name: name, value: $0.value) }
        }
        guard let first = found.first else { return nil }
        if first.name != key.name {
            notice(first, "\(first.name) is a former name; write it as \(key.name)")
        }
        for ignored in found.dropFirst() {
            let line = first.value.line
            notice(ignored, "\(ignored.name) is a former name and ignored, as line \(line) has \(first.name)")
        }
        return first
    }

    func located<Value>(_ value: Value, _ found: Found) -> Located<Value> {
        Located(value, origin: .line(file: document.file, line: found.value.line))
    }

    func error(_ found: Found, _ problem: SettingsError.Problem) -> SettingsError {
        SettingsError(
            file: document.file, line: found.value.line, column: found.value.column, problem: problem)
    }
}

extension SettingsReader {
    mutating func notice(_ found: Found, _ text: String) {
        notice(line: found.value.line, text)
    }

    mutating func notice(line: Int, _ text: String) {
        notices.append(SettingsNotice(file: document.file, line: line, text: text))
    }

    mutating func noticeUnreadable(_ found: Found, _ problem: INIValueProblem) {
        notice(found, "the value of \(found.name) \(problem.what), and is ignored; \(problem.remedy)")
    }

    /// Unknown sections once each, and unknown keys of known sections.
    mutating func noticeUnknown() {
        let names = SettingKey.all(in: document).flatMap { [$0.name] + $0.former }
        let known = Set(names.map(\.section))
        for section in document.sections where !known.contains(section.name) {
            notice(line: section.line, "section \(quoted(section.name)) is unknown and ignored")
        }
        for entry in document.entries where known.contains(entry.section) {
            let keys = names.filter { $0.section == entry.section }.map(\.key)
            guard !keys.contains(entry.key) else { continue }
            let list = keys.joined(separator: ", ")
            notice(
                line: entry.value.line,
                "key \(quoted(entry.key)) is unknown in [\(entry.section)] and ignored; known there: \(list)")
        }
    }

    /// Known keys that are given more than once: the last one counts, at a place that may be far away.
    mutating func noticeRepeated() {
        for name in SettingKey.all(in: document).flatMap({ [$0.name] + $0.former }) {
            let lines = document.entries.filter { $0.section == name.section && $0.key == name.key }.map(\.value.line)
            for line in lines.dropLast() {
                notice(line: line, "\(name) is ignored here, as line \(lines[lines.count - 1]) gives it again")
            }
        }
    }

    /// What is legal in the name of a file, and rarely meant. The value itself is not repeated: it may hold a PIN.
    mutating func noticeOddPath(_ found: Found, _ path: String) {
        if path.first == "\"" || path.first == "'" {
            notice(found, "the quotes in \(found.name) count as part of the value")
        }
        if path.utf8.indices.contains(where: { path.utf8[$0...].starts(with: " #".utf8) }) {
            notice(found, "the # in \(found.name) counts as part of the value; a comment needs a line of its own")
        }
    }

    /// A certificate is of no use without its key, and the other way round.
    mutating func noticeHalfPair(_ keys: SettingKey.Role, _ role: RoleSettings) {
        noticeHalfPair(keys.certificate, role.certificate != nil, keys.privateKey, role.privateKey != nil)
        noticeHalfPair(keys.pqCertificate, role.pqCertificate != nil, keys.pqPrivateKey, role.pqPrivateKey != nil)
        if role.pqCertificate != nil, role.certificate == nil, let found = find(keys.pqCertificate) {
            notice(found, "\(found.name) cannot be used without \(keys.certificate.name)")
        }
    }

    private mutating func noticeHalfPair(_ one: SettingKey, _ hasOne: Bool, _ other: SettingKey, _ hasOther: Bool) {
        if hasOne, !hasOther, let found = find(one) {
            notice(found, "\(found.name) cannot be used without \(other.name)")
        }
        if hasOther, !hasOne, let found = find(other) {
            notice(found, "\(found.name) cannot be used without \(one.name)")
        }
    }
}
