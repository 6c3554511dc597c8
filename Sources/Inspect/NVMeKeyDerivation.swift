internal import CGnuTLS
package import InspectWire
package import System
internal import TLS
package import TLSWire
package import X509

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

    /// Reason why no key was derived.
    package enum Problem: Error, Sendable, Equatable {
        case nameUnusable(String)
        /// The context of a derivation is limited to 255 bytes.
        case identityTooLong
        case library(GnuTLSError)
        case system(SystemError)

        package var description: String {
            switch self {
            case .nameUnusable(let name):
                "\"\(name)\" is not an NVMe qualified name: it must have 1 to \(NVMeIdentity.nameLimit) characters and no blanks"
            case .identityTooLong:
                "the names are too long for an identity of version 0; use version 1"
            case .library(let error): error.description
            case .system(let error): error.description
            }
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
    ) throws(Problem) -> NVMeIdentity {
        for name in [request.hostName, request.subsystemName] {
            let isUsable = name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F }
            guard isUsable, (1...NVMeIdentity.nameLimit).contains(name.utf8.count) else {
                throw .nameUnusable(name)
            }
        }
        let hash = decoded.hash
        var retained = try buffer(hash.keyLength)
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

    /// The PSK digest: base64 of an HMAC over both names.
    private static func digest(
        of request: Request, _ retained: borrowing SecretBuffer, _ hash: PSKHash
    ) throws(Problem) -> String {
        let text = Array("\(request.hostName) \(request.subsystemName) NVMe-over-Fabrics".utf8)
        var digest = [UInt8](repeating: 0, count: hash.keyLength)
        let code = unsafe retained.withUnsafeBytes { raw in
            unsafe gnutls_hmac_fast(hash.binder, raw.baseAddress, hash.keyLength, text, text.count, &digest)
        }
        try check(code, "gnutls_hmac_fast")
        var encoded = unsafe gnutls_datum_t()
        let encodes = unsafe digest.withUnsafeBytes { raw in
            var datum = unsafe gnutls_datum_t(borrowing: raw)
            return unsafe gnutls_base64_encode2(&datum, &encoded)
        }
        try check(encodes, "gnutls_base64_encode2")
        return unsafe String(taking: encoded)
    }

    /// HKDF-Extract without salt, then HKDF-Expand-Label (RFC 5869, RFC 8446 §7.1).
    private static func expand(
        _ input: borrowing SecretBuffer, _ count: Int, _ hash: PSKHash, _ label: String, _ context: [UInt8],
        _ isLegacy: Bool, into output: inout SecretBuffer
    ) throws(Problem) {
        guard context.count <= 255 else { throw .identityTooLong }
        let length = hash.keyLength
        let name = Array("tls13 \(label)".utf8)
        let size = [UInt8(length >> 8), UInt8(length & 0xFF)]
        let info =
            isLegacy
            ? size.reversed() + name + context : size + [UInt8(name.count)] + name + [UInt8(context.count)] + context
        var extracted = try buffer(length)
        let extracts = unsafe input.withUnsafeBytes { source in
            unsafe extracted.withUnsafeMutableBytes { target in
                var key = unsafe gnutls_datum_t(borrowing: UnsafeRawBufferPointer(rebasing: source[..<count]))
                return unsafe gnutls_hkdf_extract(hash.binder, &key, nil, target.baseAddress)
            }
        }
        try check(extracts, "gnutls_hkdf_extract")
        let expands = unsafe extracted.withUnsafeBytes { source in
            unsafe info.withUnsafeBytes { rawInfo in
                unsafe output.withUnsafeMutableBytes { target in
                    var key = unsafe gnutls_datum_t(borrowing: UnsafeRawBufferPointer(rebasing: source[..<length]))
                    var datum = unsafe gnutls_datum_t(borrowing: rawInfo)
                    return unsafe gnutls_hkdf_expand(hash.binder, &key, &datum, target.baseAddress, length)
                }
            }
        }
        try check(expands, "gnutls_hkdf_expand")
    }

    private static func buffer(_ capacity: Int) throws(Problem) -> SecretBuffer {
        do throws(SystemError) {
            return try SecretBuffer(capacity: capacity)
        } catch {
            throw .system(error)
        }
    }

    private static func check(_ code: Int32, _ call: String) throws(Problem) {
        if code < 0 { throw .library(GnuTLSError(code: code, call: call)) }
    }
}
