/// An unknown section or key that makes the settings invalid, because ignoring it could trust peers that were to be
/// refused.
package enum UnknownName: Equatable, Sendable {
    /// An unknown key in a section about trust; `nearest` is the most similar known key.
    case key(String, section: String, nearest: String?)
    /// A key about trust in a section that cannot have it.
    case misplacedKey(String, section: String)
    /// A section that differs from a known one by case, blanks or two letters.
    case section(String, nearest: String)

    var what: String {
        switch self {
        case .key(let key, let section, _):
            "key \(quoted(key)) is unknown in [\(section)], whose keys decide who is trusted"
        case .misplacedKey(let key, let section): "key \(quoted(key)) has no effect in \(quoted("[\(section)]"))"
        case .section(let section, let nearest): "section \(quoted(section)) is unknown, but similar to [\(nearest)]"
        }
    }

    var remedy: String {
        switch self {
        case .key(_, _, let nearest?): "write \(nearest), or remove the line"
        case .key(_, let section, nil):
            "remove the line, or use one of \(SettingKey.trustKeys(of: section).joined(separator: ", "))"
                + (section == SettingKey.isolation.name.section
                    ? "" : ", or x509.NAME.certificate and x509.NAME.private_key")
        case .misplacedKey: "put it into [authenticate.client], [authenticate.server] or a [profile NAME]"
        case .section(_, let nearest): "write [\(nearest)], or choose a less similar name"
        }
    }
}

extension SettingKey {
    /// All keys of a section about trust or isolation, except those of named pairs; empty for other sections.
    static func trustKeys(of section: String) -> [String] {
        if section == isolation.name.section { return workers.map(\.name.key) }
        let roles = [Role.client, Role.server]
        if let role = roles.first(where: { $0.section == section }) { return role.all.map(\.name.key) }
        return Profile.isSection(section) ? Profile(section).all.map(\.name.key) : []
    }

    /// Prefixes of keys that only sections of roles can have: `x509.` and `tls.`.
    fileprivate static let trustPrefixes = Set(
        Role.client.all.map { key in String(key.name.key.prefix { $0 != "." }) + "." })
}

extension SettingsReader {
    /// Throws if a name may be a misspelled decision about trust. Other unknown names only get a notice, because files
    /// for ktls-utils and for newer releases may have them.
    func refuseUnknown() throws(SettingsError) {
        for document in documents {
            for section in document.sections {
                guard let nearest = Self.nearestSection(to: section.name) else { continue }
                throw SettingsError(
                    file: document.file, line: section.line, column: 1,
                    problem: .unknown(.section(section.name, nearest: nearest)))
            }
            var known: [String: Set<String>] = [:]
            for entry in document.entries {
                let keys = known[entry.section] ?? Set(SettingKey.trustKeys(of: entry.section))
                known[entry.section] = keys
                guard let problem = Self.problem(with: entry, keys) else { continue }
                throw SettingsError(
                    file: document.file, line: entry.value.line, column: 1, problem: .unknown(problem))
            }
        }
    }

    /// - Parameter keys: keys of the entry's section, if it is about trust.
    private static func problem(with entry: INIDocument.Entry, _ keys: Set<String>) -> UnknownName? {
        guard !keys.isEmpty else {
            // The section name is invalid; `profiles` reports that.
            guard !entry.section.lowercased().hasPrefix("profile") else { return nil }
            let isMisplaced = SettingKey.trustPrefixes.contains { entry.key.lowercased().hasPrefix($0) }
            return isMisplaced ? .misplacedKey(entry.key, section: entry.section) : nil
        }
        guard !keys.contains(entry.key), SettingKey.Role.pairName(of: entry.key) == nil else { return nil }
        let candidates = SettingKey.trustKeys(of: entry.section) + pairKeys(like: entry.key)
        return .key(
            entry.key, section: entry.section, nearest: Spelling.nearest(to: entry.key, in: candidates, within: 3))
    }

    /// Keys of the pair whose name a misspelled key appears to have.
    private static func pairKeys(like key: String) -> [String] {
        let parts = key.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3 else { return [] }
        return ["certificate", "private_key"].map { "x509.\(parts[1]).\($0)" }
            .filter { SettingKey.Role.pairName(of: $0) != nil }
    }

    /// Known sections, including those of former layouts, but not profiles.
    private static let knownSections = Set(SettingKey.all.flatMap { [$0.name] + $0.former }.map(\.section)).sorted()

    /// The known section that is similar to this one; `nil` if it is known itself, or similar to none. Sections that
    /// start with `profile` are checked by `profiles`.
    private static func nearestSection(to name: String) -> String? {
        guard !knownSections.contains(name), !name.lowercased().hasPrefix("profile") else { return nil }
        if let section = Spelling.nearest(to: name, in: knownSections, within: 2) { return section }
        let word = name.prefix { $0 != " " && $0 != "." }
        return Spelling.nearest(to: String(word), in: ["profile"], within: 2).map { "\($0) NAME" }
    }
}

/// Similarity of names.
package enum Spelling {
    /// Names longer than this are not compared.
    private static let longest = 64

    /// The candidate with the smallest edit distance, if that is at most `limit`. Case and blanks are ignored.
    package static func nearest(to name: String, in candidates: [String], within limit: Int) -> String? {
        let letters = folded(name)
        guard letters.count <= longest else { return nil }
        let distances = candidates.map { (candidate: $0, distance: distance(letters, folded($0))) }
        let best = distances.min { $0.distance < $1.distance }
        return best.flatMap { $0.distance <= limit ? $0.candidate : nil }
    }

    private static func folded(_ name: String) -> [UInt8] {
        Array(name.lowercased().utf8.filter { !Byte.isBlank($0) })
    }

    /// Levenshtein distance, computed with a single row of the table.
    static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var row = Array(0...right.count)
        for (line, letter) in left.enumerated() {
            var diagonal = row[0]
            row[0] = line + 1
            for (column, other) in right.enumerated() {
                let replaced = diagonal + (letter == other ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(replaced, row[column] + 1, diagonal + 1)
            }
        }
        return row[right.count]
    }
}
