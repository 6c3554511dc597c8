/// How many bytes a peer may send before its handshake is done; `[limits] handshake_bytes` in tlshd.conf(5).
package enum HandshakeBytes {
    /// Records with their headers. Four certificates with post-quantum signatures have 30 kB.
    package static let standard = 98_304
    /// What the settings may say. A usual hello and chain of certificates has 8 kB.
    package static let range = 32_768...262_144
}
