internal import CGnuTLS
internal import Handshake
package import Settings
package import System
internal import TLS
package import TLSWire
internal import X509

/// Derives the TLS PSK and its identity from a key in interchange format (NVMe TCP Transport Specification, "TLS PSK
/// and PSK Identity Derivation"). The keyring holds the result; neither the kernel nor tlshd derives it.
package enum NVMeKeyDerivation {
    /// The two names that a key is bound to, and the variant of the derivation.
    package struct Request: Sendable, Equatable {
        package var hostName: String
        package var subsystemName: String
        /// Version of the identity: 1, or 0 for peers that support no other.
        package var version: UInt8
        /// Derivation of older versions of nvme-cli (2.13 in Debian 13): HkdfLabel (RFC 8446 §7.1) without the lengths
        /// of its parts, and with its own length in little endian.
        package var isLegacy: Bool

        package init(hostName: String, subsystemName: String, version: UInt8 = 1, isLegacy: Bool = false) {
            self.hostName = hostName
            self.subsystemName = subsystemName
            self.version = version
            self.isLegacy = isLegacy
        }
    }

    /// Derives the PSK.
    ///
    /// - Parameters:
    ///   - configured: the decoded key, at the start of the buffer.
    ///   - key: a buffer of at least 48 bytes; the PSK is written to its start.
    /// - Returns: The identity. Its hash determines the length of the PSK.
    package static func derive(
        _ request: Request, from configured: borrowing SecretBuffer, _ decoded: NVMeInterchangeKey.Decoded,
        into key: inout SecretBuffer
    ) throws -> NVMeIdentity {
        for name in [request.hostName, request.subsystemName] {
            let isUsable = name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F }
            guard isUsable, (1...NVMeIdentity.nameLimit).contains(name.utf8.count) else {
                throw TextError(
                    "\"\(name)\" is not an NVMe qualified name: it must have 1 to \(NVMeIdentity.nameLimit) characters and no blanks"
                )
            }
        }
        let hash = decoded.hash
        var retained = try SecretBuffer(capacity: hash.keyLength)
        if decoded.transform == .none {
            retained.copy(0..<decoded.length, of: configured, to: 0)
        } else {
            let context = Array(request.hostName.utf8)
            try expand(configured, decoded.length, hash, "HostNQN", context, request.isLegacy, into: &retained)
        }
        var identity = NVMeIdentity(
            version: request.version, origin: .retained, hash: hash, hostName: request.hostName,
            subsystemName: request.subsystemName)
        let context: String
        if request.version == 0 {
            context = identity.text
        } else {
            let digest = try digest(of: request, retained, hash)
            identity.digest = digest
            context = "0\(hash.rawValue) \(digest)"
        }
        try expand(
            retained, hash.keyLength, hash, "nvme-tls-psk", Array(context.utf8), request.isLegacy, into: &key)
        return identity
    }

    /// The first 16 hexadecimal digits of the SHA-256 digest of a PSK, as `keyctl pipe SERIAL | sha256sum` prints them.
    package static func fingerprint(of key: borrowing SecretBuffer, first count: Int) throws -> String {
        var digest = [UInt8](repeating: 0, count: 32)
        let code = unsafe key.withUnsafeBytes { raw in
            unsafe gnutls_hash_fast(GNUTLS_DIG_SHA256, raw.baseAddress, count, &digest)
        }
        try GnuTLS.check(code, "gnutls_hash_fast")
        return digest.prefix(8).hexadecimal
    }

    /// The PSK digest: base64 of an HMAC over both names.
    private static func digest(
        of request: Request, _ retained: borrowing SecretBuffer, _ hash: PSKHash
    ) throws -> String {
        let text = Array("\(request.hostName) \(request.subsystemName) NVMe-over-Fabrics".utf8)
        var digest = [UInt8](repeating: 0, count: hash.keyLength)
        let code = unsafe retained.withUnsafeBytes { raw in
            unsafe gnutls_hmac_fast(hash.binder, raw.baseAddress, hash.keyLength, text, text.count, &digest)
        }
        try GnuTLS.check(code, "gnutls_hmac_fast")
        var encoded = unsafe gnutls_datum_t()
        let encodes = unsafe digest.withUnsafeBytes { raw in
            var datum = unsafe gnutls_datum_t(borrowing: raw)
            return unsafe gnutls_base64_encode2(&datum, &encoded)
        }
        try GnuTLS.check(encodes, "gnutls_base64_encode2")
        return unsafe String(taking: encoded)
    }

    /// HKDF-Extract without salt, then HKDF-Expand-Label (RFC 5869, RFC 8446 §7.1).
    private static func expand(
        _ input: borrowing SecretBuffer, _ count: Int, _ hash: PSKHash, _ label: String, _ context: [UInt8],
        _ isLegacy: Bool, into output: inout SecretBuffer
    ) throws {
        // The context of a derivation is limited to 255 bytes.
        guard context.count <= 255 else {
            throw TextError("the names are too long for an identity of version 0; use version 1")
        }
        let length = hash.keyLength
        let name = Array("tls13 \(label)".utf8)
        let size = [UInt8(length >> 8), UInt8(length & 0xFF)]
        let info =
            isLegacy
            ? size.reversed() + name + context : size + [UInt8(name.count)] + name + [UInt8(context.count)] + context
        var extracted = try SecretBuffer(capacity: length)
        let extracts = unsafe input.withUnsafeBytes { source in
            unsafe extracted.withUnsafeMutableBytes { target in
                var key = unsafe gnutls_datum_t(borrowing: UnsafeRawBufferPointer(rebasing: source[..<count]))
                return unsafe gnutls_hkdf_extract(hash.binder, &key, nil, target.baseAddress)
            }
        }
        try GnuTLS.check(extracts, "gnutls_hkdf_extract")
        let expands = unsafe extracted.withUnsafeBytes { source in
            unsafe info.withUnsafeBytes { rawInfo in
                unsafe output.withUnsafeMutableBytes { target in
                    var key = unsafe gnutls_datum_t(borrowing: UnsafeRawBufferPointer(rebasing: source[..<length]))
                    var datum = unsafe gnutls_datum_t(borrowing: rawInfo)
                    return unsafe gnutls_hkdf_expand(hash.binder, &key, &datum, target.baseAddress, length)
                }
            }
        }
        try GnuTLS.check(expands, "gnutls_hkdf_expand")
    }
}

extension NVMeInterchangeKey.Decoded {
    /// The hash of the identity and of everything that is derived from it: that of the derivation, otherwise the one
    /// whose digest is as long as the key.
    package var hash: PSKHash {
        switch transform {
        case .none: length == PSKHash.sha384.keyLength ? .sha384 : .sha256
        case .sha256: .sha256
        case .sha384: .sha384
        }
    }
}
