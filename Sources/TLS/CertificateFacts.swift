internal import CGnuTLS
package import Handshake
package import X509

/// Fields of a certificate for the rules of the settings and for session tags.
extension Certificate {
    /// Fields of the certificate that rules of the settings and session tags match.
    package var facts: CertificateFacts {
        var facts = CertificateFacts()
        facts.subject = subject
        facts.issuer = issuer
        facts.names = alternativeNames
        facts.serialNumber = unsafe Self.bytes { unsafe gnutls_x509_crt_get_serial(handle, $0, $1) }
        facts.version = Int(unsafe gnutls_x509_crt_get_version(handle))
        let algorithm = gnutls_sign_algorithm_t(
            UInt32(bitPattern: unsafe gnutls_x509_crt_get_signature_algorithm(handle)))
        // A string constant of the library.
        facts.signatureAlgorithm = unsafe gnutls_sign_get_name(algorithm).map { unsafe String(cString: $0) } ?? ""
        facts.signatureAlgorithmIdentifier = unsafe Self.text {
            unsafe gnutls_x509_crt_get_signature_oid(handle, $0, $1)
        }
        facts.notBefore = notBefore
        facts.notAfter = notAfter
        facts.keyUsage = keyUsage
        facts.purposes = purposes
        facts.sha1 = fingerprint(GNUTLS_DIG_SHA1)
        facts.sha256 = fingerprint(GNUTLS_DIG_SHA256)
        facts.keySHA256 = keyIdentifier
        return facts
    }

    /// All entries of subjectAltName, up to 100.
    package var alternativeNames: [AlternativeName] {
        var found: [AlternativeName] = []
        for index in 0..<UInt32(100) {
            var bytes = [UInt8](repeating: 0, count: 1024)
            var count = bytes.count
            let kind = unsafe gnutls_x509_crt_get_subject_alt_name(handle, index, &bytes, &count, nil)
            if kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return found }
            guard kind >= 0 else {
                found.append(.other)
                continue
            }
            let value = Array(bytes.prefix(count))
            let text = String(decoding: value, as: UTF8.self)
            switch gnutls_x509_subject_alt_name_t(UInt32(kind)) {
            case GNUTLS_SAN_DNSNAME: found.append(.dns(text))
            case GNUTLS_SAN_IPADDRESS: found.append(NetworkAddress(binary: value).map { .address($0) } ?? .other)
            case GNUTLS_SAN_URI: found.append(.uri(text))
            case GNUTLS_SAN_RFC822NAME: found.append(.email(text))
            default: found.append(.other)
            }
        }
        return found
    }

    /// Key usage bits (RFC 5280 §4.2.1.3). GnuTLS puts the first eight into the low byte and decipherOnly into the
    /// second.
    private var keyUsage: KeyUsage? {
        var bits: UInt32 = 0
        guard unsafe gnutls_x509_crt_get_key_usage(handle, &bits, nil) >= 0 else { return nil }
        var usage: UInt16 = bits & UInt32(GNUTLS_KEY_DECIPHER_ONLY) != 0 ? 1 << 8 : 0
        for bit in 0..<8 where bits & (0x80 >> UInt32(bit)) != 0 { usage |= 1 << UInt16(bit) }
        return KeyUsage(rawValue: usage)
    }

    /// Object identifiers in extendedKeyUsage, dotted; empty if the extension cannot be read, `nil` if it is absent.
    var purposes: [String]? {
        guard has(extension: "2.5.29.37") else { return nil }
        var found: [String] = []
        for index in 0..<UInt32(64) {
            let text = unsafe Self.text { unsafe gnutls_x509_crt_get_key_purpose_oid(handle, index, $0, $1, nil) }
            guard !text.isEmpty else { break }
            found.append(text)
        }
        return found
    }

    /// Returns `true` if the extension is present, whatever it contains.
    func has(extension identifier: String) -> Bool {
        var count = 0
        let code = unsafe gnutls_x509_crt_get_extension_by_oid(handle, identifier, 0, nil, &count, nil)
        return code != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE
    }

    private func fingerprint(_ algorithm: gnutls_digest_algorithm_t) -> [UInt8] {
        unsafe Self.bytes { unsafe gnutls_x509_crt_get_fingerprint(handle, algorithm, $0, $1) }
    }

    /// Bytes that a GnuTLS function writes into a buffer; empty if it fails.
    private static func bytes(_ fill: (UnsafeMutableRawPointer?, UnsafeMutablePointer<Int>) -> Int32) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 256)
        var count = buffer.count
        let code = unsafe buffer.withUnsafeMutableBytes { unsafe fill($0.baseAddress, &count) }
        return code >= 0 ? Array(buffer.prefix(count)) : []
    }

    /// Text that a GnuTLS function writes into a buffer. Some functions count the final NUL, which is cut off.
    private static func text(_ fill: (UnsafeMutablePointer<CChar>?, UnsafeMutablePointer<Int>) -> Int32) -> String {
        let raw = unsafe bytes { unsafe fill($0?.assumingMemoryBound(to: CChar.self), $1) }
        return String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
    }
}
