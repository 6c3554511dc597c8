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
