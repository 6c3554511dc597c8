internal import CGnuTLS
internal import Handshake
internal import System
internal import Wire

/// What a peer's certificates may cost before the peer has proven anything. Everything here is judged before a
/// signature is verified, and what can be judged without parsing, before that.
enum PresentedLimit {
    /// The library's own bound for a chain.
    static let certificates = 16
    /// ASN.1 elements of all certificates and stapled responses: usual ones have 150, and one for each name.
    static let elements = 4096
    /// ASN.1 elements of a stapled response, which is parsed again for each certificate that could have signed it.
    static let responseElements = 640
    /// Stapled responses times certificates: the library tries each certificate as the signer of each response.
    static let signerTrials = 16
    /// Bits of an RSA modulus.
    static let modulus: UInt32 = 8192
    /// Bits of RSA's public exponent: the time that a signature takes grows with each. RFC 8017 knows no bound, and
    /// 65537 has 17.
    static let exponent = 64
    /// Bits of DSA's p and q (FIPS 186-4 §4.2 has at most 3072 and 256).
    static let prime: UInt32 = 3072
    static let subgroup = 256
}

extension HandshakeSession {
    /// The presented certificates, its own first, if none of them costs too much.
    func affordableChain() throws(HandshakeFailure) -> [Certificate] {
        let responses = unsafe stapledResponses()
        try unsafe checkSize(responses)
        let chain = try peerChain()
        for certificate in chain { try certificate.checkKeyCost() }
        for certificate in unsafe responses.flatMap({ unsafe Certificate.embedded(in: $0) }) {
            try certificate.checkKeyCost()
        }
        return chain
    }

    private func checkSize(_ responses: [gnutls_datum_t]) throws(HandshakeFailure) {
        var count: UInt32 = 0
        // The list belongs to the session and is valid during the callback, and so are the responses.
        guard let list = unsafe gnutls_certificate_get_peers(session, &count) else { return }
        guard count <= PresentedLimit.certificates else {
            throw HandshakeFailure(
                .certificateTooCostly, "\(count) certificates, at most \(PresentedLimit.certificates) are taken")
        }
        guard unsafe responses.count * Int(count) <= PresentedLimit.signerTrials else {
            throw HandshakeFailure(
                .certificateTooCostly, "\(unsafe responses.count) stapled OCSP responses for \(count) certificates")
        }
        let ofResponses = unsafe responses.map { unsafe DERElements.count(in: $0.bytes.span) }
        if let elements = ofResponses.max(), elements > PresentedLimit.responseElements {
            throw HandshakeFailure(
                .certificateTooCostly,
                "a stapled OCSP response of \(elements) ASN.1 elements, at most \(PresentedLimit.responseElements) "
                    + "are taken")
        }
        let certificates = unsafe UnsafeBufferPointer(start: list, count: Int(count))
        let elements = unsafe certificates.reduce(ofResponses.reduce(0, +)) { sum, certificate in
            unsafe sum + DERElements.count(in: certificate.bytes.span)
        }
        guard elements <= PresentedLimit.elements else {
            throw HandshakeFailure(
                .certificateTooCostly, "\(elements) ASN.1 elements, at most \(PresentedLimit.elements) are taken")
        }
    }

    /// The OCSP responses that came with the certificates. They belong to the session.
    private func stapledResponses() -> [gnutls_datum_t] {
        var count: UInt32 = 0
        // Of the list only its length counts here.
        _ = unsafe gnutls_certificate_get_peers(session, &count)
        return unsafe (0..<count).compactMap { index in
            var response = unsafe gnutls_datum_t()
            let code = unsafe gnutls_ocsp_status_request_get2(session, index, &response)
            return code >= 0 ? unsafe response : nil
        }
    }
}

extension Certificate {
    /// The certificates inside a DER OCSP response, which name its signer; none where it cannot be read.
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

    /// Checks that verifying a signature by this certificate's key takes no longer than it may.
    fileprivate func checkKeyCost() throws(HandshakeFailure) {
        // A key that the library does not know is one by which it verifies nothing.
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
    /// Bits of RSA's public exponent; more than there are where it cannot be read.
    fileprivate var exponentBits: Int {
        unsafe Self.bits { exponent in unsafe gnutls_pubkey_export_rsa_raw2(handle, nil, exponent, 0) }
    }

    /// Bits of DSA's q; more than there are where it cannot be read.
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
    /// What it points to; valid as long as that is.
    fileprivate var bytes: UnsafeBufferPointer<UInt8> { unsafe UnsafeBufferPointer(start: data, count: Int(size)) }
}
