package import CGnuTLS
package import SigningWire

/// Signature algorithms of GnuTLS that a key can make, keyed by TLS 1.3 signature scheme.
package struct SchemeTable {
    private var algorithms: [SignatureScheme: gnutls_sign_algorithm_t] = [:]
    private var schemes: [UInt32: SignatureScheme] = [:]

    /// Finds what a key can sign with.
    package init(_ key: PublicKey) {
        let (kind, _) = key.algorithm
        for scheme in SignatureScheme.allCases where scheme.fits(key) {
            for name in scheme.libraryNames {
                let algorithm = unsafe gnutls_sign_get_id(name)
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
