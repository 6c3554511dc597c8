internal import CGnuTLS
internal import X509

extension CertificateChain {
    /// Returns `true` if the key can make this signature in TLS 1.3, which binds ECDSA to its curve and allows
    /// RSASSA-PKCS1-v1_5 in certificates only (RFC 8446 §4.2.3).
    func canSign(_ algorithm: gnutls_sign_algorithm_t) -> Bool {
        guard !Self.certificatesOnly.contains(algorithm),
            gnutls_sign_supports_pk_algorithm(algorithm, leaf.algorithm) != 0
        else { return false }
        guard leaf.algorithm == GNUTLS_PK_ECDSA, let wanted = Self.curves[algorithm.rawValue] else { return true }
        return leaf.curve == wanted
    }

    private static let certificatesOnly = [
        GNUTLS_SIGN_RSA_SHA1, GNUTLS_SIGN_RSA_SHA256, GNUTLS_SIGN_RSA_SHA384, GNUTLS_SIGN_RSA_SHA512,
    ]

    private static let curves: [UInt32: gnutls_ecc_curve_t] = [
        GNUTLS_SIGN_ECDSA_SECP256R1_SHA256.rawValue: GNUTLS_ECC_CURVE_SECP256R1,
        GNUTLS_SIGN_ECDSA_SECP384R1_SHA384.rawValue: GNUTLS_ECC_CURVE_SECP384R1,
        GNUTLS_SIGN_ECDSA_SECP521R1_SHA512.rawValue: GNUTLS_ECC_CURVE_SECP521R1,
    ]
}

extension Certificate {
    /// Curve of an elliptic curve key.
    fileprivate var curve: gnutls_ecc_curve_t {
        var curve = GNUTLS_ECC_CURVE_INVALID
        _ = unsafe gnutls_x509_crt_get_pk_ecc_raw(handle, &curve, nil, nil)
        return curve
    }
}
