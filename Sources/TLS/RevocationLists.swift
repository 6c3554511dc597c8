internal import CGnuTLS

/// The CRLs of a file. The library looks serial numbers up in its own copies; that a list is out of date it overlooks,
/// so we do not.
@safe final class RevocationLists {
    /// Owned, as is the array; valid from init to deinit.
    let handles: UnsafeMutableBufferPointer<OpaquePointer?>

    /// Reads all PEM CRLs of a file; none is an error.
    init(fromPEM bytes: UnsafeRawBufferPointer) throws(GnuTLSError) {
        var list: UnsafeMutablePointer<OpaquePointer?>?
        var count: UInt32 = 0
        var datum = unsafe gnutls_datum_t(borrowing: bytes)
        // The library takes an empty file for a mistake of the caller's.
        guard unsafe !bytes.isEmpty else {
            throw GnuTLSError(code: GNUTLS_E_NO_CERTIFICATE_FOUND, call: "gnutls_x509_crl_list_import2")
        }
        try GnuTLS.check(
            unsafe gnutls_x509_crl_list_import2(&list, &count, &datum, GNUTLS_X509_FMT_PEM, 0),
            "gnutls_x509_crl_list_import2")
        unsafe handles = UnsafeMutableBufferPointer(start: list, count: Int(count))
    }

    deinit {
        unsafe handles.forEach { unsafe gnutls_x509_crl_deinit($0) }
        unsafe cgnutls_free(handles.baseAddress)
    }

    /// When the first of them goes out of date, in seconds since 1970-01-01T00:00:00Z; `nil` if none says so.
    var nextUpdate: Int64? {
        unsafe handles.map { unsafe Self.nextUpdate(of: $0) }.filter { $0 >= 0 }.min()
    }

    /// Who is said to have issued one of the lists and has not signed it; `nil` where there is none. The library looks
    /// at no list's signature, and lists come over connections that others can change. Of one whose issuer is not among
    /// `authorities` nothing can be told.
    func falseIssuer(among authorities: [Certificate]) -> String? {
        for index in unsafe handles.indices {
            let list = unsafe handles[index]
            let named = authorities.filter { unsafe gnutls_x509_crl_check_issuer(list, $0.handle) != 0 }
            // An authority that was renewed may be there with both its keys.
            if let first = named.first, !named.contains(where: { unsafe isSigned(list, by: $0) }) {
                return first.subject
            }
        }
        return nil
    }

    /// When the newest list of this certificate's issuer went out of date, if it did.
    func outdatedSince(_ certificate: Certificate, now: Int64) -> Int64? {
        let dates = unsafe handles.filter { unsafe isIssued($0, byIssuerOf: certificate) }
            .map { unsafe Self.nextUpdate(of: $0) }
        guard let newest = dates.map({ $0 < 0 ? Int64.max : $0 }).max(), newest < now else { return nil }
        return newest
    }

    private static func nextUpdate(of list: OpaquePointer?) -> Int64 {
        Int64(unsafe gnutls_x509_crl_get_next_update(list))
    }
}

/// Whether the signature of a list is this authority's. That it may sign lists is not asked: many may not by the letter
/// of their key usage, and do.
private func isSigned(_ list: OpaquePointer?, by authority: Certificate) -> Bool {
    var issuer: OpaquePointer? = unsafe authority.handle
    var status: UInt32 = 0
    let flags =
        GNUTLS_VERIFY_DISABLE_CA_SIGN.rawValue | GNUTLS_VERIFY_ALLOW_SIGN_WITH_SHA1.rawValue
    let code = unsafe gnutls_x509_crl_verify(list, &issuer, 1, flags, &status)
    let dates =
        GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED.rawValue | GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE.rawValue
    // GNUTLS_CERT_INVALID stands beside each of the others.
    let isOnlyDated = status & dates != 0 && status & ~(dates | GNUTLS_CERT_INVALID.rawValue) == 0
    return code >= 0 && (status == 0 || isOnlyDated)
}

/// Whether a list is by the issuer of a certificate: their names are the same bytes (RFC 5280 §6.3.3).
private func isIssued(_ list: OpaquePointer?, byIssuerOf certificate: Certificate) -> Bool {
    var ofList = unsafe gnutls_datum_t(), ofCertificate = unsafe gnutls_datum_t()
    guard unsafe gnutls_x509_crl_get_raw_issuer_dn(list, &ofList) >= 0 else { return false }
    defer { unsafe cgnutls_free(ofList.data) }
    guard unsafe gnutls_x509_crt_get_raw_issuer_dn(certificate.handle, &ofCertificate) >= 0 else { return false }
    defer { unsafe cgnutls_free(ofCertificate.data) }
    let left = unsafe UnsafeBufferPointer(start: ofList.data, count: Int(ofList.size))
    let right = unsafe UnsafeBufferPointer(start: ofCertificate.data, count: Int(ofCertificate.size))
    return unsafe left.elementsEqual(right)
}
