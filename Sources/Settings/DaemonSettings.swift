internal import Handshake
package import Policy

/// Contents of the configuration, with defaults for everything that is not set.
package struct DaemonSettings: Equatable, Sendable {
    package var debug = DebugSettings()
    package var limits = AdmissionLimits()
    /// Limit of bytes that a peer may send before its handshake is done.
    package var handshakeBytes = Located(HandshakeBytes.standard, origin: .builtIn)
    /// Keyrings to link besides the standard ones, without duplicates, in file order.
    package var keyrings: [Located<KeyringReference>] = []
    package var client = RoleSettings()
    package var server = RoleSettings()
    package var namespaces = NamespaceSettings()
    package var workers = WorkerSettings()
    /// In file order, which is the order of matching.
    package var profiles: [ProfileSettings] = []
    /// `nil` if no PSK file is configured.
    package var psk: PSKSettings?
    package var listener = ListenerSettings()
    package var control = ControlSettings()
    package var metrics = MetricsSettings()
    /// All known settings with the value in force and its origin. Empty for the built-in defaults.
    package var effective: [EffectiveSetting] = []
    /// Notices about the files for the administrator, in line order.
    package var notices: [SettingsNotice] = []

    /// The built-in defaults.
    package init() {}

    package var memoryLimits: MemoryLimits {
        MemoryLimits(handshakes: limits.total, handshakeBytes: handshakeBytes.value, profiles: profiles.count)
    }

    /// Parses a configuration file. An unknown or invalid key gets its default and a notice, unless the default would
    /// be weaker than what was written (`x509.truststore`, `x509.crl`, `x509.certificate`, `x509.private_key`,
    /// `psk.file`, `psk.keyring`, rules for peers, keyrings and rules of profiles, `isolation`, all of `[namespaces]`).
    /// Then the file is refused, as it is for an unknown key in sections that decide about trust.
    package static func read(_ bytes: [UInt8], file: String) throws(SettingsError) -> DaemonSettings {
        try DaemonSettings([INIDocument.parse(bytes, file: file)])
    }

    /// Combines the settings of several files. For each key the last file that contains it counts.
    package init(_ documents: [INIDocument]) throws(SettingsError) {
        var reader = SettingsReader(documents: documents)
        try reader.refuseUnknown()
        reader.noticeUnknown()
        reader.noticeRepeated()
        self.init()
        debug = reader.debug()
        limits = reader.limits()
        handshakeBytes = reader.handshakeBytes()
        keyrings = reader.keyrings()
        psk = try reader.psk()
        client = try reader.role(.client)
        server = try reader.role(.server)
        listener = reader.listener()
        control = reader.control()
        metrics = reader.metrics()
        namespaces = try reader.namespaces()
        workers = try reader.workers()
        let headers = try reader.profileHeaders()
        profiles = try reader.profiles(headers)
        reader.noticeUnreachable(profiles, headers, namespaces)
        effective = reader.effective
        notices = reader.sortedNotices
    }
}

/// `[listener]`: the numbers of AF_TLSH, for kernels that use others.
package struct ListenerSettings: Equatable, Sendable {
    /// `family`: the address family.
    package var family = Located(46, origin: .builtIn)
    /// `level`: the option level, SOL_TLSH.
    package var level = Located(287, origin: .builtIn)
    /// `key_update_lifetime`: seconds for which the secrets of a connection are kept for key updates; 0 disables them.
    package var keyUpdateLifetime = Located(0, origin: .builtIn)

    package init() {}
}

/// `[debug]`: verbosity of the daemon and its libraries.
package struct DebugSettings: Equatable, Sendable {
    /// `loglevel`; 0 logs one line per handshake and problems.
    package var logLevel = Located(0, origin: .builtIn)
    /// `tls`: log level of GnuTLS.
    package var tls = Located(0, origin: .builtIn)
    /// `nl`: debug level of libnl.
    package var netlink = Located(0, origin: .builtIn)
    /// `delay_done`: delay of DONE in seconds; for testing the kernel only.
    package var delayDone = Located(Duration.zero, origin: .builtIn)
    /// `ktls_utils_lines`: format of additional result lines as in ktls-utils; `nil` for none.
    package var historicLines = Located<HistoricLine?>(nil, origin: .builtIn)

    package init() {}
}

/// `psk.file` and `psk.keyring`: PSKs that the daemon adds to a keyring at start, so that they survive a reboot.
package struct PSKSettings: Equatable, Sendable {
    /// A file in the format of GnuTLS's psktool, which `PSKFile.parse` reads.
    package var file: Located<String>
    /// Keyring to which the keys are added, if it exists.
    package var keyring: Located<KeyringReference>

    package init(file: Located<String>, keyring: Located<KeyringReference>) {
        self.file = file
        self.keyring = keyring
    }

    package static let defaultKeyring = Located(KeyringReference.name(".nvme"), origin: .builtIn)
}

extension SettingsReader {
    mutating func debug() -> DebugSettings {
        var debug = DebugSettings()
        debug.logLevel = level(.logLevel)
        debug.tls = level(.tls)
        debug.netlink = level(.netlink)
        let delay = level(.delayDone)
        debug.delayDone = Located(.seconds(delay.value), origin: delay.origin)
        debug.historicLines = historicLines()
        return debug
    }

    private mutating func historicLines() -> Located<HistoricLine?> {
        let key = SettingKey.historicLines
        if let found = find(key) {
            let text = try? found.value.path()
            if let lines = text.flatMap(HistoricLine.init) {
                note(key, lines.rawValue, found)
                return located(lines, found)
            }
            if text == false.word {
                note(key, false.word, found)
                return located(nil, found)
            }
            let releases = HistoricLine.allCases.map(\.rawValue).joined(separator: ", ")
            notice(
                found,
                "\(found.name) is not a known release of ktls-utils and is ignored",
                remedy: "write \(releases) or \(false.word)")
        }
        note(key, false.word, nil)
        return Located(nil, origin: .builtIn)
    }

    /// Reads a number that is not negative. Invalid and negative values count as 0, as in ktls-utils.
    private mutating func level(_ key: SettingKey) -> Located<Int> {
        guard let found = find(key) else { return standard(key, 0) }
        do {
            let number = try found.value.integer()
            if number < 0 { notice(found, "\(found.name) is negative; using 0") }
            note(key, "\(max(0, number))", found)
            return located(max(0, number), found)
        } catch {
            noticeUnreadable(found, error)
            return standard(key, 0)
        }
    }

    /// Address families that every kernel uses otherwise (such as Unix, IPv4, IPv6) are refused for AF_TLSH.
    mutating func listener() -> ListenerSettings {
        var listener = ListenerSettings()
        listener.family = number(.listenerFamily, in: 1...255, but: [1, 2, 10, 16, 17, 40], listener.family)
        listener.keyUpdateLifetime = number(
            .keyUpdateLifetime, in: 0...2_592_000, but: [], listener.keyUpdateLifetime)
        listener.level = number(.listenerLevel, in: 256...65_535, but: [], listener.level)
        return listener
    }

    mutating func handshakeBytes() -> Located<Int> {
        number(
            .handshakeBytes, in: HandshakeBytes.range, but: [],
            Located(HandshakeBytes.standard, origin: .builtIn))
    }

    mutating func limits() -> AdmissionLimits {
        var limits = AdmissionLimits()
        limits.total = bound(.handshakes, limits.total)
        limits.perNamespace = bound(.handshakesPerNamespace, limits.perNamespace)
        limits.perPeer = bound(.handshakesPerPeer, limits.perPeer)
        limits.penaltyExempt = penaltyExempt()
        noticeLimit(.handshakesPerPeer, limits.perPeer, within: .handshakesPerNamespace, limits.perNamespace)
        noticeLimit(.handshakesPerPeer, limits.perPeer, within: .handshakes, limits.total)
        noticeLimit(.handshakesPerNamespace, limits.perNamespace, within: .handshakes, limits.total)
        return limits
    }

    /// Adds a notice about a limit in the files that a wider one makes void.
    private mutating func noticeLimit(_ key: SettingKey, _ limit: Int, within wider: SettingKey, _ bound: Int) {
        guard limit > bound, let found = find(key) else { return }
        notice(found, "\(found.name) is \(limit), which is never reached: \(wider.name) is \(bound)")
    }

    private mutating func penaltyExempt() -> [NetworkPrefix] {
        guard let found = find(.penaltyExempt) else {
            note(.penaltyExempt, "none", nil, isSet: false)
            return []
        }
        var networks: [NetworkPrefix] = []
        do {
            for item in try found.value.list() {
                let text = item.utf8.trimmingBlanks()
                guard let network = NetworkPrefix(text) else {
                    notice(
                        found,
                        "\(found.name) has \(quoted(text)), which is neither an address nor ADDRESS/BITS without host bits, and is "
                            + "ignored", remedy: text.utf8.contains(UInt8(ascii: ",")) ? Self.separation : nil)
                    continue
                }
                networks.append(network)
            }
        } catch {
            noticeUnreadable(found, error)
        }
        let list = networks.map(\.description).joined(separator: ";")
        note(.penaltyExempt, list.isEmpty ? "none" : list, found, isSet: !list.isEmpty)
        return networks
    }

    /// Reads a number above 0. Other values leave the default.
    private mutating func bound(_ key: SettingKey, _ usual: Int) -> Int {
        guard let found = find(key) else { return standard(key, usual).value }
        do {
            let number = try found.value.integer()
            if number > 0 {
                note(key, "\(number)", found)
                return number
            }
            notice(found, "\(found.name) must be greater than 0, and is ignored; \(usual) is used")
        } catch {
            noticeUnreadable(found, error)
        }
        return standard(key, usual).value
    }

    mutating func keyrings() -> [Located<KeyringReference>] {
        let always = KeyringReference.standard.map(\.description).joined(separator: ";")
        guard let found = find(.keyrings) else {
            note(.keyrings, always, nil)
            return []
        }
        let items: [String]
        do {
            items = try found.value.list()
        } catch {
            noticeUnreadable(found, error)
            note(.keyrings, always, nil)
            return []
        }
        noticeCommas(found, items)
        var references: [KeyringReference] = []
        for item in items {
            let trimmed = item.utf8.trimmingBlanks()
            guard let reference = KeyringReference(trimmed) else {
                notice(found, "\(found.name) has an empty name in its list, which is skipped")
                continue
            }
            if !KeyringReference.standard.contains(reference), !references.contains(reference) {
                references.append(reference)
            }
        }
        note(.keyrings, ([always] + references.map(\.description)).joined(separator: ";"), found)
        return references.map { located($0, found) }
    }

    mutating func psk() throws(SettingsError) -> PSKSettings? {
        let keyring = try pskKeyring()
        guard let file = try path(.pskFile) else {
            if let found = find(.pskKeyring) {
                notice(found, "\(found.name) has no effect without \(SettingKey.pskFile.name)")
            }
            note(.pskFile, "none", nil, isSet: false)
            note(.pskKeyring, "\((keyring ?? PSKSettings.defaultKeyring).value)", find(.pskKeyring))
            return nil
        }
        note(.pskFile, file.value, find(.pskFile))
        note(.pskKeyring, "\((keyring ?? PSKSettings.defaultKeyring).value)", find(.pskKeyring))
        return PSKSettings(file: file, keyring: keyring ?? PSKSettings.defaultKeyring)
    }

    private mutating func pskKeyring() throws(SettingsError) -> Located<KeyringReference>? {
        guard let found = find(.pskKeyring) else { return nil }
        return KeyringReference(try text(found)).map { located($0, found) }
    }
}

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

    /// True if a namespace that a profile matches may be served; `nil` matches all.
    func serves(_ wanted: ProfileMatch.Namespaces?) -> Bool {
        switch wanted {
        case nil: initial || watchesOthers
        case .initial: initial
        case .others: watchesOthers
        case .one(.named(let name)): named || processes || names.contains(.named(name))
        case .one(let name): processes || names.contains(name)
        }
    }
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
            noticeCommas(found, try list(found))
            for item in try list(found) {
                guard let name = NamespaceName(item), name.path != nil else { throw error(found, .namespaceName) }
                if !settings.names.contains(name) { settings.names.append(name) }
            }
        }
        let list = settings.names.map(\.description).joined(separator: ";")
        note(.namespaceNames, list.isEmpty ? "none" : list, names, isSet: !list.isEmpty)
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

/// Handshakes that share a worker.
package enum Isolation: String, CaseIterable, Sendable {
    /// Those of one role share workers with all that are not isolated.
    case shared
    /// Those of one profile in one network namespace have a worker of their own.
    case profile
    /// Each has a worker of its own, which has ended before the kernel is answered.
    case handshake
}

/// `[workers]`: how long a worker is used, and for what.
package struct WorkerSettings: Equatable, Sendable {
    /// `isolation`: for handshakes without a profile, and for profiles that do not set it.
    package var isolation = Isolation.shared
    /// `handshakes`: number of handshakes after which a worker is replaced.
    package var handshakes = Located(1000, origin: .builtIn)
    /// `minutes`: time since its first handshake after which a worker is replaced.
    package var minutes = Located(10, origin: .builtIn)

    package init() {}
}

extension SettingsReader {
    mutating func workers() throws(SettingsError) -> WorkerSettings {
        var settings = WorkerSettings()
        settings.isolation = try isolation(.isolation) ?? settings.isolation
        if find(.isolation) == nil { note(.isolation, settings.isolation.rawValue, nil) }
        settings.handshakes = number(.workerHandshakes, in: 1...1_000_000, but: [], settings.handshakes)
        settings.minutes = number(.workerMinutes, in: 1...1440, but: [], settings.minutes)
        return settings
    }

    /// Reads a level of isolation; `nil` if the key is absent. An unknown level is an error, because it may be meant to
    /// be stricter than the default.
    mutating func isolation(_ key: SettingKey) throws(SettingsError) -> Isolation? {
        guard let found = find(key) else { return nil }
        guard let text = try? found.value.path(), let isolation = Isolation(rawValue: text) else {
            throw error(found, .isolation(key: "\(found.name)"))
        }
        note(key, text, found)
        return isolation
    }
}

/// `[control]`: the control socket.
package struct ControlSettings: Equatable, Sendable {
    /// `socket`: absolute path; `nil` for none.
    package var socket: String? = standardSocket
    /// `group`: group whose members may connect besides root.
    package var group: String?

    package static let standardSocket = "/run/tlshd/control"
    /// sun_path without its NUL and without the suffix of the temporary name.
    private static let longest = 90

    package init() {}

    fileprivate static func isUsable(_ path: String) -> Bool {
        path.hasPrefix("/") && !path.hasSuffix("/") && path.utf8.count <= longest
    }
}

extension SettingsReader {
    /// Reads `[control]`. An invalid value leaves the default, which admits only root.
    mutating func control() -> ControlSettings {
        var settings = ControlSettings()
        if let (path, found) = pathText(.controlSocket) {
            if path == "none" {
                settings.socket = nil
            } else if ControlSettings.isUsable(path) {
                settings.socket = path
            } else {
                notice(found, "\(found.name) must be an absolute path of at most 90 bytes, or none, and is ignored")
            }
        }
        note(.controlSocket, settings.socket ?? "none", find(.controlSocket))
        settings.group = pathText(.controlGroup)?.text
        note(.controlGroup, settings.group ?? "none, root alone", find(.controlGroup), isSet: settings.group != nil)
        return settings
    }

    /// Text without control characters, such as a path or name; `nil` if it is not set or invalid.
    mutating func pathText(_ key: SettingKey) -> (text: String, found: Found)? {
        guard let found = find(key) else { return nil }
        do {
            return (try found.value.path(), found)
        } catch {
            noticeUnreadable(found, error)
            return nil
        }
    }
}

/// `[metrics]`: outputs of metrics besides the control socket.
package struct MetricsSettings: Equatable, Sendable {
    /// `textfile`: absolute path of a file for node_exporter; `nil` for none.
    package var textfile: String?

    /// node_exporter reads only files with this suffix.
    private static let suffix = ".prom"
    /// PATH_MAX without its NUL and without the suffix of the temporary name.
    private static let longest = 4000

    package init() {}

    fileprivate static func isUsable(_ path: String) -> Bool {
        path.hasPrefix("/") && path.hasSuffix(suffix) && path.utf8.count <= longest
    }
}

extension SettingsReader {
    /// Reads `[metrics]`. An invalid value leaves the default, which writes no file.
    mutating func metrics() -> MetricsSettings {
        var settings = MetricsSettings()
        if let (path, found) = pathText(.metricsTextfile), path != "none" {
            if MetricsSettings.isUsable(path) {
                settings.textfile = path
            } else {
                notice(found, "\(found.name) must be an absolute path that ends in .prom, or none, and is ignored")
            }
        }
        note(.metricsTextfile, settings.textfile ?? "none", find(.metricsTextfile), isSet: settings.textfile != nil)
        return settings
    }
}

/// A keyring in the settings: its description, or its serial number.
package enum KeyringReference: Hashable, Sendable, CustomStringConvertible {
    case name(String)
    case serial(Int32)

    /// Keyrings in which kernel consumers look up keys. They are always linked.
    package static let standard: [KeyringReference] = [.name(".nvme"), .name(".nfs"), .name(".nfsd")]

    /// Parses a reference. Decimal digits without leading zeros that are a valid serial denote a serial, any other text
    /// is a name. `nil` for the empty text.
    package init?(_ text: String) {
        guard !text.isEmpty else { return nil }
        if let serial = Int32(text), serial > 0, String(serial) == text {
            self = .serial(serial)
        } else {
            self = .name(text)
        }
    }

    /// Spelling in the settings. For a serial it can also be the name of a keyring.
    package var description: String {
        switch self {
        case .name(let name): name
        case .serial(let serial): String(serial)
        }
    }
}
