internal import Handshake
internal import Policy

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
            notice(first, "\(first.name) is an old name", remedy: "use \(key.name)")
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

    /// Most notices that are reported, so that a damaged file does not flood the log.
    private static let mostNotices = 100

    /// The notices in order of files and lines. If there are too many, the last says how many are left out.
    var sortedNotices: [SettingsNotice] {
        let all = allNotices
        guard all.count > Self.mostNotices else { return all }
        let first = all[Self.mostNotices - 1]
        let rest = all.count - Self.mostNotices + 1
        return all.prefix(Self.mostNotices - 1)
            + [
                SettingsNotice(
                    file: first.file, line: first.line, "from here on, \(rest) more notices are left out")
            ]
    }

    private var allNotices: [SettingsNotice] {
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
    mutating func notice(_ found: Found, _ text: String, remedy: String? = nil) {
        notices.append(SettingsNotice(file: found.file, line: found.value.line, text, remedy: remedy))
    }

    mutating func notice(_ file: String, _ line: Int, _ text: String) {
        notices.append(SettingsNotice(file: file, line: line, text))
    }

    mutating func noticeUnreadable(_ found: Found, _ problem: INIValueProblem) {
        notice(found, "the value of \(found.name) \(problem.what), and is ignored", remedy: problem.remedy)
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
        let known = Set(SettingKey.all(in: documents).flatMap { [$0.name] + $0.former })
        for document in documents {
            var lines: [SettingKey.Name: [Int]] = [:]
            for entry in document.entries {
                lines[SettingKey.Name(section: entry.section, key: entry.key), default: []].append(entry.value.line)
            }
            for (name, lines) in lines where lines.count > 1 && known.contains(name) {
                let ignored = lines.count - 1
                let more = ignored == 1 ? "" : " and in \((ignored - 1).counted("more line"))"
                notice(
                    document.file, lines[0], "\(name) is ignored here\(more), as line \(lines[ignored]) sets it again")
            }
        }
    }

    /// Remedy for a list with commas.
    static let separation = "items are separated by ;"

    /// Adds a notice about a list whose items have commas, which do not separate.
    mutating func noticeCommas(_ found: Found, _ items: [String]) {
        guard items.contains(where: { $0.utf8.contains(UInt8(ascii: ",")) }) else { return }
        notice(found, "\(found.name) has a comma within an item", remedy: Self.separation)
    }

    /// Adds notices about profiles that no request can reach.
    mutating func noticeUnreachable(
        _ profiles: [ProfileSettings], _ headers: [Header], _ namespaces: NamespaceSettings
    ) {
        for (index, (profile, header)) in zip(profiles, headers).enumerated() {
            let name = "[\(header.section.name)]"
            if let earlier = profiles[..<index].first(where: { $0.match.covers(profile.match) }) {
                notice(
                    header.file, header.section.line,
                    "\(name) is never used: [profile \(earlier.name)], which comes before it, matches all its requests")
            } else if !namespaces.serves(profile.match.namespace) {
                notice(
                    header.file, header.section.line,
                    "\(name) is never used: [namespaces] serves none that its match.namespace names")
            }
        }
    }

    /// Adds a notice about a path that is valid but probably a mistake. The value is not repeated, because it may
    /// contain a PIN.
    mutating func noticeOddPath(_ found: Found, _ path: String) {
        if path.utf8.indices.contains(where: { path.utf8[$0...].starts(with: " #".utf8) }) {
            notice(
                found, "the # in \(found.name) counts as part of the value",
                remedy: "put comments on a line of their own")
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
        try requireWhole(path, found)
        return located(path, found)
    }

    mutating func fileOrURL(_ key: SettingKey) throws(SettingsError) -> Located<PrivateKeySource>? {
        guard let found = find(key) else { return nil }
        let text = try text(found)
        guard let source = PrivateKeySource(text) else {
            throw self.error(found, .keyURLScheme(key: "\(found.name)"))
        }
        switch source {
        case .file(let path): try requireWhole(path, found)
        case .url(let url):
            guard !url.hasRelativePINFile else {
                throw self.error(found, .relativePath(key: "pin-source in \(found.name)", isQuoted: false))
            }
        }
        return located(source, found)
    }

    /// Refuses a relative path. `%d/` stands for the folder of the files that systemd gives to the service.
    private func requireWhole(_ path: String, _ found: Found) throws(SettingsError) {
        guard !path.hasPrefix("/"), !path.hasPrefix("%d/") else { return }
        let isQuoted = path.first == "\"" || path.first == "'"
        throw error(found, .relativePath(key: "\(found.name)", isQuoted: isQuoted))
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
                    file: error.file, line: error.line, "\(error.what), and is ignored", remedy: error.remedy))
            return nil
        }
    }
}

/// A known key: its section, its name, and its names in earlier layouts of the file, which apply if the key itself is
/// absent (`[main]` until ktls-utils 0.9, `[authentication]` in 0.10).
struct SettingKey: Equatable, Sendable {
    struct Name: Hashable, Sendable, CustomStringConvertible {
        let section: String
        let key: String

        var description: String { "[\(section)] \(key)" }
    }

    let name: Name
    let former: [Name]

    init(_ section: String, _ key: String, former: [Name] = []) {
        name = Name(section: section, key: key)
        self.former = former
    }

    static let logLevel = SettingKey("debug", "loglevel", former: [.init(section: "main", key: "debug")])
    static let tls = SettingKey("debug", "tls", former: [.init(section: "main", key: "tlsdebug")])
    static let netlink = SettingKey("debug", "nl", former: [.init(section: "main", key: "nl_debug")])
    static let delayDone = SettingKey("debug", "delay_done", former: [.init(section: "main", key: "delay_done")])
    static let historicLines = SettingKey("debug", "ktls_utils_lines")
    static let handshakes = SettingKey("limits", "handshakes")
    static let handshakesPerNamespace = SettingKey("limits", "handshakes_per_namespace")
    static let handshakesPerPeer = SettingKey("limits", "handshakes_per_peer")
    static let handshakeBytes = SettingKey("limits", "handshake_bytes")
    static let penaltyExempt = SettingKey("limits", "penalty_exempt")
    static let isolation = SettingKey("workers", "isolation")
    static let workerHandshakes = SettingKey("workers", "handshakes")
    static let workerMinutes = SettingKey("workers", "minutes")
    static let keyrings = SettingKey(
        "authenticate", "keyrings",
        former: [.init(section: "authentication", key: "keyrings"), .init(section: "main", key: "keyrings")])
    static let listenerFamily = SettingKey("listener", "family")
    static let listenerLevel = SettingKey("listener", "level")
    static let keyUpdateLifetime = SettingKey("listener", "key_update_lifetime")
    static let controlSocket = SettingKey("control", "socket")
    static let controlGroup = SettingKey("control", "group")
    static let metricsTextfile = SettingKey("metrics", "textfile")
    static let pskFile = SettingKey("authenticate", "psk.file")
    static let pskKeyring = SettingKey("authenticate", "psk.keyring")

    static let namedNamespaces = SettingKey("namespaces", "named")
    static let namespaceNames = SettingKey("namespaces", "names")
    static let processNamespaces = SettingKey("namespaces", "processes")
    static let initialNamespace = SettingKey("namespaces", "initial")
    static let defaultProfile = SettingKey("namespaces", "default_profile")

    static let workers = [isolation, workerHandshakes, workerMinutes]
    static let namespaces = [namedNamespaces, namespaceNames, processNamespaces, initialNamespace, defaultProfile]

    /// Keys of both client and server.
    struct Role: Sendable {
        let section: String

        static let client = Role(section: "authenticate.client")
        static let server = Role(section: "authenticate.server")

        var trustStore: SettingKey { SettingKey(section, "x509.truststore") }
        var crl: SettingKey { SettingKey(section, "x509.crl") }
        var missingList: SettingKey { SettingKey(section, "x509.crl.missing") }
        var certificate: SettingKey { SettingKey(section, "x509.certificate") }
        var privateKey: SettingKey { SettingKey(section, "x509.private_key") }
        var pqCertificate: SettingKey { SettingKey(section, "x509.pq.certificate") }
        var pqPrivateKey: SettingKey { SettingKey(section, "x509.pq.private_key") }

        var require: SettingKey { SettingKey(section, "x509.require") }
        var pin: SettingKey { SettingKey(section, "x509.pin") }
        var allowedNames: SettingKey { SettingKey(section, "x509.allow.san") }
        var allowedSubjects: SettingKey { SettingKey(section, "x509.allow.subject") }
        var allowedIssuers: SettingKey { SettingKey(section, "x509.allow.issuer") }
        var purpose: SettingKey { SettingKey(section, "x509.purpose") }
        var leastRSABits: SettingKey { SettingKey(section, "x509.rsa.minimum") }
        var applicationProtocol: SettingKey { SettingKey(section, "tls.alpn") }
        var suites: SettingKey { SettingKey(section, "tls.suites") }
        var groups: SettingKey { SettingKey(section, "tls.groups") }

        var rules: [SettingKey] {
            [
                require, pin, allowedNames, allowedSubjects, allowedIssuers, purpose, leastRSABits, missingList,
                applicationProtocol, suites, groups,
            ]
        }
        var all: [SettingKey] { [trustStore, crl, certificate, privateKey, pqCertificate, pqPrivateKey] + rules }

        func certificate(of pair: String) -> SettingKey { SettingKey(section, "x509.\(pair).certificate") }
        func privateKey(of pair: String) -> SettingKey { SettingKey(section, "x509.\(pair).private_key") }

        /// Name of the pair in a key; `nil` if it has none, or belongs to the post-quantum pair.
        static func pairName(of key: String) -> String? {
            for end in [".certificate", ".private_key"] where key.hasPrefix("x509.") && key.hasSuffix(end) {
                let name = key.dropFirst(5).dropLast(end.count)
                let isName =
                    (1...16).contains(name.utf8.count) && name != "pq"
                    && name.utf8.allSatisfy { Byte.isDigit($0) || Byte.isLetter($0) || $0 == 0x2D || $0 == 0x5F }
                return isName ? String(name) : nil
            }
            return nil
        }

        /// Names of pairs in the documents, in order of first occurrence.
        func pairNames(in documents: [INIDocument]) -> [String] {
            var names: [String] = []
            for entry in documents.flatMap(\.entries) where entry.section == section {
                guard let name = Self.pairName(of: entry.key), !names.contains(name) else { continue }
                names.append(name)
            }
            return names
        }
    }

    /// Keys of a section `[profile NAME]`, besides those of a role.
    struct Profile: Sendable {
        let section: String

        init(_ section: String) {
            self.section = section
        }

        private static let prefix = "profile "

        /// Returns `true` if the section name is valid for a profile. The profile name is the text after the blank, and
        /// must be printable.
        static func isSection(_ section: String) -> Bool {
            let name = Profile(section).profile
            return section.hasPrefix(prefix) && quoted(name) == "'\(name)'" && !name.isEmpty && !name.hasPrefix(" ")
                && name.utf8.count <= ProfileSettings.longestName
        }

        var profile: String { String(section.dropFirst(Self.prefix.count)) }

        var namespace: SettingKey { SettingKey(section, "match.namespace") }
        var role: SettingKey { SettingKey(section, "match.role") }
        var peerName: SettingKey { SettingKey(section, "match.peer_name") }
        var peerAddress: SettingKey { SettingKey(section, "match.peer_address") }
        var localPort: SettingKey { SettingKey(section, "match.local_port") }
        var transport: SettingKey { SettingKey(section, "match.transport") }
        var keyrings: SettingKey { SettingKey(section, "keyrings") }
        var isolation: SettingKey { SettingKey(section, "isolation") }

        var rules: [SettingKey] { [namespace, role, peerName, peerAddress, localPort, transport] }
        var all: [SettingKey] { rules + [keyrings, isolation] + Role(section: section).all }
    }

    static let all: [SettingKey] =
        [
            logLevel, tls, netlink, delayDone, historicLines, handshakes, handshakesPerNamespace, handshakesPerPeer,
            handshakeBytes, penaltyExempt, keyrings, pskFile, pskKeyring, listenerFamily, listenerLevel,
            keyUpdateLifetime, controlSocket,
            controlGroup, metricsTextfile,
        ] + Role.client.all + Role.server.all + namespaces + workers

    /// All sections, without those of former layouts.
    static let sections = all.reduce(into: [String]()) { sections, key in
        if !sections.contains(key.name.section) { sections.append(key.name.section) }
    }

    /// All keys, and those of the profiles in the documents.
    static func all(in documents: [INIDocument]) -> [SettingKey] {
        let sections = Set(documents.flatMap { $0.sections.map(\.name) }).filter(Profile.isSection).sorted()
        let roles = [Role.client, Role.server] + sections.map { Role(section: $0) }
        let pairs = roles.flatMap { role in
            role.pairNames(in: documents).flatMap { [role.certificate(of: $0), role.privateKey(of: $0)] }
        }
        return all + sections.flatMap { Profile($0).all } + pairs
    }
}

/// A setting with its origin, so that a later error can name the line.
package struct Located<Value> {
    package let value: Value
    package let origin: SettingOrigin

    package init(_ value: Value, origin: SettingOrigin) {
        self.value = value
        self.origin = origin
    }
}

extension Located: Equatable where Value: Equatable {}
extension Located: Sendable where Value: Sendable {}

/// Origin of a setting.
package enum SettingOrigin: Equatable, Sendable, CustomStringConvertible {
    case builtIn
    case line(file: String, line: Int)

    /// `file:line`, or `built in`.
    package var description: String {
        switch self {
        case .builtIn: "built in"
        case .line(let file, let line): "\(file):\(line)"
        }
    }
}

/// A setting in force with its origin, as shown by `tlshctl explain`.
package struct EffectiveSetting: Equatable, Sendable {
    /// Section name without brackets, such as `authenticate.client` or `profile blue`.
    package let section: String
    package let key: String
    /// Value in force as text, also if it is the absence of a value. Key URLs are reduced to their scheme, because they
    /// may contain a PIN.
    package let value: String
    /// False if the value is the absence of one, in words.
    package let isSet: Bool
    package let origin: SettingOrigin
    /// Other lines that set it, under its current or a former name, and have no effect; in reading order.
    package let replaced: [SettingOrigin]

    package init(
        section: String, key: String, value: String, isSet: Bool = true, origin: SettingOrigin,
        replaced: [SettingOrigin] = []
    ) {
        self.section = section
        self.key = key
        self.value = value
        self.isSet = isSet
        self.origin = origin
        self.replaced = replaced
    }
}

extension SettingsReader {
    /// Records the value in force for a key. `found` is the entry that set it, `nil` for the default.
    mutating func note(_ key: SettingKey, _ value: String, _ found: Found?, isSet: Bool = true) {
        let places = places(of: key).map(\.origin)
        let origin = found.map { SettingOrigin.line(file: $0.file, line: $0.value.line) } ?? .builtIn
        effective.append(
            EffectiveSetting(
                section: key.name.section, key: key.name.key, value: value, isSet: isSet, origin: origin,
                replaced: places.filter { $0 != origin }))
    }
}

extension Bool {
    /// Spelling in the settings.
    var word: String { self ? "yes" : "no" }
}
