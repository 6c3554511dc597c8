/// Elliptic curves that are used in keys and certificates and that TLS 1.3 does not have (RFC 8446 §4.2.3).
package enum EllipticCurve {
    /// Object identifiers in DER.
    private static let foreign: [(encoding: [UInt8], name: String)] = [
        ([0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x21], "secp224r1"),
        ([0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x0A], "secp256k1"),
        ([0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x01], "secp192r1"),
        ([0x06, 0x09, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07], "brainpoolP256r1"),
        ([0x06, 0x09, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0B], "brainpoolP384r1"),
        ([0x06, 0x09, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0D], "brainpoolP512r1"),
        // The field type in explicit parameters (RFC 3279 §2.3.5).
        ([0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x01, 0x01], "that its parameters spell out"),
    ]

    /// The first such curve whose identifier occurs in the bytes. Used in log lines only.
    package static func foreign(in bytes: Span<UInt8>) -> String? {
        for start in bytes.indices where bytes[start] == 0x06 {
            for (encoding, name) in foreign where encoding.count <= bytes.count - start {
                if encoding.indices.allSatisfy({ bytes[start + $0] == encoding[$0] }) { return name }
            }
        }
        return nil
    }
}
