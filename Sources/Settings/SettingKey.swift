/// A known key: its section, its name, and its names in earlier layouts of the file, which apply if the key itself is
/// absent (`[main]` until ktls-utils 0.9, `[authentication]` in 0.10).
struct SettingKey: Equatable, Sendable {
    struct Name: Equatable, Sendable, CustomStringConvertible {
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

        var rules: [SettingKey] { [namespace, role, peerName, peerAddress, localPort, transport] }
        var all: [SettingKey] { rules + [keyrings] + Role(section: section).all }
    }

    static let all: [SettingKey] =
        [
            logLevel, tls, netlink, delayDone, historicLines, handshakes, handshakesPerNamespace, handshakesPerPeer,
            handshakeBytes, penaltyExempt, keyrings, pskFile, pskKeyring, listenerFamily, listenerLevel,
            keyUpdateLifetime, controlSocket,
            controlGroup, metricsTextfile,
        ] + Role.client.all + Role.server.all + namespaces

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
