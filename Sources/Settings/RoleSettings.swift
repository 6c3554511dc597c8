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
        note(key, value?.value.description ?? usual, value == nil ? nil : find(key))
    }
}
