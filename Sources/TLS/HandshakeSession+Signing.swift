internal import CGnuTLS
internal import Handshake
internal import SigningWire
internal import System
internal import Wire
internal import X509

extension HandshakeSession {
    /// The transcript hash so far, with the hash of the cipher suite. Drops the transcript.
    func takeTranscriptDigest() -> [UInt8] {
        defer { transcript = nil }
        return transcript?.digest(by: unsafe gnutls_prf_hash_get(session)) ?? []
    }

    /// The certificate of the request, with its key.
    ///
    /// - Parameter signer: asks the process that holds the key. If `nil`, the key is in `secrets`.
    static func requestChain(
        _ job: HandshakeJob, _ secrets: borrowing SecretBuffer, _ signer: SignerCall?, _ rules: PeerRules
    ) throws(HandshakeFailure) -> CertificateChain? {
        guard !job.certificate.isEmpty else { return nil }
        let certificates: [Certificate]
        do throws(GnuTLSError) {
            certificates = try Certificate.list(fromDER: job.certificate)
        } catch {
            throw HandshakeFailure(.certificateUnreadable, "the one of the request: \(error.text)")
        }
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
}
