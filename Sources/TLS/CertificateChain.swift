internal import CGnuTLS
package import X509

/// Our own certificate, its intermediates and its private key, ready for any number of handshakes.
@safe package final class CertificateChain {
    /// Array that the retrieve callback returns, leaf first. Owned; never moved.
    let entries: UnsafeMutableBufferPointer<gnutls_pcert_st>
    let key: PrivateKey
    /// Certificates of the entries, in the same order. The first is `leaf`.
    package let certificates: [Certificate]
    /// The certificate of the key.
    package let leaf: Certificate
    /// Number of certificates in the file that are not part of the chain.
    let unused: Int

    /// The GnuTLS call that fails if a certificate of the chain is unusable.
    static let importing = "gnutls_pcert_import_x509"

    /// Longest chain that GnuTLS accepts in a Certificate message (DEFAULT_MAX_VERIFY_DEPTH).
    static let longest = 16

    /// Error text if the chain is too long for peers with GnuTLS.
    package var lengthProblem: String? {
        guard certificates.count > Self.longest else { return nil }
        return "brings a chain of \(certificates.count), and peers with GnuTLS refuse more than \(Self.longest)"
    }

    /// Orders the certificates: first the one that belongs to the key, then each one's issuer. A root at the end is
    /// omitted, because the peer must have it anyway (RFC 8446 §4.4.2).
    ///
    /// - Returns: `nil` if no certificate belongs to the key.
    static func sorted(_ certificates: [Certificate], _ key: PrivateKey) throws(GnuTLSError) -> CertificateChain? {
        let wanted = if let remote = key.remote { remote.identifier } else { try key.publicKeyIdentifier() }
        guard let leaf = certificates.first(where: { $0.keyIdentifier == wanted }) else { return nil }
        var rest = certificates.filter { $0 !== leaf }
        var chain = [leaf]
        while let last = chain.last, !last.isSelfIssued, let next = rest.firstIndex(where: { last.isIssued(by: $0) }) {
            chain.append(rest.remove(at: next))
        }
        if let last = chain.last, chain.count > 1, last.isSelfIssued { chain.removeLast() }
        return try CertificateChain(chain, leaf, key, unused: rest.count)
    }

    private init(
        _ certificates: [Certificate], _ leaf: Certificate, _ key: PrivateKey, unused: Int
    ) throws(GnuTLSError) {
        self.certificates = certificates
        self.leaf = leaf
        self.key = key
        self.unused = unused
        let memory = UnsafeMutableBufferPointer<gnutls_pcert_st>.allocate(capacity: certificates.count)
        unsafe memory.initialize(repeating: gnutls_pcert_st())
        unsafe entries = memory
        for (index, certificate) in certificates.enumerated() {
            guard let start = memory.baseAddress else { return }
            try GnuTLS.check(unsafe gnutls_pcert_import_x509(start + index, certificate.handle, 0), Self.importing)
        }
    }

    deinit {
        guard let start = unsafe entries.baseAddress else { return }
        // Entries that were never filled are zeros, which gnutls_pcert_deinit accepts.
        for index in 0..<(unsafe entries.count) { unsafe gnutls_pcert_deinit(start + index) }
        unsafe entries.deallocate()
    }
}
