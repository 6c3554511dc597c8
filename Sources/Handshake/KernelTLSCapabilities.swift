/// Capabilities of the running kernel's TLS, probed once at start on a loopback connection.
package struct KernelTLSCapabilities: Sendable, Equatable {
    /// The TLS 1.3 ciphers for which TLS_TX and TLS_RX were accepted.
    package var ciphers: Set<KernelCipher>
    /// True if TLS_TX_MAX_PAYLOAD_LEN exists (Linux 6.19 and later).
    package var limitsTransmitPayload: Bool

    /// True if keys can be replaced (Linux 6.14 and later).
    package var rekeys: Bool

    package init(ciphers: Set<KernelCipher>, limitsTransmitPayload: Bool, rekeys: Bool = false) {
        self.ciphers = ciphers
        self.limitsTransmitPayload = limitsTransmitPayload
        self.rekeys = rekeys
    }
}

/// A TLS 1.3 cipher of kernel TLS. Raw values are TLS_CIPHER_* in include/uapi/linux/tls.h.
package enum KernelCipher: UInt16, Sendable, Hashable, CaseIterable {
    case aes128GCM = 51
    case aes256GCM = 52
    case aes128CCM = 53
    case chacha20Poly1305 = 54

    /// Name of the cipher suite in RFC 8446.
    package var suite: String {
        switch self {
        case .aes128GCM: "TLS_AES_128_GCM_SHA256"
        case .aes256GCM: "TLS_AES_256_GCM_SHA384"
        case .aes128CCM: "TLS_AES_128_CCM_SHA256"
        case .chacha20Poly1305: "TLS_CHACHA20_POLY1305_SHA256"
        }
    }
}

/// Key-exchange groups of TLS 1.3 by name.
package enum KeyExchangeGroup {
    /// GnuTLS name of each group, followed by its other names (IANA TLS Supported Groups).
    private static let table: [[String]] = [
        ["X25519"], ["X448"], ["SECP256R1", "P-256", "prime256v1"], ["SECP384R1", "P-384"], ["SECP521R1", "P-521"],
        ["FFDHE2048"], ["FFDHE3072"], ["FFDHE4096"], ["FFDHE6144"], ["FFDHE8192"],
        ["X25519-MLKEM768", "X25519MLKEM768"], ["SECP256R1-MLKEM768", "SecP256r1MLKEM768"],
        ["SECP384R1-MLKEM1024", "SecP384r1MLKEM1024"],
    ]

    /// GnuTLS names of all groups.
    package static let names = table.map { $0[0] }

    /// GnuTLS name of a group, case-insensitive; `nil` if unknown.
    package static func name(_ text: String) -> String? {
        table.first { row in row.contains { $0.lowercased() == text.lowercased() } }?[0]
    }
}
