internal import CGnuTLS
internal import Handshake
internal import SigningWire
internal import System
internal import TLSWire
internal import Wire
internal import X509

/// Limits on the cost of a peer's certificates before the peer has proven possession of a key. All are checked before a
/// signature is verified; those that need no parsing are checked before parsing.
enum PresentedLimit {
    /// GnuTLS's own limit for a chain.
    static let certificates = 16
    /// ASN.1 elements of all certificates and stapled responses together. Typical certificates have 150, plus one per
    /// name.
    static let elements = 4096
    /// ASN.1 elements of a stapled response. GnuTLS parses it again for each certificate that may have signed it.
    static let responseElements = 640
    /// Stapled responses times certificates. GnuTLS tries each certificate as the signer of each response.
    static let signerTrials = 16
    /// Bits of an RSA modulus.
    static let modulus: UInt32 = 8192
    /// Bits of the RSA public exponent. Verification time grows with it. RFC 8017 has no limit; 65537 has 17 bits.
    static let exponent = 64
    /// Bits of DSA's p and q (FIPS 186-4 §4.2 allows at most 3072 and 256).
    static let prime: UInt32 = 3072
    static let subgroup = 256
}

/// The certificates and stapled OCSP responses that a peer presented, verified or not. They belong to the GnuTLS
/// session.
@safe struct PresentedChain {
    /// Borrowed from the handshake.
    private let session: gnutls_session_t

    init(of session: gnutls_session_t) {
        unsafe self.session = session
    }

    /// The certificates, leaf first. Throws if they exceed a limit.
    func affordable() throws(HandshakeFailure) -> [Certificate] {
        let responses = unsafe responses
        try unsafe checkSize(responses)
        let chain = try parsed()
        for certificate in chain { try certificate.checkKeyCost() }
        for certificate in unsafe responses.flatMap({ unsafe Certificate.embedded(in: $0) }) {
            try certificate.checkKeyCost()
        }
        return chain
    }

    /// The certificates, leaf first, whatever they cost.
    func parsed() throws(HandshakeFailure) -> [Certificate] {
        do throws(GnuTLSError) {
            // None is omitted: the first must be the one whose key has signed.
            return try unsafe certificates.map { (datum) throws(GnuTLSError) in
                try Certificate(der: unsafe Array(datum.bytes))
            }
        } catch {
            throw Self.unreadable(error)
        }
    }

    /// Failure for a chain that GnuTLS cannot parse: the peer's fault, except if memory is short.
    static func unreadable(_ error: GnuTLSError) -> HandshakeFailure {
        error.code == GNUTLS_E_MEMORY_ERROR
            ? HandshakeFailure(.libraryFailure, error.description) : HandshakeFailure(.certificateInvalid, error.text)
    }

    /// The certificates as the peer sent them, each preceded by its length.
    var encoded: [UInt8] {
        let certificates = unsafe certificates
        var bytes: [UInt8] = []
        bytes.reserveCapacity(unsafe certificates.reduce(0) { unsafe $0 + 4 + Int($1.size) })
        for index in certificates.indices {
            let datum = unsafe certificates[index]
            for shift: UInt32 in [24, 16, 8, 0] { unsafe bytes.append(UInt8(truncatingIfNeeded: datum.size >> shift)) }
            unsafe bytes.append(contentsOf: datum.bytes)
        }
        return bytes
    }

    /// Name of the curve of the peer's own key if TLS 1.3 does not have it.
    var leafCurve: String? {
        guard let leaf = unsafe certificates.first else { return nil }
        return unsafe EllipticCurve.foreign(in: leaf.bytes.span)
    }

    /// True if the peer has stapled an OCSP response.
    var isStapled: Bool {
        unsafe gnutls_ocsp_status_request_is_checked(session, UInt32(GNUTLS_OCSP_SR_IS_AVAIL)) != 0
    }

    private func checkSize(_ responses: [gnutls_datum_t]) throws(HandshakeFailure) {
        let certificates = unsafe certificates
        guard certificates.count <= PresentedLimit.certificates else {
            throw HandshakeFailure(
                .certificateTooCostly,
                "\(certificates.count) certificates, at most \(PresentedLimit.certificates) are taken")
        }
        guard unsafe responses.count * certificates.count <= PresentedLimit.signerTrials else {
            throw HandshakeFailure(
                .certificateTooCostly,
                "\(unsafe responses.count) stapled OCSP responses for \(certificates.count) certificates")
        }
        let ofResponses = unsafe responses.map { unsafe DERElements.count(in: $0.bytes.span) }
        if let elements = ofResponses.max(), elements > PresentedLimit.responseElements {
            throw HandshakeFailure(
                .certificateTooCostly,
                "a stapled OCSP response of \(elements) ASN.1 elements, at most \(PresentedLimit.responseElements) "
                    + "are taken")
        }
        let elements = unsafe certificates.reduce(ofResponses.reduce(0, +)) { sum, certificate in
            unsafe sum + DERElements.count(in: certificate.bytes.span)
        }
        guard elements <= PresentedLimit.elements else {
            throw HandshakeFailure(
                .certificateTooCostly, "\(elements) ASN.1 elements, at most \(PresentedLimit.elements) are taken")
        }
    }

    private var certificates: UnsafeBufferPointer<gnutls_datum_t> {
        var count: UInt32 = 0
        let list = unsafe gnutls_certificate_get_peers(session, &count)
        return unsafe UnsafeBufferPointer(start: list, count: list == nil ? 0 : Int(count))
    }

    private var responses: [gnutls_datum_t] {
        unsafe certificates.indices.compactMap { index in
            var response = unsafe gnutls_datum_t()
            let code = unsafe gnutls_ocsp_status_request_get2(session, UInt32(index), &response)
            return code >= 0 ? unsafe response : nil
        }
    }
}

extension Certificate {
    /// The certificates inside a DER OCSP response, one of which may be its signer; empty if it cannot be parsed.
    fileprivate static func embedded(in response: gnutls_datum_t) -> [Certificate] {
        var made: OpaquePointer?
        guard unsafe gnutls_ocsp_resp_init(&made) >= 0, let made = unsafe made else { return [] }
        defer { unsafe gnutls_ocsp_resp_deinit(made) }
        var response = unsafe response
        var list: UnsafeMutablePointer<OpaquePointer?>?
        var count = 0
        guard unsafe gnutls_ocsp_resp_import(made, &response) >= 0,
            unsafe gnutls_ocsp_resp_get_certs(made, &list, &count) >= 0, let list = unsafe list
        else { return [] }
        // The array is ours, and so are the certificates in it.
        defer { unsafe cgnutls_free(list) }
        return unsafe UnsafeBufferPointer(start: list, count: count).compactMap { handle in
            unsafe handle.map { unsafe Certificate(adopting: $0) }
        }
    }

    /// Checks that a signature of this certificate's key can be verified within the time limits.
    fileprivate func checkKeyCost() throws(HandshakeFailure) {
        // GnuTLS verifies nothing with a key that it does not know.
        guard let key = try? PublicKey(of: self) else { return }
        let (algorithm, bits) = key.algorithm
        switch algorithm {
        case GNUTLS_PK_RSA, GNUTLS_PK_RSA_PSS:
            guard bits <= PresentedLimit.modulus else {
                throw tooCostly("an RSA key of \(bits) bits, at most \(PresentedLimit.modulus)")
            }
            let exponent = key.exponentBits
            guard exponent <= PresentedLimit.exponent else {
                throw tooCostly("an RSA key with an exponent of \(exponent) bits, at most \(PresentedLimit.exponent)")
            }
        case GNUTLS_PK_DSA:
            let subgroup = key.subgroupBits
            guard bits <= PresentedLimit.prime, subgroup <= PresentedLimit.subgroup else {
                throw tooCostly(
                    "a DSA key of \(bits) and \(subgroup) bits, at most \(PresentedLimit.prime) and "
                        + "\(PresentedLimit.subgroup)")
            }
        default: return
        }
    }

    private func tooCostly(_ what: String) -> HandshakeFailure {
        HandshakeFailure(.certificateTooCostly, "\(subject): \(what) are taken")
    }
}

extension PublicKey {
    /// Bits of the RSA public exponent; `Int.max` if it cannot be read.
    fileprivate var exponentBits: Int {
        unsafe Self.bits { exponent in unsafe gnutls_pubkey_export_rsa_raw2(handle, nil, exponent, 0) }
    }

    /// Bits of DSA's q; `Int.max` if it cannot be read.
    fileprivate var subgroupBits: Int {
        unsafe Self.bits { subgroup in unsafe gnutls_pubkey_export_dsa_raw2(handle, nil, subgroup, nil, nil, 0) }
    }

    private static func bits(_ fetch: (UnsafeMutablePointer<gnutls_datum_t>) -> Int32) -> Int {
        var number = unsafe gnutls_datum_t()
        guard unsafe fetch(&number) >= 0 else { return .max }
        let bytes = unsafe Array(taking: number).drop { $0 == 0 }
        return bytes.first.map { bytes.count * 8 - $0.leadingZeroBitCount } ?? 0
    }
}

extension gnutls_datum_t {
    /// The bytes that it points to; valid as long as they are.
    fileprivate var bytes: UnsafeBufferPointer<UInt8> { unsafe UnsafeBufferPointer(start: data, count: Int(size)) }
}
