/// What the running kernel's TLS can do, probed once at start on a loopback connection.
package struct KernelTLSCapabilities: Sendable, Equatable {
    /// The TLS 1.3 ciphers for which TLS_TX and TLS_RX were accepted.
    package var ciphers: Set<KernelCipher>
    /// Whether TLS_TX_MAX_PAYLOAD_LEN exists (Linux 6.19 and later).
    package var limitsTransmitPayload: Bool

    /// Whether keys can be replaced by others (Linux 6.14 and later).
    package var rekeys: Bool

    package init(ciphers: Set<KernelCipher>, limitsTransmitPayload: Bool, rekeys: Bool = false) {
        self.ciphers = ciphers
        self.limitsTransmitPayload = limitsTransmitPayload
        self.rekeys = rekeys
    }
}

/// A cipher of TLS 1.3 that kTLS can carry; raw values are include/uapi/linux/tls.h's TLS_CIPHER_*.
package enum KernelCipher: UInt16, Sendable, Hashable, CaseIterable {
    case aes128GCM = 51
    case aes256GCM = 52
    case aes128CCM = 53
    case chacha20Poly1305 = 54
}
