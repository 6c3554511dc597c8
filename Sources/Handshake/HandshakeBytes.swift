/// Limit of bytes that a peer may send before its handshake is done; `[limits] handshake_bytes` in tlshd.conf(5).
package enum HandshakeBytes {
    /// Default, record headers included. Four certificates with post-quantum signatures take 30 kB.
    package static let standard = 98_304
    /// Allowed values of the setting. A typical ClientHello and certificate chain take 8 kB.
    package static let range = 32_768...262_144
}
