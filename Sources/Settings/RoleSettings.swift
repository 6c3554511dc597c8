package import Handshake

/// Credentials of a client or server, and its rules for peers. Existence of files is not checked.
package struct RoleSettings: Equatable, Sendable {
    /// PEM file of trust anchors; `nil` for the system's trust store.
    package var trustStore: Located<String>?
    /// PEM file of revocation lists; `nil` if revocation is not checked.
    package var crl: Located<String>?
    /// PEM file of our own chain, leaf first, or a certificate on a token.
    package var certificate: Located<PrivateKeySource>?
    package var privateKey: Located<PrivateKeySource>?
    /// PEM file of a second chain whose leaf has an ML-DSA key, for peers that support it.
    package var pqCertificate: Located<PrivateKeySource>?
    package var pqPrivateKey: Located<PrivateKeySource>?
    /// Further chains, tried in this order if the peer cannot use the unnamed one.
    package var pairs: [CertificatePair] = []
    /// Rules for the peers' certificates.
    package var rules = PeerRules()
    /// Restrictions of algorithms.
    package var limits = NegotiationLimits()

    package init() {}

    /// Locations of all of our own certificates and keys.
    package var ownSources: [Located<PrivateKeySource>] {
        ([certificate, privateKey, pqCertificate, pqPrivateKey] + pairs.flatMap { [$0.certificate, $0.privateKey] })
            .compactMap(\.self)
    }

    /// Limit given by the size of a message between our processes.
    package static let mostPairs = 6

    /// True if digests replace the trust store: then no trust store is configured, and the system's is not used either.
    package var verifiesByPin: Bool { trustStore == nil && !rules.pins.isEmpty }
}

/// A named chain and its key: `x509.NAME.certificate` and `x509.NAME.private_key`.
package struct CertificatePair: Equatable, Sendable {
    package let name: String
    package let certificate: Located<PrivateKeySource>?
    package let privateKey: Located<PrivateKeySource>?
}

extension SettingsReader {
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
        note(key, value?.value.description ?? usual, value == nil ? nil : find(key), isSet: value != nil)
    }
}

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
            note(key, usual, nil, isSet: false)
            return []
        }
        let name = "\(found.name)"
        let texts = try list(found)
        guard !texts.isEmpty else { throw error(found, .rule(.empty(key: name))) }
        guard texts.count <= most else { throw error(found, .rule(.tooMany(key: name, limit: most))) }
        var values: [Value] = []
        for text in texts {
            guard let value = read(text) else {
                let isList = most > 1 && text.utf8.contains(UInt8(ascii: ","))
                let separator = isList ? "; items are separated by ;" : ""
                throw error(found, .rule(.item(key: name, expected: expected + separator)))
            }
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
                "\(found.name) has its most specific part last, and then fits no certificate with the usual order",
                remedy: "write CN=*,O=Example, not O=Example,CN=*")
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
            note(certificateKey, pair.certificate, "none")
            note(privateKeyKey, pair.privateKey, "none")
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

/// Location of a private key or a certificate: a PEM file, or a URL that GnuTLS opens.
package enum PrivateKeySource: Equatable, Sendable {
    case file(String)
    case url(KeyURL)

    /// Parses a location. A text is a URL if it starts with a letter, followed by letters, digits, `+`, `-` or `.`, and
    /// a colon (RFC 3986 §3.1). `nil` for a URL scheme without keys.
    init?(_ text: String) {
        guard let scheme = KeyURL.scheme(of: text) else {
            self = .file(text)
            return
        }
        guard KeyURL.schemes.contains(scheme) else { return nil }
        self = .url(KeyURL(scheme: scheme, text: text))
    }
}

extension PrivateKeySource: CustomStringConvertible {
    /// The file name, or the URL reduced to its scheme.
    package var description: String {
        switch self {
        case .file(let path): path
        case .url(let url): url.description
        }
    }
}

/// A URL of a private key for GnuTLS. It may contain the token's PIN (RFC 7512 §2.4), so only its scheme is printed, in
/// string interpolation, `print` and `dump`.
package struct KeyURL: Equatable, Sendable {
    /// Lower case; an element of `schemes`.
    package let scheme: String
    /// The whole URL, including a PIN: only for GnuTLS, never for the log.
    package let text: String

    /// Schemes under which GnuTLS knows keys. Support depends on how GnuTLS was built.
    package static let schemes = ["pkcs11", "tpmkey", "system"]

    /// File in `pin-source` (RFC 7512 §2.4), as `file:` or as a path; `nil` if there is none.
    package var pinFile: String? { pinSource.flatMap { $0.hasPrefix("/") ? $0 : nil } }

    /// True if `pin-source` is a relative path.
    var hasRelativePINFile: Bool { pinSource.map { !$0.hasPrefix("/") && !$0.hasPrefix("|") } ?? false }

    private var pinSource: String? {
        guard let value = query.lazy.compactMap({ Self.value(of: "pin-source", in: $0) }).first else { return nil }
        let prefix = ["file://", "file:"].first(where: value.hasPrefix) ?? ""
        return String(value.dropFirst(prefix.count))
    }

    /// The URL without `pin-source`, for the process that opens it, which reads no files. It may contain a PIN
    /// (`pin-value`).
    package var withoutPINFile: String {
        guard pinFile != nil else { return text }
        let rest = query.filter { Self.value(of: "pin-source", in: $0) == nil }
        return rest.isEmpty ? String(head) : "\(head)?\(rest.joined(separator: "&"))"
    }

    /// Attributes that identify token and object, for the log. They are not secret by RFC 7512 §2.3.
    package var label: String {
        let shown = ["token", "serial", "object", "id", "type"]
        let attributes = head.dropFirst(scheme.utf8.count + 1).split(separator: ";").filter { attribute in
            shown.contains { Self.value(of: $0, in: attribute) != nil }
        }
        return attributes.isEmpty ? description : "\(scheme):\(attributes.joined(separator: ";"))"
    }

    /// The part before the question mark.
    private var head: Substring { text.prefix { $0 != "?" } }

    private var query: [Substring] { text.dropFirst(head.count + 1).split(separator: "&") }

    /// The percent-decoded value of `name=value`.
    private static func value(of name: String, in attribute: Substring) -> String? {
        guard attribute.hasPrefix("\(name)=") else { return nil }
        var bytes: [UInt8] = []
        var rest = attribute.utf8.dropFirst(name.utf8.count + 1)
        while let byte = rest.popFirst() {
            let digits = rest.prefix(2)
            if byte == 0x25, digits.count == 2, let code = UInt8(String(decoding: digits, as: UTF8.self), radix: 16) {
                bytes.append(code)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Returns `true` if the text is a URL with a known scheme.
    static func isOpenable(_ text: String) -> Bool {
        scheme(of: text).map(schemes.contains) ?? false
    }

    /// Scheme of a URL in lower case, because schemes are case-insensitive; `nil` if the text is not a URL.
    static func scheme(of text: String) -> String? {
        let scheme = text.utf8.prefix { $0 != Byte.colon }
        guard scheme.endIndex < text.utf8.endIndex, let first = scheme.first, Byte.isLetter(first) else { return nil }
        let isScheme = scheme.allSatisfy { byte in
            Byte.isLetter(byte) || Byte.isDigit(byte) || byte == 0x2B || byte == 0x2D || byte == 0x2E
        }
        return isScheme ? String(text[..<scheme.endIndex]).lowercased() : nil
    }
}

extension KeyURL: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "\(scheme):…" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: ["scheme": scheme]) }
}
