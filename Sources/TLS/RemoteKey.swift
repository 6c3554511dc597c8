internal import CGnuTLS
internal import Handshake
package import SigningWire
internal import X509

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
        let request = SigningRequest(key: reference, scheme: scheme, role: transcript.role, digest: transcript.digest)
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
            session.noteSigningFailure(HandshakeFailure(.signerUnavailable, "it answers something else"))
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
