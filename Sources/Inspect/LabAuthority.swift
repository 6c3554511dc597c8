internal import CGnuTLS
package import Handshake
package import System
package import X509

/// A certificate authority for a lab, with a new private key. Anybody who has the key can issue certificates.
@safe package final class LabAuthority {
    private let key: NewKey
    private let certificate: Certificate
    /// End of the validity of what it issues; seconds since 1970-01-01T00:00:00Z.
    package let notAfter: Int64
    private let notBefore: Int64

    private static let days: Int64 = 365
    private static let authorityDays: Int64 = 3650
    private static let day: Int64 = 86_400

    package init() throws(GnuTLSError) {
        let now = Clock.unixTime()
        // A peer whose clock is slow accepts them at once.
        notBefore = now - Self.day
        notAfter = now + Self.days * Self.day
        key = try NewKey()
        let draft = try CertificateDraft(for: key, notBefore, now + Self.authorityDays * Self.day)
        // Labs have different names, so that a log line tells them apart.
        try draft.setCommonName("lab authority \(draft.keyIdentifier.prefix(4).hexadecimal)")
        try draft.setAuthority(true)
        try draft.setUsage(GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)
        certificate = try draft.signed(by: draft.certificate, key)
    }

    package var subject: String { certificate.subject }

    /// The authority's own certificate and key.
    package func own() throws -> IssuedCertificate { try IssuedCertificate(certificate, key) }

    /// Issues a certificate with a new key.
    ///
    /// - Parameter names: the first is the common name, too.
    package func issue(to role: Role, _ names: [LabName]) throws -> IssuedCertificate {
        let key = try NewKey()
        let draft = try CertificateDraft(for: key, notBefore, notAfter)
        // RFC 5280, ub-common-name.
        try draft.setCommonName(names.first.map(\.text).flatMap { $0.utf8.count <= 64 ? $0 : nil } ?? "\(role)")
        try draft.setAuthority(false)
        try draft.setUsage(GNUTLS_KEY_DIGITAL_SIGNATURE)
        try draft.setPurpose(role == .server ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT)
        for name in names { try draft.addAlternativeName(name) }
        return try IssuedCertificate(try draft.signed(by: certificate, self.key), key)
    }
}

/// A name for a certificate: a DNS name or an address.
package struct LabName: Sendable, Equatable {
    package let text: String
    fileprivate let address: NetworkAddress?

    /// - Returns: `nil` for a text that is neither an address nor a host name in ASCII.
    package init?(_ text: String) {
        self.text = text
        address = NetworkAddress(text)
        if address != nil { return }
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        let isName =
            text.utf8.count <= 253
            && labels.allSatisfy { label in
                (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
                    && label.utf8.allSatisfy { byte in
                        switch byte {
                        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                            true
                        default: false
                        }
                    }
            }
        guard isName else { return nil }
    }
}

/// A certificate and its private key (PKCS #8), as PEM.
package struct IssuedCertificate: ~Copyable {
    package let certificate: [UInt8]
    package let key: SecretBuffer

    fileprivate init(_ certificate: Certificate, _ key: NewKey) throws {
        let secret = try key.exported()
        var datum = unsafe gnutls_datum_t()
        try GnuTLS.check(
            unsafe gnutls_x509_crt_export2(certificate.handle, GNUTLS_X509_FMT_PEM, &datum), "gnutls_x509_crt_export2")
        defer { unsafe cgnutls_free(datum.data) }
        self.certificate = unsafe Array(UnsafeBufferPointer(start: datum.data, count: Int(datum.size)))
        self.key = secret
    }
}

/// A new P-256 key, owner of its GnuTLS object.
@safe private final class NewKey {
    /// Valid from init to deinit.
    let handle: OpaquePointer

    init() throws(GnuTLSError) {
        var made: OpaquePointer?
        try GnuTLS.check(unsafe gnutls_x509_privkey_init(&made), "gnutls_x509_privkey_init")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "gnutls_x509_privkey_init")
        }
        unsafe handle = made
        // GNUTLS_CURVE_TO_BITS, a macro.
        let curve = 1 << 31 | UInt32(GNUTLS_ECC_CURVE_SECP256R1.rawValue)
        try GnuTLS.check(
            unsafe gnutls_x509_privkey_generate2(handle, GNUTLS_PK_ECDSA, curve, 0, nil, 0),
            "gnutls_x509_privkey_generate2")
    }

    deinit { unsafe gnutls_x509_privkey_deinit(handle) }

    func exported() throws -> SecretBuffer {
        var datum = unsafe gnutls_datum_t()
        try GnuTLS.check(
            unsafe gnutls_x509_privkey_export2_pkcs8(
                handle, GNUTLS_X509_FMT_PEM, nil, GNUTLS_PKCS_PLAIN.rawValue, &datum),
            "gnutls_x509_privkey_export2_pkcs8")
        guard let data = unsafe datum.data else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "gnutls_x509_privkey_export2_pkcs8")
        }
        defer {
            unsafe cgnutls_wipe(data, Int(datum.size))
            unsafe cgnutls_free(data)
        }
        var text = try unsafe SecretBuffer(capacity: Int(datum.size))
        unsafe text.withUnsafeMutableBytes { target in
            unsafe target.copyMemory(from: UnsafeRawBufferPointer(start: data, count: Int(datum.size)))
        }
        return text
    }
}

/// A certificate that is not signed yet.
@safe private struct CertificateDraft {
    let certificate: Certificate
    /// SHA-1 of the public key (RFC 5280 §4.2.1.2).
    let keyIdentifier: [UInt8]

    init(for key: NewKey, _ notBefore: Int64, _ notAfter: Int64) throws(GnuTLSError) {
        var made: OpaquePointer?
        try GnuTLS.check(unsafe gnutls_x509_crt_init(&made), "gnutls_x509_crt_init")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "gnutls_x509_crt_init")
        }
        certificate = unsafe Certificate(adopting: made)
        var serial = [UInt8](repeating: 0, count: 16)
        try GnuTLS.check(unsafe gnutls_rnd(GNUTLS_RND_NONCE, &serial, serial.count), "gnutls_rnd")
        // Positive, and of this length.
        serial[0] = serial[0] & 0x3F | 0x40
        try GnuTLS.check(unsafe gnutls_x509_crt_set_version(made, 3), "gnutls_x509_crt_set_version")
        try GnuTLS.check(unsafe gnutls_x509_crt_set_serial(made, serial, serial.count), "gnutls_x509_crt_set_serial")
        try GnuTLS.check(
            unsafe gnutls_x509_crt_set_activation_time(made, time_t(notBefore)), "gnutls_x509_crt_set_activation_time")
        try GnuTLS.check(
            unsafe gnutls_x509_crt_set_expiration_time(made, time_t(notAfter)), "gnutls_x509_crt_set_expiration_time")
        try GnuTLS.check(unsafe gnutls_x509_crt_set_key(made, key.handle), "gnutls_x509_crt_set_key")
        var identifier = [UInt8](repeating: 0, count: 20)
        var size = identifier.count
        try GnuTLS.check(
            unsafe gnutls_x509_crt_get_key_id(made, 0, &identifier, &size), "gnutls_x509_crt_get_key_id")
        keyIdentifier = identifier
        try GnuTLS.check(
            unsafe gnutls_x509_crt_set_subject_key_id(made, identifier, size), "gnutls_x509_crt_set_subject_key_id")
    }

    func setCommonName(_ name: String) throws(GnuTLSError) {
        try GnuTLS.check(
            unsafe gnutls_x509_crt_set_dn_by_oid(
                certificate.handle, GNUTLS_OID_X520_COMMON_NAME, 0, name, UInt32(name.utf8.count)),
            "gnutls_x509_crt_set_dn_by_oid")
    }

    /// Basic constraints. An authority may issue no further authorities.
    func setAuthority(_ isAuthority: Bool) throws(GnuTLSError) {
        try GnuTLS.check(
            unsafe gnutls_x509_crt_set_basic_constraints(certificate.handle, isAuthority ? 1 : 0, isAuthority ? 0 : -1),
            "gnutls_x509_crt_set_basic_constraints")
    }

    func setUsage(_ usage: Int32) throws(GnuTLSError) {
        try GnuTLS.check(
            unsafe gnutls_x509_crt_set_key_usage(certificate.handle, UInt32(usage)), "gnutls_x509_crt_set_key_usage")
    }

    func setPurpose(_ purpose: String) throws(GnuTLSError) {
        try GnuTLS.check(
            unsafe gnutls_x509_crt_set_key_purpose_oid(certificate.handle, purpose, 0),
            "gnutls_x509_crt_set_key_purpose_oid")
    }

    func addAlternativeName(_ name: LabName) throws(GnuTLSError) {
        let kind = name.address == nil ? GNUTLS_SAN_DNSNAME : GNUTLS_SAN_IPADDRESS
        let bytes = name.address?.bytes ?? Array(name.text.utf8)
        try GnuTLS.check(
            unsafe gnutls_x509_crt_set_subject_alt_name(
                certificate.handle, kind, bytes, UInt32(bytes.count), UInt32(GNUTLS_FSAN_APPEND)),
            "gnutls_x509_crt_set_subject_alt_name")
    }

    /// Signs the certificate.
    func signed(by issuer: Certificate, _ key: NewKey) throws(GnuTLSError) -> Certificate {
        if issuer !== certificate {
            var identifier = [UInt8](repeating: 0, count: 20)
            var size = identifier.count
            try GnuTLS.check(
                unsafe gnutls_x509_crt_get_subject_key_id(issuer.handle, &identifier, &size, nil),
                "gnutls_x509_crt_get_subject_key_id")
            try GnuTLS.check(
                unsafe gnutls_x509_crt_set_authority_key_id(certificate.handle, identifier, size),
                "gnutls_x509_crt_set_authority_key_id")
        }
        try GnuTLS.check(
            unsafe gnutls_x509_crt_sign2(certificate.handle, issuer.handle, key.handle, GNUTLS_DIG_SHA256, 0),
            "gnutls_x509_crt_sign2")
        return certificate
    }
}
