package import CGnuTLS
package import Handshake
package import Wire
internal import X509

/// Certificates of a role: its trust store and the chains it presents. Immutable; a reload creates a new object, and
/// running handshakes keep the one that they started with.
@safe package final class Credentials {
    package let role: Role
    /// Description for the log. It starts with `WARNING` if something needs attention.
    package let summary: String
    /// The same facts for monitoring.
    package let facts: CredentialsFacts

    /// Trust list, CRLs and the retrieve callback; valid from init to deinit.
    package let handle: gnutls_certificate_credentials_t
    let revocationLists: RevocationLists?
    /// Authorities of the trust store.
    package let anchors: TrustAnchors
    /// Cache of peer chains that were verified.
    let verifiedChains = VerifiedChains()
    /// Chains that can be presented, in order of preference.
    package let chains: [CertificateChain]
    /// Rules for peers.
    package let rules: PeerRules
    /// True if no trust store is configured but digests of peer certificates are: then only the digests decide.
    package let verifiesByPin: Bool

    init(
        _ role: Role, adopting handle: gnutls_certificate_credentials_t, _ chains: [CertificateChain],
        _ revocationLists: RevocationLists?, _ anchors: TrustAnchors, _ rules: PeerRules, verifiesByPin: Bool,
        _ summary: String, _ facts: CredentialsFacts
    ) {
        self.anchors = anchors
        self.revocationLists = revocationLists
        self.role = role
        unsafe self.handle = handle
        self.chains = chains
        self.rules = rules
        self.verifiesByPin = verifiesByPin
        self.summary = summary
        self.facts = facts
        unsafe gnutls_certificate_set_retrieve_function3(handle, retrieveCertificate)
    }

    deinit { unsafe gnutls_certificate_free_credentials(handle) }

    /// True if this role has a certificate of its own.
    var presentsCertificate: Bool { !chains.isEmpty }

    /// True if the signer process holds a key of this role.
    var hasRemoteKey: Bool { chains.contains { $0.key.remote != nil } }

    /// Selects the chain for a peer: the first whose key can make a signature that the peer offers (RFC 8446 §4.2.3).
    /// If there is none, it is the first chain, and GnuTLS reports why it cannot be used.
    func chain(for session: gnutls_session_t) -> CertificateChain? {
        chains.count > 1 ? unsafe fitting(session) ?? chains.first : chains.first
    }

    /// The first chain whose key can make a signature that the peer offers.
    func fitting(_ session: gnutls_session_t) -> CertificateChain? {
        var offered: [gnutls_sign_algorithm_t] = []
        var algorithm = GNUTLS_SIGN_UNKNOWN
        while unsafe gnutls_sign_algorithm_get_requested(session, offered.count, &algorithm) >= 0 {
            offered.append(algorithm)
        }
        return chains.first { chain in offered.contains { chain.canSign($0) } }
    }
}

/// GnuTLS callback that selects the certificate to present. The returned pointers belong to the `CertificateChain`,
/// which outlives the session.
private func retrieveCertificate(
    _ session: gnutls_session_t?, _ info: UnsafePointer<gnutls_cert_retr_st>?,
    _ certificates: UnsafeMutablePointer<UnsafeMutablePointer<gnutls_pcert_st>?>?,
    _ count: UnsafeMutablePointer<UInt32>?,
    _ responses: UnsafeMutablePointer<UnsafeMutablePointer<gnutls_ocsp_data_st>?>?,
    _ responseCount: UnsafeMutablePointer<UInt32>?, _ key: UnsafeMutablePointer<OpaquePointer?>?,
    _ flags: UnsafeMutablePointer<UInt32>?
) -> Int32 {
    guard let handshake = unsafe HandshakeSession.of(session) else { return -1 }
    unsafe count?.pointee = 0
    unsafe responseCount?.pointee = 0
    unsafe flags?.pointee = 0
    guard let chain = handshake.chainToPresent() else { return 0 }
    unsafe certificates?.pointee = chain.entries.baseAddress
    unsafe count?.pointee = UInt32(chain.entries.count)
    unsafe key?.pointee = chain.key.handle
    return 0
}
