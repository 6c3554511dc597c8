internal import CGnuTLS

/// The messages of a handshake up to the signature, which the library does not show where it hashes them (RFC 8446
/// §4.4.1).
struct HandshakeTranscript {
    private var bytes: [UInt8] = []
    /// Where a HelloRetryRequest starts.
    private var retry: Int?

    private static let serverHello: UInt8 = 2
    private static let messageHash: UInt8 = 254
    /// The first number that is none of a message in TLS, but the library's own.
    private static let firstInternal: UInt32 = 254

    /// Adds a message without its header.
    mutating func add(_ type: UInt32, _ body: Span<UInt8>) {
        // A ServerHello that asks for another hello has a number of its own in the library.
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

    /// Its hash. After a retry the first hello is replaced by its own hash.
    func digest(by algorithm: gnutls_digest_algorithm_t) -> [UInt8] {
        guard let retry else { return TLS.digest(bytes[...], by: algorithm) }
        let hello = TLS.digest(bytes[..<retry], by: algorithm)
        return TLS.digest(([Self.messageHash, 0, 0, UInt8(hello.count)] + hello + bytes[retry...])[...], by: algorithm)
    }
}

/// The hash of bytes; empty where the library does not know the algorithm.
func digest(_ bytes: ArraySlice<UInt8>, by algorithm: gnutls_digest_algorithm_t) -> [UInt8] {
    var hash = [UInt8](repeating: 0, count: Int(gnutls_hash_get_len(algorithm)))
    let code = unsafe bytes.withUnsafeBytes { raw in
        unsafe gnutls_hash_fast(algorithm, raw.baseAddress, raw.count, &hash)
    }
    return code >= 0 ? hash : []
}
