internal import CGnuTLS
internal import Handshake
internal import SigningWire
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
                        remote: RemoteKey(PublicKey(der: answer), KeyReference(job: job.id), ask: signer))
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
        switch ask(.describe(KeyReference(job: job.id))) {
        case .answer(.publicKey(let bytes)): return bytes
        case .answer(.signature): throw HandshakeFailure(.signerUnavailable, "it answers something else")
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
