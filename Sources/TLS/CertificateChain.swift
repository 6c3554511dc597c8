internal import CGnuTLS

/// Our own certificate, its intermediates and its private key, ready to be presented in any number of handshakes.
@safe final class CertificateChain {
    /// What the retrieve callback hands to the library, leaf first. Owned; never moved.
    let entries: UnsafeMutableBufferPointer<gnutls_pcert_st>
    let key: PrivateKey
    /// Those of the entries, in their order: the first is `leaf`.
    let certificates: [Certificate]
    let leaf: Certificate
    /// Certificates of the file that belong to no link of the chain.
    let unused: Int

    /// The call that fails where the library cannot use a certificate of the chain.
    static let importing = "gnutls_pcert_import_x509"

    /// The most certificates in a message that GnuTLS looks at (DEFAULT_MAX_VERIFY_DEPTH).
    static let longest = 16

    /// What is wrong with its length.
    var lengthProblem: String? {
        guard certificates.count > Self.longest else { return nil }
        return "brings a chain of \(certificates.count), and peers with GnuTLS refuse more than \(Self.longest)"
    }

    /// Puts the certificates in order: first the one that belongs to the key, then each one's issuer. A root at the end
    /// is left out, for the peer must have it (RFC 8446 §4.4.2).
    ///
    /// - Returns: `nil` when no certificate belongs to the key.
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
        // Entries that were never filled are zeros, which the library takes.
        for index in 0..<(unsafe entries.count) { unsafe gnutls_pcert_deinit(start + index) }
        unsafe entries.deallocate()
    }
}

/// A private key of the library's, owned: in memory, or in a token or TPM.
@safe final class PrivateKey {
    /// Valid from init to deinit.
    let handle: OpaquePointer
    /// Where another process holds it.
    let remote: RemoteKey?

    /// One that is still to be filled.
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

    /// Reads a key without passphrase; the library keeps its own copy and wipes it at the end.
    convenience init(_ bytes: UnsafeRawBufferPointer, _ format: gnutls_x509_crt_fmt_t) throws(GnuTLSError) {
        try self.init(empty: nil)
        var datum = unsafe gnutls_datum_t(borrowing: bytes)
        try GnuTLS.check(
            unsafe gnutls_privkey_import_x509_raw(handle, &datum, format, nil, 0), "gnutls_privkey_import_x509_raw")
    }

    /// Opens a key by its URL, such as `pkcs11:`; `pin` must live as long as the key.
    convenience init(url: String, pin: TokenPIN) throws(GnuTLSError) {
        try self.init(empty: nil)
        unsafe gnutls_privkey_set_pin_function(handle, givePIN, Unmanaged.passUnretained(pin).toOpaque())
        try GnuTLS.check(unsafe gnutls_privkey_import_url(handle, url, 0), "gnutls_privkey_import_url")
    }

    /// SHA-256 of the public key, as `Certificate.keyIdentifier` has it.
    func publicKeyIdentifier() throws(GnuTLSError) -> [UInt8] {
        if let remote { return remote.identifier }
        return try PublicKey(of: self).identifier()
    }
}
