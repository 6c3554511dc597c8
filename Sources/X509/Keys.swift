package import CGnuTLS

/// A public key, owner of its GnuTLS object.
@safe package final class PublicKey {
    /// Valid from init to deinit.
    package let handle: OpaquePointer

    private init() throws(GnuTLSError) {
        var made: OpaquePointer?
        try GnuTLS.check(unsafe gnutls_pubkey_init(&made), "gnutls_pubkey_init")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "gnutls_pubkey_init")
        }
        unsafe handle = made
    }

    deinit { unsafe gnutls_pubkey_deinit(handle) }

    /// Reads a SubjectPublicKeyInfo in PEM.
    package convenience init(pem bytes: UnsafeRawBufferPointer) throws(GnuTLSError) {
        try self.init()
        var datum = unsafe gnutls_datum_t(borrowing: bytes)
        try GnuTLS.check(unsafe gnutls_pubkey_import(handle, &datum, GNUTLS_X509_FMT_PEM), "gnutls_pubkey_import")
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    package convenience init(der bytes: [UInt8]) throws(GnuTLSError) {
        try self.init()
        let code = unsafe bytes.withUnsafeBytes { raw in
            var datum = unsafe gnutls_datum_t(borrowing: raw)
            return unsafe gnutls_pubkey_import(handle, &datum, GNUTLS_X509_FMT_DER)
        }
        try GnuTLS.check(code, "gnutls_pubkey_import")
    }

    /// Derives it from a private key.
    package convenience init(of key: PrivateKey) throws(GnuTLSError) {
        try self.init()
        try GnuTLS.check(
            unsafe gnutls_pubkey_import_privkey(handle, key.handle, 0, 0), "gnutls_pubkey_import_privkey")
    }

    /// Takes it from a certificate.
    package convenience init(of certificate: Certificate) throws(GnuTLSError) {
        try self.init()
        try GnuTLS.check(unsafe gnutls_pubkey_import_x509(handle, certificate.handle, 0), "gnutls_pubkey_import_x509")
    }

    /// SHA-256 of the key, as in `Certificate.keyIdentifier`.
    package func identifier() throws(GnuTLSError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 32)
        var count = bytes.count
        try GnuTLS.check(
            unsafe gnutls_pubkey_get_key_id(handle, GNUTLS_KEYID_USE_SHA256.rawValue, &bytes, &count),
            "gnutls_pubkey_get_key_id")
        return Array(bytes.prefix(count))
    }

    /// The key algorithm, and the key size in bits.
    package var algorithm: (gnutls_pk_algorithm_t, bits: UInt32) {
        var bits: UInt32 = 0
        let code = unsafe gnutls_pubkey_get_pk_algorithm(handle, &bits)
        return (gnutls_pk_algorithm_t(UInt32(bitPattern: code)), bits)
    }

    /// The curve; `GNUTLS_ECC_CURVE_INVALID` if the key has none.
    package var curve: gnutls_ecc_curve_t {
        var curve = GNUTLS_ECC_CURVE_INVALID
        _ = unsafe gnutls_pubkey_export_ecc_raw2(handle, &curve, nil, nil, 0)
        return curve
    }

    /// Returns `true` for an RSA-PSS key that may be used with this hash. The key may be restricted to one hash (RFC
    /// 4055 §1.2).
    func allowsPSS(_ hash: gnutls_digest_algorithm_t) -> Bool {
        guard algorithm.0 == GNUTLS_PK_RSA_PSS else { return false }
        var parameters: gnutls_x509_spki_t?
        guard unsafe gnutls_x509_spki_init(&parameters) >= 0, let parameters = unsafe parameters else { return false }
        defer { unsafe gnutls_x509_spki_deinit(parameters) }
        var restriction = GNUTLS_DIG_UNKNOWN
        let isRestricted =
            unsafe gnutls_pubkey_get_spki(handle, parameters, 0) >= 0
            && gnutls_x509_spki_get_rsa_pss_params(parameters, &restriction, nil) >= 0
        return !isRestricted || restriction == GNUTLS_DIG_UNKNOWN || restriction == hash
    }

    /// SubjectPublicKeyInfo in the given format.
    package func export(_ format: gnutls_x509_crt_fmt_t) throws(GnuTLSError) -> [UInt8] {
        var datum = unsafe gnutls_datum_t()
        try GnuTLS.check(unsafe gnutls_pubkey_export2(handle, format, &datum), "gnutls_pubkey_export2")
        return unsafe Array(taking: datum)
    }

    /// Verifies a signature.
    package func verify(
        _ signature: [UInt8], of content: [UInt8], by algorithm: gnutls_sign_algorithm_t
    ) throws(GnuTLSError) {
        let code = unsafe content.withUnsafeBytes { content in
            unsafe signature.withUnsafeBytes { signature in
                var one = unsafe gnutls_datum_t(borrowing: content)
                var other = unsafe gnutls_datum_t(borrowing: signature)
                return unsafe gnutls_pubkey_verify_data2(handle, algorithm, 0, &one, &other)
            }
        }
        try GnuTLS.check(code, "gnutls_pubkey_verify_data2")
    }
}

extension [UInt8] {
    /// Copies bytes that GnuTLS allocated, and frees the original.
    package init(taking datum: gnutls_datum_t) {
        defer { unsafe cgnutls_free(datum.data) }
        self = unsafe Array(UnsafeBufferPointer(start: datum.data, count: Int(datum.size)))
    }
}
