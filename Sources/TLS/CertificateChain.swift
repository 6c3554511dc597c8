internal import CGnuTLS

/// Our own certificate, its intermediates and its private key, ready for any number of handshakes.
@safe final class CertificateChain {
    /// Array that the retrieve callback returns, leaf first. Owned; never moved.
    let entries: UnsafeMutableBufferPointer<gnutls_pcert_st>
    let key: PrivateKey
    /// Certificates of the entries, in the same order. The first is `leaf`.
    let certificates: [Certificate]
    let leaf: Certificate
    /// Number of certificates in the file that are not part of the chain.
    let unused: Int

    /// The GnuTLS call that fails if a certificate of the chain is unusable.
    static let importing = "gnutls_pcert_import_x509"

    /// Longest chain that GnuTLS accepts in a Certificate message (DEFAULT_MAX_VERIFY_DEPTH).
    static let longest = 16

    /// Error text if the chain is too long for peers with GnuTLS.
    var lengthProblem: String? {
        guard certificates.count > Self.longest else { return nil }
        return "brings a chain of \(certificates.count), and peers with GnuTLS refuse more than \(Self.longest)"
    }

    /// Orders the certificates: first the one that belongs to the key, then each one's issuer. A root at the end is
    /// omitted, because the peer must have it anyway (RFC 8446 §4.4.2).
    ///
    /// - Returns: `nil` if no certificate belongs to the key.
    static func sorted(_ certificates: [Certificate], _ key: PrivateKey) throws(GnuTLSError) -> CertificateChain? {
        let wanted = try key.publicKeyIdentifier()
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

/// A private key, owner of its GnuTLS object. The key is in memory, on a token, in a TPM, or in another process.
@safe final class PrivateKey {
    /// Valid from init to deinit.
    let handle: OpaquePointer
    /// Set if the signer process holds the key.
    let remote: RemoteKey?

    /// Creates an empty key, to be filled by an import function.
    init(empty remote: RemoteKey? = nil) throws(GnuTLSError) {
        self.remote = remote
        var made: OpaquePointer?
        try GnuTLS.check(unsafe gnutls_privkey_init(&made), "gnutls_privkey_init")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "gnutls_privkey_init")
        }
        unsafe handle = made
    }

    deinit { unsafe gnutls_privkey_deinit(handle) }

    /// Reads a key without passphrase. GnuTLS keeps its own copy and wipes it on deinit.
    convenience init(_ bytes: UnsafeRawBufferPointer, _ format: gnutls_x509_crt_fmt_t) throws(GnuTLSError) {
        try self.init(empty: nil)
        var datum = unsafe gnutls_datum_t(borrowing: bytes)
        try GnuTLS.check(
            unsafe gnutls_privkey_import_x509_raw(handle, &datum, format, nil, 0), "gnutls_privkey_import_x509_raw")
    }

    /// Opens a key by URL, such as `pkcs11:`. `pin` must outlive the key.
    convenience init(url: String, pin: TokenPIN) throws(GnuTLSError) {
        try self.init(empty: nil)
        unsafe gnutls_privkey_set_pin_function(handle, givePIN, Unmanaged.passUnretained(pin).toOpaque())
        try GnuTLS.check(unsafe gnutls_privkey_import_url(handle, url, 0), "gnutls_privkey_import_url")
    }

    /// SHA-256 of the public key, as in `Certificate.keyIdentifier`.
    func publicKeyIdentifier() throws(GnuTLSError) -> [UInt8] {
        if let remote { return remote.identifier }
        return try PublicKey(of: self).identifier()
    }
}
