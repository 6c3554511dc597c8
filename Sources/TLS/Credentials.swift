internal import CGnuTLS
package import Handshake
package import Wire

/// A role's certificates: whom to trust, and what to present. It never changes; a new set replaces it whole, and
/// handshakes that run keep the set they started with.
@safe package final class Credentials {
    package let role: Role
    /// What is in force, for the log; it starts with `WARNING` where something needs attention.
    package let summary: String
    /// The same for monitoring.
    package let facts: CredentialsFacts

    /// Trust list, CRLs and the retrieve callback; valid from init to deinit.
    let handle: gnutls_certificate_credentials_t
    let revocationLists: RevocationLists?
    let anchors: TrustAnchors
    /// Peers that came before.
    let verifiedChains = VerifiedChains()
    /// What can be presented, most wanted first.
    let chains: [CertificateChain]
    let rules: PeerRules
    /// No trust store is named, but digests of the peers' certificates are: these decide.
    let verifiesByPin: Bool

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

    /// Whether this role has a certificate of its own.
    var presentsCertificate: Bool { !chains.isEmpty }

    /// Whether another process signs for it.
    var hasRemoteKey: Bool { chains.contains { $0.key.remote != nil } }

    /// The chain for a peer: the first whose key makes signatures that the peer names (RFC 8446 §4.2.3); where there is
    /// none, the first of all, and the library says why it does not do.
    func chain(for session: gnutls_session_t) -> CertificateChain? {
        chains.count > 1 ? unsafe fitting(session) ?? chains.first : chains.first
    }

    /// The first chain whose key makes signatures that the peer names.
    func fitting(_ session: gnutls_session_t) -> CertificateChain? {
        var offered: [gnutls_sign_algorithm_t] = []
        var algorithm = GNUTLS_SIGN_UNKNOWN
        while unsafe gnutls_sign_algorithm_get_requested(session, offered.count, &algorithm) >= 0 {
            offered.append(algorithm)
        }
        return chains.first { chain in offered.contains { chain.canSign($0) } }
    }
}

/// GnuTLS's question which certificate to present. The session's pointer is its `HandshakeSession`; what is handed out
/// here belongs to the `CertificateChain`, which outlives the session.
private func retrieveCertificate(
    _ session: gnutls_session_t?, _ info: UnsafePointer<gnutls_cert_retr_st>?,
    _ certificates: UnsafeMutablePointer<UnsafeMutablePointer<gnutls_pcert_st>?>?,
    _ count: UnsafeMutablePointer<UInt32>?,
    _ responses: UnsafeMutablePointer<UnsafeMutablePointer<gnutls_ocsp_data_st>?>?,
    _ responseCount: UnsafeMutablePointer<UInt32>?, _ key: UnsafeMutablePointer<OpaquePointer?>?,
    _ flags: UnsafeMutablePointer<UInt32>?
) -> Int32 {
    guard let session = unsafe session, let context = unsafe gnutls_session_get_ptr(session) else { return -1 }
    unsafe count?.pointee = 0
    unsafe responseCount?.pointee = 0
    unsafe flags?.pointee = 0
    let handshake = unsafe Unmanaged<HandshakeSession>.fromOpaque(context).takeUnretainedValue()
    guard let chain = handshake.chainToPresent() else { return 0 }
    unsafe certificates?.pointee = chain.entries.baseAddress
    unsafe count?.pointee = UInt32(chain.entries.count)
    unsafe key?.pointee = chain.key.handle
    return 0
}
