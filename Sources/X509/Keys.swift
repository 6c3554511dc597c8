package import CGnuTLS
package import SigningWire

/// A private key, owner of its GnuTLS object. The key is in memory, on a token, in a TPM, or in another process.
@safe package final class PrivateKey {
    /// Valid from init to deinit.
    package let handle: OpaquePointer
    /// The context of the callbacks that use the key, if it has any. Kept as long as the key.
    package let context: AnyObject?

    /// Creates an empty key, to be filled by an import function.
    package init(empty context: AnyObject? = nil) throws(GnuTLSError) {
        self.context = context
        var made: OpaquePointer?
        try GnuTLS.check(unsafe gnutls_privkey_init(&made), "gnutls_privkey_init")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "gnutls_privkey_init")
        }
        unsafe handle = made
    }

    deinit { unsafe gnutls_privkey_deinit(handle) }

    /// Reads a key without passphrase. GnuTLS keeps its own copy and wipes it on deinit.
    package convenience init(_ bytes: UnsafeRawBufferPointer, _ format: gnutls_x509_crt_fmt_t) throws(GnuTLSError) {
        try self.init(empty: nil)
        var datum = unsafe gnutls_datum_t(borrowing: bytes)
        try GnuTLS.check(
            unsafe gnutls_privkey_import_x509_raw(handle, &datum, format, nil, 0), "gnutls_privkey_import_x509_raw")
    }

    /// SHA-256 of the public key, as in `Certificate.keyIdentifier`.
    package func publicKeyIdentifier() throws(GnuTLSError) -> [UInt8] {
        try PublicKey(of: self).identifier()
    }
}

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

/// Signature algorithms of GnuTLS that a key can make, keyed by TLS 1.3 signature scheme.
package struct SchemeTable {
    private var algorithms: [SignatureScheme: gnutls_sign_algorithm_t] = [:]
    private var schemes: [UInt32: SignatureScheme] = [:]

    /// Finds what a key can sign with.
    package init(_ key: PublicKey) {
        let (kind, _) = key.algorithm
        for scheme in SignatureScheme.allCases where scheme.fits(key) {
            for name in scheme.libraryNames {
                let algorithm = unsafe cgnutls_sign_id(name)
                guard algorithm != GNUTLS_SIGN_UNKNOWN, gnutls_sign_supports_pk_algorithm(algorithm, kind) != 0 else {
                    continue
                }
                if algorithms[scheme] == nil { algorithms[scheme] = algorithm }
                schemes[algorithm.rawValue] = scheme
            }
        }
    }

    /// The scheme of a GnuTLS algorithm, if the key can make it.
    package func scheme(of algorithm: gnutls_sign_algorithm_t) -> SignatureScheme? { schemes[algorithm.rawValue] }
    /// The GnuTLS algorithm of a scheme, if the key can make it.
    package func algorithm(of scheme: SignatureScheme) -> gnutls_sign_algorithm_t? { algorithms[scheme] }

    /// A scheme that the key can make; `nil` if there is none in TLS 1.3.
    package var first: SignatureScheme? { SignatureScheme.allCases.first { algorithms[$0] != nil } }
}

extension SignatureScheme {
    /// GnuTLS names. Those of ECDSA come in pairs, because TLS 1.2 does not bind the hash to the curve.
    fileprivate var libraryNames: [String] {
        switch self {
        case .ecdsaSecp256r1SHA256: ["ECDSA-SECP256R1-SHA256", "ECDSA-SHA256"]
        case .ecdsaSecp384r1SHA384: ["ECDSA-SECP384R1-SHA384", "ECDSA-SHA384"]
        case .ecdsaSecp521r1SHA512: ["ECDSA-SECP521R1-SHA512", "ECDSA-SHA512"]
        case .rsaPSSRSAESHA256: ["RSA-PSS-RSAE-SHA256"]
        case .rsaPSSRSAESHA384: ["RSA-PSS-RSAE-SHA384"]
        case .rsaPSSRSAESHA512: ["RSA-PSS-RSAE-SHA512"]
        case .rsaPSSPSSSHA256: ["RSA-PSS-SHA256"]
        case .rsaPSSPSSSHA384: ["RSA-PSS-SHA384"]
        case .rsaPSSPSSSHA512: ["RSA-PSS-SHA512"]
        case .ed25519: ["EdDSA-Ed25519"]
        case .ed448: ["EdDSA-Ed448"]
        case .mlDSA44: ["ML-DSA-44"]
        case .mlDSA65: ["ML-DSA-65"]
        case .mlDSA87: ["ML-DSA-87"]
        }
    }

    /// Requirements of TLS 1.3 that GnuTLS does not check: the curve, or RSA-PSS with a given hash.
    fileprivate func fits(_ key: PublicKey) -> Bool {
        switch self {
        case .ecdsaSecp256r1SHA256: key.curve == GNUTLS_ECC_CURVE_SECP256R1
        case .ecdsaSecp384r1SHA384: key.curve == GNUTLS_ECC_CURVE_SECP384R1
        case .ecdsaSecp521r1SHA512: key.curve == GNUTLS_ECC_CURVE_SECP521R1
        case .rsaPSSRSAESHA256, .rsaPSSRSAESHA384, .rsaPSSRSAESHA512: key.algorithm.0 == GNUTLS_PK_RSA
        case .rsaPSSPSSSHA256: key.allowsPSS(GNUTLS_DIG_SHA256)
        case .rsaPSSPSSSHA384: key.allowsPSS(GNUTLS_DIG_SHA384)
        case .rsaPSSPSSSHA512: key.allowsPSS(GNUTLS_DIG_SHA512)
        case .ed25519, .ed448, .mlDSA44, .mlDSA65, .mlDSA87: true
        }
    }
}
