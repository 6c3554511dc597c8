internal import CGnuTLS

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
