package import CGnuTLS
package import Handshake

/// An X.509 certificate, owner of its GnuTLS object.
@safe package final class Certificate {
    /// Valid from init to deinit.
    package let handle: OpaquePointer

    /// Takes ownership of a GnuTLS object.
    package init(adopting handle: OpaquePointer) {
        unsafe self.handle = handle
    }

    deinit { unsafe gnutls_x509_crt_deinit(handle) }

    /// Reads one DER certificate.
    package convenience init(der bytes: [UInt8]) throws(GnuTLSError) {
        var made: OpaquePointer?
        try GnuTLS.check(unsafe gnutls_x509_crt_init(&made), "gnutls_x509_crt_init")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "gnutls_x509_crt_init")
        }
        unsafe self.init(adopting: made)
        let code = unsafe bytes.withUnsafeBytes { raw in
            var datum = unsafe gnutls_datum_t(borrowing: raw)
            return unsafe gnutls_x509_crt_import(handle, &datum, GNUTLS_X509_FMT_DER)
        }
        try GnuTLS.check(code, "gnutls_x509_crt_import")
    }

    /// Reads all PEM certificates of a file, in file order. An empty list is an error.
    package static func list(fromPEM bytes: UnsafeRawBufferPointer) throws(GnuTLSError) -> [Certificate] {
        var list: UnsafeMutablePointer<OpaquePointer?>?
        var count: UInt32 = 0
        var datum = unsafe gnutls_datum_t(borrowing: bytes)
        try GnuTLS.check(
            unsafe gnutls_x509_crt_list_import2(&list, &count, &datum, GNUTLS_X509_FMT_PEM, 0),
            "gnutls_x509_crt_list_import2")
        guard let list = unsafe list else { return [] }
        // The array is ours, and so are the certificates in it.
        defer { unsafe cgnutls_free(list) }
        return unsafe UnsafeBufferPointer(start: list, count: Int(count)).compactMap { handle in
            unsafe handle.map { unsafe Certificate(adopting: $0) }
        }
    }

    /// Reads concatenated DER certificates.
    package static func list(fromDER bytes: [UInt8]) throws(GnuTLSError) -> [Certificate] {
        var found: [Certificate] = []
        var rest = bytes[...]
        while let count = lengthOfFirstElement(in: rest) {
            found.append(try Certificate(der: Array(rest.prefix(count))))
            rest = rest.dropFirst(count)
        }
        guard rest.isEmpty, !found.isEmpty else {
            throw GnuTLSError(code: GNUTLS_E_ASN1_DER_ERROR, call: "certificate")
        }
        return found
    }

    /// RFC 4514 text.
    package var subject: String {
        var datum = unsafe gnutls_datum_t()
        guard unsafe gnutls_x509_crt_get_dn3(handle, &datum, 0) >= 0 else { return "(no subject)" }
        return unsafe String(taking: datum)
    }

    /// RFC 4514 text.
    package var issuer: String {
        var datum = unsafe gnutls_datum_t()
        guard unsafe gnutls_x509_crt_get_issuer_dn3(handle, &datum, 0) >= 0 else { return "(no issuer)" }
        return unsafe String(taking: datum)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    package var notBefore: Int64 { Int64(unsafe gnutls_x509_crt_get_activation_time(handle)) }
    /// Seconds since 1970-01-01T00:00:00Z.
    package var notAfter: Int64 { Int64(unsafe gnutls_x509_crt_get_expiration_time(handle)) }

    /// Algorithm of the public key.
    package var algorithm: gnutls_pk_algorithm_t {
        gnutls_pk_algorithm_t(UInt32(bitPattern: unsafe gnutls_x509_crt_get_pk_algorithm(handle, nil)))
    }

    /// Modulus length of an RSA key in bits; `nil` for other key types.
    package var rsaBits: Int? {
        // GnuTLS parses the key only if the caller asks for its bits.
        guard algorithm == GNUTLS_PK_RSA || algorithm == GNUTLS_PK_RSA_PSS else { return nil }
        var bits: UInt32 = 0
        return unsafe gnutls_x509_crt_get_pk_algorithm(handle, &bits) >= 0 ? Int(bits) : 0
    }

    /// SHA-256 of the public key; empty if GnuTLS cannot compute it.
    package var keyIdentifier: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 32)
        var count = bytes.count
        let code = unsafe gnutls_x509_crt_get_key_id(handle, GNUTLS_KEYID_USE_SHA256.rawValue, &bytes, &count)
        return code >= 0 ? Array(bytes.prefix(count)) : []
    }

    /// Returns `true` if `other` is the issuer according to names and key identifiers. No signature is verified.
    package func isIssued(by other: Certificate) -> Bool {
        unsafe gnutls_x509_crt_check_issuer(handle, other.handle) != 0
    }

    /// True if its subject is its issuer.
    package var isSelfIssued: Bool { isIssued(by: self) }

    /// Subject, issuer and expiry, for the broker.
    package var summary: CertificateDescription {
        CertificateDescription(subject: subject, issuer: issuer, notBefore: notBefore, notAfter: notAfter)
    }

    /// Length in bytes of the DER element at the start; `nil` if there is none or it is truncated.
    private static func lengthOfFirstElement(in slice: ArraySlice<UInt8>) -> Int? {
        let head = Array(slice.prefix(5))
        // SEQUENCE, then the length itself or the number of its octets (X.690 §8.1.3).
        guard head.count >= 2, head[0] == 0x30 else { return nil }
        let octets = head[1] & 0x80 != 0 ? Int(head[1] & 0x7F) : 0
        guard octets <= 3, head.count >= 2 + octets else { return nil }
        let length = octets == 0 ? Int(head[1]) : head[2..<(2 + octets)].reduce(0) { $0 << 8 | Int($1) }
        let total = 2 + octets + length
        return total <= slice.count ? total : nil
    }
}

extension gnutls_datum_t {
    /// Borrows bytes, which must outlive this value. GnuTLS must not modify them.
    package init(borrowing bytes: UnsafeRawBufferPointer) {
        let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        unsafe self.init(data: UnsafeMutablePointer(mutating: start), size: UInt32(bytes.count))
    }
}

extension String {
    /// Copies text that GnuTLS allocated, and frees the original.
    package init(taking datum: gnutls_datum_t) {
        defer { unsafe cgnutls_free(datum.data) }
        self = unsafe String(decoding: UnsafeBufferPointer(start: datum.data, count: Int(datum.size)), as: UTF8.self)
    }
}

/// A date such as `2026-11-24` (UTC).
package func dateText(_ seconds: Int64) -> String {
    guard seconds >= 0 else { return "an unknown date" }
    guard seconds < 253_402_300_799 else { return "no date" }
    // Days are counted from 1 March of year 0, so that the leap day comes last (proleptic Gregorian calendar).
    let days = seconds / 86_400 + 719_468
    let era = days / 146_097, dayOfEra = days % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shifted = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shifted + 2) / 5 + 1
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(year)-\(two(month))-\(two(day))"
}
