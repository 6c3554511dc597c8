package import Handshake

/// What a client or a server proves its identity with and judges its peers by. Nothing here says that a file exists.
package struct RoleSettings: Equatable, Sendable {
    /// PEM file of trust anchors; nil means the system's trust store.
    package var trustStore: Located<String>?
    /// PEM file of revocation lists; nil means that revocation is not checked.
    package var crl: Located<String>?
    /// PEM file of the own chain, leaf first, or a certificate on a token.
    package var certificate: Located<PrivateKeySource>?
    package var privateKey: Located<PrivateKeySource>?
    /// PEM file of a second chain whose leaf has an ML-DSA key, for peers that take those.
    package var pqCertificate: Located<PrivateKeySource>?
    package var pqPrivateKey: Located<PrivateKeySource>?
    /// Further chains, tried in this order where the peer cannot use the one without a name.
    package var pairs: [CertificatePair] = []
    /// What is asked of the peers' certificates.
    package var rules = PeerRules()
    /// What may be negotiated.
    package var limits = NegotiationLimits()

    package init() {}

    /// Where the certificates and keys of our own are, all of them.
    package var ownSources: [Located<PrivateKeySource>] {
        ([certificate, privateKey, pqCertificate, pqPrivateKey] + pairs.flatMap { [$0.certificate, $0.privateKey] })
            .compactMap(\.self)
    }

    /// As many as a message between our processes has room for.
    package static let mostPairs = 6

    /// Digests of the peers' certificates take the place of a trust store: none is named, and the system's is not
    /// meant.
    package var verifiesByPin: Bool { trustStore == nil && !rules.pins.isEmpty }
}

/// A chain and its key under a name: `x509.NAME.certificate` and `x509.NAME.private_key`.
package struct CertificatePair: Equatable, Sendable {
    package let name: String
    package let certificate: Located<PrivateKeySource>?
    package let privateKey: Located<PrivateKeySource>?
}
