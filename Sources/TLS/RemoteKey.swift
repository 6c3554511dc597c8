internal import CGnuTLS
internal import Handshake
package import Wire

/// A call to the process that holds the private keys. It blocks until the answer arrives.
package typealias SignerCall = (SigningQuestion) -> SignerReply

/// Outcome of a question to the signer.
package enum SignerReply: Sendable, Equatable {
    case answer(SigningAnswer)
    /// There is no signer, or it does not answer.
    case unreachable(String)
}

/// A private key that another process holds: the properties that GnuTLS needs, and the call to that process.
@safe final class RemoteKey {
    let reference: KeyReference
    let algorithm: gnutls_pk_algorithm_t
    let bits: UInt32
    /// SHA-256 of the public key, as `Certificate.keyIdentifier` has it.
    let identifier: [UInt8]
    private let schemes: SchemeTable
    private let ask: SignerCall
    /// The handshake whose transcript is to be signed. Set while GnuTLS runs it.
    var asker: HandshakeSession?

    init(_ publicKey: PublicKey, _ reference: KeyReference, ask: @escaping SignerCall) throws(GnuTLSError) {
        self.reference = reference
        self.ask = ask
        (algorithm, bits) = publicKey.algorithm
        identifier = try publicKey.identifier()
        schemes = SchemeTable(publicKey)
    }

    /// Returns `true` if the key can be used with this GnuTLS algorithm.
    func canSign(_ algorithm: gnutls_sign_algorithm_t) -> Bool { schemes.scheme(of: algorithm) != nil }

    /// Lets the signer sign the asker's transcript.
    ///
    /// - Parameters:
    ///   - input: the bytes that GnuTLS wants signed; they must equal those that the signer derives from the
    ///     transcript.
    ///   - isHashed: true if `input` is the hash of the content.
    /// - Returns: A GnuTLS code. On failure the reason is in the asker's verdict.
    fileprivate func sign(
        _ algorithm: gnutls_sign_algorithm_t, _ input: [UInt8], isHashed: Bool,
        into signature: UnsafeMutablePointer<gnutls_datum_t>
    ) -> Int32 {
        guard let session = asker else { return GNUTLS_E_INTERNAL_ERROR }
        guard let scheme = schemes.scheme(of: algorithm) else { return GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM }
        let request = SigningRequest(
            key: reference, scheme: scheme, role: session.role, digest: session.takeTranscriptDigest())
        let expected =
            isHashed
            ? digest(request.content[...], by: gnutls_sign_get_hash_algorithm(algorithm)) : request.content
        guard expected == input else {
            session.verdict = HandshakeFailure(.libraryFailure, "GnuTLS asked for a signature over other data")
            return GNUTLS_E_INTERNAL_ERROR
        }
        switch ask(.sign(request)) {
        case .answer(.signature(let bytes)): return unsafe cgnutls_copy(signature, bytes, bytes.count)
        case .answer(.publicKey): session.verdict = HandshakeFailure(.signerUnavailable, "it answers something else")
        case .answer(.refused(let why)): session.verdict = HandshakeFailure(.privateKeyUnreadable, why)
        case .unreachable(let why): session.verdict = HandshakeFailure(.signerUnavailable, why)
        }
        return GNUTLS_E_PK_SIGN_FAILED
    }
}

/// Signature algorithms of GnuTLS that a key can make, keyed by TLS 1.3 signature scheme.
struct SchemeTable {
    private var algorithms: [SignatureScheme: gnutls_sign_algorithm_t] = [:]
    private var schemes: [UInt32: SignatureScheme] = [:]

    init(_ key: PublicKey) {
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

    func scheme(of algorithm: gnutls_sign_algorithm_t) -> SignatureScheme? { schemes[algorithm.rawValue] }
    func algorithm(of scheme: SignatureScheme) -> gnutls_sign_algorithm_t? { algorithms[scheme] }

    /// A scheme that the key can make; `nil` if there is none in TLS 1.3.
    var first: SignatureScheme? { SignatureScheme.allCases.first { algorithms[$0] != nil } }
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

extension PrivateKey {
    /// Wraps a key that another process holds.
    convenience init(remote key: RemoteKey) throws(GnuTLSError) {
        try self.init(empty: key)
        let context = unsafe Unmanaged.passUnretained(key).toOpaque()
        // No release callback: `remote` keeps the object alive.
        try GnuTLS.check(
            unsafe gnutls_privkey_import_ext4(handle, context, signContent, signHash, nil, nil, describeKey, 0),
            "gnutls_privkey_import_ext4")
    }
}

/// GnuTLS callbacks. The context is a `RemoteKey`; the datum is valid during the call.
private func signHash(
    _ key: OpaquePointer?, _ algorithm: gnutls_sign_algorithm_t, _ context: UnsafeMutableRawPointer?, _ flags: UInt32,
    _ hash: UnsafePointer<gnutls_datum_t>?, _ signature: UnsafeMutablePointer<gnutls_datum_t>?
) -> Int32 {
    unsafe sign(algorithm, context, hash, isHashed: true, signature)
}

private func signContent(
    _ key: OpaquePointer?, _ algorithm: gnutls_sign_algorithm_t, _ context: UnsafeMutableRawPointer?, _ flags: UInt32,
    _ content: UnsafePointer<gnutls_datum_t>?, _ signature: UnsafeMutablePointer<gnutls_datum_t>?
) -> Int32 {
    unsafe sign(algorithm, context, content, isHashed: false, signature)
}

private func sign(
    _ algorithm: gnutls_sign_algorithm_t, _ context: UnsafeMutableRawPointer?, _ input: UnsafePointer<gnutls_datum_t>?,
    isHashed: Bool, _ signature: UnsafeMutablePointer<gnutls_datum_t>?
) -> Int32 {
    guard let context = unsafe context, let input = unsafe input, let signature = unsafe signature else {
        return GNUTLS_E_INVALID_REQUEST
    }
    let bytes = unsafe Array(UnsafeBufferPointer(start: input.pointee.data, count: Int(input.pointee.size)))
    let key = unsafe Unmanaged<RemoteKey>.fromOpaque(context).takeUnretainedValue()
    return unsafe key.sign(algorithm, bytes, isHashed: isHashed, into: signature)
}

private func describeKey(_ key: OpaquePointer?, _ question: UInt32, _ context: UnsafeMutableRawPointer?) -> Int32 {
    guard let context = unsafe context else { return -1 }
    let remote = unsafe Unmanaged<RemoteKey>.fromOpaque(context).takeUnretainedValue()
    if question & UInt32(GNUTLS_PRIVKEY_INFO_PK_ALGO) != 0 { return Int32(remote.algorithm.rawValue) }
    if question & UInt32(GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS) != 0 { return Int32(remote.bits) }
    if question & UInt32(GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO) != 0 {
        return remote.canSign(gnutls_sign_algorithm_t(question >> 20)) ? 1 : 0
    }
    return -1
}
