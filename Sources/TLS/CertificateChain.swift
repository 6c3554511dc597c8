internal import CGnuTLS
internal import Handshake
package import SigningWire
internal import System
internal import Wire
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

    /// The certificate of the request, with its key.
    ///
    /// - Parameter signer: asks the process that holds the key. If `nil`, the key is in `secrets`.
    static func ofRequest(
        _ job: HandshakeJob, _ secrets: borrowing SecretBuffer, _ signer: SignerCall?, _ rules: PeerRules
    ) throws(HandshakeFailure) -> CertificateChain? {
        guard !job.certificate.isEmpty else { return nil }
        let certificates = try GnuTLS.failing(
            .certificateUnreadable, "the one of the request", try Certificate.list(fromDER: job.certificate))
        let answer = try signer.map { (ask) throws(HandshakeFailure) in try describeKey(of: job, ask) }
        let chain: CertificateChain?
        do throws(GnuTLSError) {
            let key =
                if let signer, let answer {
                    try PrivateKey(
                        remote: RemoteKey(PublicKey(der: answer), .ofRequest, ask: signer))
                } else {
                    try unsafe secrets.withUnsafeBytes { (raw) throws(GnuTLSError) in
                        try unsafe PrivateKey(
                            UnsafeRawBufferPointer(rebasing: raw[job.privateKey.range]), GNUTLS_X509_FMT_DER)
                    }
                }
            chain = try CertificateChain.sorted(certificates, key)
        } catch {
            throw HandshakeFailure(.privateKeyUnreadable, "the one of the request: \(error.text)")
        }
        guard let chain else {
            throw HandshakeFailure(.privateKeyUnreadable, "it does not belong to the request's certificate")
        }
        if let refused = chain.certificates.first(where: { $0.isRefused(rules) }) {
            let least = "x509.rsa.minimum is \(rules.leastRSABits)"
            throw HandshakeFailure(
                .certificateUnreadable, "the one of the request: \(refused.keySizeText), and \(least)")
        }
        return chain
    }

    private static func describeKey(of job: HandshakeJob, _ ask: SignerCall) throws(HandshakeFailure) -> [UInt8] {
        switch ask(.describe(job: job.id)) {
        case .answer(.publicKey(let bytes)): return bytes
        case .answer(.signature): throw HandshakeFailure(.signerUnavailable, "it answered with another kind of message")
        case .answer(.refused(let why)): throw HandshakeFailure(.privateKeyUnreadable, "the one of the request: \(why)")
        case .unreachable(let why): throw HandshakeFailure(.signerUnavailable, why)
        }
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
    /// - Returns: A GnuTLS code. On failure the asker is told the reason.
    fileprivate func sign(
        _ algorithm: gnutls_sign_algorithm_t, _ input: [UInt8], isHashed: Bool,
        into signature: UnsafeMutablePointer<gnutls_datum_t>
    ) -> Int32 {
        guard let session = asker else { return GNUTLS_E_INTERNAL_ERROR }
        guard let scheme = schemes.scheme(of: algorithm) else { return GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM }
        let transcript = session.takeTranscriptDigest()
        let request = SigningRequest(
            job: session.job, key: reference, scheme: scheme, role: transcript.role, digest: transcript.digest)
        let expected =
            isHashed
            ? digest(request.content[...], by: gnutls_sign_get_hash_algorithm(algorithm)) : request.content
        guard expected == input else {
            session.noteSigningFailure(
                HandshakeFailure(.libraryFailure, "GnuTLS asked for a signature over other data"))
            return GNUTLS_E_INTERNAL_ERROR
        }
        switch ask(.sign(request)) {
        case .answer(.signature(let bytes)): return unsafe cgnutls_copy(signature, bytes, bytes.count)
        case .answer(.publicKey):
            session.noteSigningFailure(HandshakeFailure(.signerUnavailable, "it answered with another kind of message"))
        case .answer(.refused(let why)): session.noteSigningFailure(HandshakeFailure(.privateKeyUnreadable, why))
        case .unreachable(let why): session.noteSigningFailure(HandshakeFailure(.signerUnavailable, why))
        }
        return GNUTLS_E_PK_SIGN_FAILED
    }
}

extension PrivateKey {
    /// Set if the signer process holds the key.
    var remote: RemoteKey? { context as? RemoteKey }

    /// Wraps a key that another process holds.
    convenience init(remote key: RemoteKey) throws(GnuTLSError) {
        try self.init(empty: key)
        let context = unsafe Unmanaged.passUnretained(key).toOpaque()
        // No release callback: `context` keeps the object alive.
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

/// The handshake messages up to the signature (RFC 8446 §4.4.1). GnuTLS does not expose its own transcript.
struct HandshakeTranscript {
    private var bytes: [UInt8] = []
    /// Offset of a HelloRetryRequest.
    private var retry: Int?

    private static let serverHello: UInt8 = 2
    private static let messageHash: UInt8 = 254
    /// The first GnuTLS message number that is internal to the library and not a TLS message.
    private static let firstInternal: UInt32 = 254

    /// Adds a message without its header.
    mutating func add(_ type: UInt32, _ body: Span<UInt8>) {
        // GnuTLS gives a HelloRetryRequest a number of its own.
        let isRetry = type == GNUTLS_HANDSHAKE_HELLO_RETRY_REQUEST.rawValue
        guard isRetry || type < Self.firstInternal else { return }
        if isRetry { retry = bytes.count }
        let real = isRetry ? Self.serverHello : UInt8(type)
        bytes.reserveCapacity(bytes.count + 4 + body.count)
        bytes += [
            real, UInt8(truncatingIfNeeded: body.count >> 16), UInt8(truncatingIfNeeded: body.count >> 8),
            UInt8(truncatingIfNeeded: body.count),
        ]
        for index in body.indices { bytes.append(body[index]) }
    }

    /// The transcript hash. After a HelloRetryRequest, the first ClientHello is replaced by its own hash.
    func digest(by algorithm: gnutls_digest_algorithm_t) -> [UInt8] {
        guard let retry else { return TLS.digest(bytes[...], by: algorithm) }
        let hello = TLS.digest(bytes[..<retry], by: algorithm)
        return TLS.digest(([Self.messageHash, 0, 0, UInt8(hello.count)] + hello + bytes[retry...])[...], by: algorithm)
    }
}

/// The hash of the bytes; empty if GnuTLS does not know the algorithm.
func digest(_ bytes: ArraySlice<UInt8>, by algorithm: gnutls_digest_algorithm_t) -> [UInt8] {
    var hash = [UInt8](repeating: 0, count: Int(gnutls_hash_get_len(algorithm)))
    let code = unsafe bytes.withUnsafeBytes { raw in
        unsafe gnutls_hash_fast(algorithm, raw.baseAddress, raw.count, &hash)
    }
    return code >= 0 ? hash : []
}
