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

    package init() {}
}
