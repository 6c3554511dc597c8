internal import Handshake

/// A rule about peers, or a pair of certificate and key, is invalid. The texts contain no values.
package enum RuleProblem: Equatable, Sendable {
    case item(key: String, expected: String)
    case tooMany(key: String, limit: Int)
    case empty(key: String)
    case tooManyPairs
    case revocationWithoutTrust(key: String)

    var what: String {
        switch self {
        case .item(let key, _): "an item of \(key) is not understood"
        case .tooMany(let key, let limit): "\(key) has more than \(limit) items"
        case .empty(let key): "\(key) is empty"
        case .tooManyPairs: "there are more than \(RoleSettings.mostPairs) pairs of certificate and key with a name"
        case .revocationWithoutTrust(let key):
            "\(key) has no effect if x509.pin replaces the trust store, because the signature of a list could not be verified"
        }
    }

    var remedy: String {
        switch self {
        case .item(_, let expected): "write \(expected)"
        case .tooMany, .tooManyPairs: "use fewer, or another profile"
        case .empty: "write at least one item, or remove the line"
        case .revocationWithoutTrust: "set x509.truststore as well, or remove the line"
        }
    }
}

extension SettingsReader {
    /// Reads the rules for peers' certificates. Invalid values are errors, because without them more peers would be
    /// accepted.
    mutating func rules(_ keys: SettingKey.Role) throws(SettingsError) -> PeerRules {
        var rules = PeerRules()
        rules.requiresCertificate = try boolean(keys.require, false)
        rules.pins = try items(
            keys.pin, PeerRules.most, "any certificate of a trusted authority",
            "sha256: and 64 hexadecimal digits of a certificate, or key-sha256: and those of a public key", Self.pin)
        rules.names = try items(
            keys.allowedNames, PeerRules.most, "any",
            "DNS:NAME, DNS:*.DOMAIN, IP:ADDRESS, IP:ADDRESS/BITS, URI:PATTERN or email:PATTERN", Self.allowedName)
        rules.subjects = try patterns(keys.allowedSubjects)
        rules.issuers = try patterns(keys.allowedIssuers)
        rules.purpose = try choice(
            keys.purpose, ["standard": .standard, "off": .off, "log": .log, "enforce": .enforce], "standard",
            rules.purpose)
        rules.leastRSABits = try leastRSABits(keys.leastRSABits)
        rules.applicationProtocol = try choice(
            keys.applicationProtocol, ["off": .off, "log": .log, "enforce": .enforce], "off", rules.applicationProtocol)
        rules.missingList = try choice(
            keys.missingList, ["refuse": .refuse, "log": .log], "refuse", rules.missingList)
        return rules
    }

    /// Reads the restrictions of algorithms.
    mutating func limits(_ keys: SettingKey.Role) throws(SettingsError) -> NegotiationLimits {
        var limits = NegotiationLimits()
        let suites = KernelCipher.allCases.map(\.suite)
        limits.suites = try items(
            keys.suites, suites.count, "all that the crypto policy and the kernel allow",
            "names of cipher suites: \(suites.joined(separator: ", "))"
        ) { text in suites.first { $0 == text.uppercased() } }
        limits.groups = try items(
            keys.groups, KeyExchangeGroup.names.count, "all that the crypto policy allows",
            "names of groups: \(KeyExchangeGroup.names.joined(separator: ", "))", KeyExchangeGroup.name)
        return limits
    }

    /// Items of a list without duplicates. An empty list is an error, because it could mean all or none.
    private mutating func items<Value: Equatable>(
        _ key: SettingKey, _ most: Int, _ usual: String, _ expected: String, _ read: (String) -> Value?
    ) throws(SettingsError) -> [Value] {
        guard let found = find(key) else {
            note(key, usual, nil)
            return []
        }
        let name = "\(found.name)"
        let texts = try list(found)
        guard !texts.isEmpty else { throw error(found, .rule(.empty(key: name))) }
        guard texts.count <= most else { throw error(found, .rule(.tooMany(key: name, limit: most))) }
        var values: [Value] = []
        for text in texts {
            guard let value = read(text) else { throw error(found, .rule(.item(key: name, expected: expected))) }
            if !values.contains(value) { values.append(value) }
        }
        note(key, texts.joined(separator: ";"), found)
        return values
    }

    private mutating func patterns(_ key: SettingKey) throws(SettingsError) -> [NamePattern] {
        let patterns = try items(
            key, PeerRules.most, "any",
            "names such as CN=*,O=Example, most specific part first, each of at most \(PeerRules.longestText) bytes, with types "
                + "such as CN, OU, O, DC, C or dotted numbers, and a backslash before a comma within a value"
        ) { text in text.utf8.count <= PeerRules.longestText ? NamePattern(text) : nil }
        if patterns.contains(where: \.isReversed), let found = find(key) {
            notice(
                found,
                "\(found.name) has its most specific part last, and then fits no certificate with the usual order; "
                    + "write CN=*,O=Example, not O=Example,CN=*")
        }
        return patterns
    }

    private mutating func choice<Value: Equatable>(
        _ key: SettingKey, _ words: KeyValuePairs<String, Value>, _ usual: String, _ standard: Value
    ) throws(SettingsError) -> Value {
        let list = words.map(\.key).joined(separator: ", ")
        return try items(key, 1, usual, "one of \(list)") { text in words.first { $0.key == text }?.value }.first
            ?? standard
    }

    private mutating func leastRSABits(_ key: SettingKey) throws(SettingsError) -> UInt16 {
        let range = PeerRules.smallestRSA...16_384
        return try items(
            key, 1, "\(range.lowerBound)", "a number of bits from \(range.lowerBound) to \(range.upperBound)"
        ) {
            text in UInt16(text).flatMap { range.contains($0) && "\($0)" == text ? $0 : nil }
        }.first ?? range.lowerBound
    }

    private static func pin(_ text: String) -> Pin? {
        for subject in Pin.Subject.allCases where text.hasPrefix(Pin.prefix(subject)) {
            // With colons as printed by openssl, or without.
            let digits = text.utf8.dropFirst(Pin.prefix(subject).utf8.count).filter { $0 != Byte.colon }
            let values = digits.compactMap(Byte.hexDigit)
            guard values.count == 2 * Pin.length, values.count == digits.count else { return nil }
            return Pin(subject, stride(from: 0, to: values.count, by: 2).map { values[$0] << 4 | values[$0 + 1] })
        }
        return nil
    }

    private static func allowedName(_ text: String) -> AllowedName? {
        guard let colon = text.firstIndex(of: ":"), text.utf8.count <= PeerRules.longestText else { return nil }
        let value = String(text[text.index(after: colon)...])
        guard !value.isEmpty, !value.utf8.contains(where: Byte.isControl) else { return nil }
        switch text[..<colon].lowercased() {
        case "dns":
            let name = value.hasPrefix("*.") ? String(value.dropFirst(2)) : value
            return name.isEmpty || name.hasPrefix(".") || name.contains("*") || name.contains(" ") ? nil : .dns(value)
        case "ip": return NetworkPrefix(value).map { .address($0) }
        case "uri": return .uri(TextPattern(value))
        case "email": return .email(TextPattern(value))
        default: return nil
        }
    }
}

extension SettingsReader {
    /// Named pairs of certificate and key, in order of first occurrence.
    mutating func pairs(_ keys: SettingKey.Role) throws(SettingsError) -> [CertificatePair] {
        var pairs: [CertificatePair] = []
        for name in keys.pairNames(in: documents) {
            let (certificateKey, privateKeyKey) = (keys.certificate(of: name), keys.privateKey(of: name))
            let pair = CertificatePair(
                name: name, certificate: try fileOrURL(certificateKey), privateKey: try fileOrURL(privateKeyKey))
            note(certificateKey, pair.certificate?.value.description ?? "none", find(certificateKey))
            note(privateKeyKey, pair.privateKey?.value.description ?? "none", find(privateKeyKey))
            noticeHalfPair(certificateKey, pair.certificate != nil, privateKeyKey, pair.privateKey != nil)
            pairs.append(pair)
            guard pairs.count <= RoleSettings.mostPairs else {
                guard let found = find(certificateKey) ?? find(privateKeyKey) else { continue }
                throw error(found, .rule(.tooManyPairs))
            }
        }
        return pairs
    }
}
