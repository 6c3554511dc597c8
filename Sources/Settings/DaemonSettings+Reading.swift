internal import Handshake
internal import Policy

extension DaemonSettings {
    /// Parses a configuration file. An unknown or invalid key gets its default and a notice, unless the default would
    /// be weaker than what was written (`x509.truststore`, `x509.crl`, `x509.certificate`, `x509.private_key`,
    /// `psk.file`, `psk.keyring`, rules for peers, keyrings and rules of profiles, all of `[namespaces]`). Then the
    /// file is refused, as it is for an unknown key in sections that decide about trust.
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
        profiles = try reader.profiles()
        effective = reader.effective
        notices = reader.sortedNotices
    }
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
                "\(found.name) is not a known release of ktls-utils and is ignored; "
                    + "write \(releases) or \(false.word)")
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

    /// Records and returns the default.
    private mutating func standard(_ key: SettingKey, _ number: Int) -> Located<Int> {
        note(key, "\(number)", nil)
        return Located(number, origin: .builtIn)
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

    private mutating func number(
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
        return limits
    }

    private mutating func penaltyExempt() -> [NetworkPrefix] {
        guard let found = find(.penaltyExempt) else {
            note(.penaltyExempt, "none", nil)
            return []
        }
        var networks: [NetworkPrefix] = []
        do {
            for item in try found.value.list() {
                let text = item.utf8.trimmingBlanks()
                guard let network = NetworkPrefix(text) else {
                    notice(
                        found,
                        "\(found.name) has \(quoted(text)), which is neither an address nor ADDRESS/BITS without host bits, and is ignored"
                    )
                    continue
                }
                networks.append(network)
            }
        } catch {
            noticeUnreadable(found, error)
        }
        note(.penaltyExempt, networks.isEmpty ? "none" : networks.map(\.description).joined(separator: ";"), found)
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
            notice(found, "\(found.name) must be greater than 0; using \(usual) is used")
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

    mutating func role(_ keys: SettingKey.Role) throws(SettingsError) -> RoleSettings {
        var role = RoleSettings()
        role.trustStore = try path(keys.trustStore)
        role.crl = try path(keys.crl)
        role.certificate = try fileOrURL(keys.certificate)
        role.privateKey = try fileOrURL(keys.privateKey)
        role.pqCertificate = optionally(keys.pqCertificate) { reader, key throws(SettingsError) in
            try reader.fileOrURL(key)
        }
        role.pqPrivateKey = optionally(keys.pqPrivateKey) { reader, key throws(SettingsError) in
            try reader.fileOrURL(key)
        }
        role.pairs = try pairs(keys)
        role.rules = try rules(keys)
        role.limits = try limits(keys)
        if role.verifiesByPin, let found = find(keys.crl) {
            throw error(found, .rule(.revocationWithoutTrust(key: "\(found.name)")))
        }
        if role.crl == nil, let found = find(keys.missingList) {
            notice(found, "\(found.name) has no effect without \(keys.crl.name)")
        }
        note(
            keys.trustStore, role.trustStore,
            role.verifiesByPin ? "none, replaced by x509.pin" : "the system's trust store")
        note(keys.crl, role.crl, "none, revocation is not checked")
        note(keys.certificate, role.certificate, "none")
        note(keys.privateKey, role.privateKey, "none")
        note(keys.pqCertificate, role.pqCertificate, "none")
        note(keys.pqPrivateKey, role.pqPrivateKey, "none")
        noticeHalfPair(keys, role)
        return role
    }

    private mutating func note<Value: CustomStringConvertible>(
        _ key: SettingKey, _ value: Located<Value>?, _ usual: String
    ) {
        note(key, value?.value.description ?? usual, value == nil ? nil : find(key))
    }

    mutating func psk() throws(SettingsError) -> PSKSettings? {
        let keyring = try pskKeyring()
        guard let file = try path(.pskFile) else {
            if let found = find(.pskKeyring) {
                notice(found, "\(found.name) has no effect without \(SettingKey.pskFile.name)")
            }
            note(.pskFile, "none", nil)
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
        do {
            return located(try PrivateKeySource(text), found)
        } catch {
            throw self.error(found, .keyURLScheme(key: "\(found.name)"))
        }
    }

    private mutating func text(_ found: Found) throws(SettingsError) -> String {
        do {
            let text = try found.value.path()
            noticeOddPath(found, text)
            return text
        } catch {
            throw self.error(found, .value(key: "\(found.name)", error))
        }
    }

    /// For keys without which the daemon is not weaker: an invalid value leaves the key unset.
    private mutating func optionally<Value>(
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

extension Sequence<UInt8> {
    /// The bytes as text without blanks at both ends.
    func trimmingBlanks() -> String {
        let bytes = Array(self)
        return String(decoding: bytes.span.copy(bytes.span.trimmingBlanks(0..<bytes.count)), as: UTF8.self)
    }
}
