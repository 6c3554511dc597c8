internal import CGnuTLS
package import Handshake
internal import TLSWire
internal import Wire
internal import X509

/// The CRLs of a role. GnuTLS looks up serial numbers in its own copies, but does not notice that a list is outdated,
/// not signed by its issuer, or missing. These checks are here.
@safe package final class RevocationLists {
    package let lists: [RevocationList]
    /// Handles of the lists, as an array for GnuTLS. Owned; valid from init to deinit.
    let handles: UnsafeMutableBufferPointer<OpaquePointer?>

    /// Reads all CRLs of a file. A file without CRLs is an error, as is a CRL that does not cover all certificates of
    /// its issuer.
    package init(_ file: PEMFile) throws(TextError) {
        let found = try unsafe file.read(.revocationList) { (block) throws(GnuTLSError) in
            try unsafe RevocationList(block)
        }
        guard !found.isEmpty else { throw TextError("it holds no revocation list") }
        guard found.count <= RevocationFloor.most else {
            throw TextError("it holds more than \(RevocationFloor.most) revocation lists")
        }
        for (list, place) in found {
            if let problem = list.problem { throw TextError("\(place) of \(list.issuer) \(problem)") }
        }
        lists = found.map(\.value)
        let memory = UnsafeMutableBufferPointer<OpaquePointer?>.allocate(capacity: lists.count)
        _ = unsafe memory.initialize(from: lists.map { unsafe Optional($0.handle) })
        unsafe handles = memory
    }

    deinit { unsafe handles.deallocate() }

    /// Earliest nextUpdate of the lists, in seconds since 1970-01-01T00:00:00Z; `nil` if none has one.
    var nextUpdate: Int64? { lists.compactMap(\.nextUpdate).min() }

    /// Problem with a list whose issuer is in the trust store; `nil` if there is none. GnuTLS does not verify
    /// signatures of lists, and lists may come over connections that others can modify. A list whose issuer is not
    /// among `anchors` is checked when a peer presents its issuer.
    func problem(with anchors: TrustAnchors) -> String? {
        for list in lists {
            let named = anchors.named(list.rawIssuer)
            // A renewed authority may be present with both of its keys.
            guard let first = named.first, !named.contains(where: { list.isBelieved(by: $0) }) else { continue }
            return named.contains { list.isSigned(by: $0) }
                ? "\(first.subject) of the trust store may not sign lists, as its key usage lacks cRLSign"
                : "\(first.subject) of the trust store has not signed it"
        }
        return nil
    }

    /// Error text if these lists are older than those in force before; `nil` if not.
    func problem(with floors: [RevocationFloor]) -> String? {
        for list in lists {
            // If an authority has several lists, the newest counts.
            guard let floor = floors.first(where: { $0.issuer == list.floor.issuer }),
                !lists.contains(where: { !$0.floor.isOlder(than: floor) && $0.floor.issuer == floor.issuer })
            else { continue }
            return "the list of \(list.issuer), \(list.floor.text), is older than the one that was in force, "
                + floor.text + "; if that one was not genuine, restart tlshd"
        }
        return nil
    }

    /// The newest floor per issuer.
    var floors: [RevocationFloor] {
        var newest: [RevocationFloor] = []
        for floor in lists.map(\.floor) { floor.raise(&newest) }
        return newest
    }

    /// Returns `true` if a certificate is on a list of its issuer, whether the list is authentic or not.
    func revokes(_ certificates: [Certificate]) -> Bool {
        certificates.contains { certificate in
            unsafe gnutls_x509_crt_check_revocation(certificate.handle, handles.baseAddress, UInt32(handles.count)) == 1
        }
    }

    /// Revocation coverage of a verified chain.
    ///
    /// - Returns: One entry for each certificate whose issuer has a list, and remarks on certificates that are accepted
    ///   without.
    /// - Throws: The certificate that no list covers.
    func coverage(
        of links: [TrustedChain.Link], _ rule: MissingList
    ) throws(HandshakeFailure) -> (covered: [RevocationCoverage], remarks: [String]) {
        var covered: [RevocationCoverage] = [], remarks: [String] = []
        for (index, link) in links.enumerated() {
            let fitting = lists.filter { $0.speaks(of: link.certificate) && $0.isBelieved(by: link.issuer) }
            if let until = fitting.map({ $0.nextUpdate ?? .max }).max() {
                covered.append(
                    RevocationCoverage(
                        subject: link.certificate.subject, issuer: link.certificate.issuer, until: until))
                continue
            }
            let text = "\(link.certificate.subject): \(lack(link))"
            guard index > 0, rule == .log else { throw HandshakeFailure(.certificateRevocationOutdated, text) }
            remarks.append(text)
        }
        return (covered, remarks)
    }

    private func lack(_ link: TrustedChain.Link) -> String {
        let named = lists.filter { $0.rawIssuer == link.certificate.rawIssuer }
        if named.isEmpty { return "no list of \(link.certificate.issuer)" }
        guard named.contains(where: { $0.isSigned(by: link.issuer) }) else {
            return "no list of \(link.certificate.issuer) has its signature"
        }
        return named.contains { $0.isBelieved(by: link.issuer) }
            ? "no list of \(link.certificate.issuer) is for its distribution point"
            : "\(link.certificate.issuer) may not sign lists, as its key usage lacks cRLSign"
    }
}

/// The time until which the revocation status of a certificate is known.
package struct RevocationCoverage {
    let subject: String
    let issuer: String
    /// Seconds since 1970-01-01T00:00:00Z.
    let until: Int64

    /// - Throws: If that time has passed.
    package func check(now: Int64) throws(HandshakeFailure) {
        guard until < now else { return }
        throw HandshakeFailure(
            .certificateRevocationOutdated, "\(subject): the list of \(issuer) expired on \(dateText(until))")
    }
}

/// One CRL.
@safe package final class RevocationList {
    /// Valid from init to deinit.
    package let handle: OpaquePointer
    /// RFC 4514 text.
    package let issuer: String
    let rawIssuer: [UInt8]
    /// Seconds since 1970-01-01T00:00:00Z; negative if absent.
    package let thisUpdate: Int64
    /// Seconds since 1970-01-01T00:00:00Z; `nil` if absent.
    package let nextUpdate: Int64?
    let floor: RevocationFloor
    /// Reason why the list cannot show that a certificate is not revoked.
    let problem: String?
    /// If not empty, the list covers only certificates that name one of these distribution points.
    private let locations: [[UInt8]]
    /// Results of signature verification, keyed by the identifier of the key.
    private var signers: [[UInt8]: Bool] = [:]
    private static let mostSigners = 64

    /// Reads one PEM CRL.
    init(_ bytes: UnsafeRawBufferPointer) throws(GnuTLSError) {
        var made: OpaquePointer?
        try GnuTLS.check(unsafe gnutls_x509_crl_init(&made), "gnutls_x509_crl_init")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "gnutls_x509_crl_init")
        }
        var datum = unsafe gnutls_datum_t(borrowing: bytes)
        let code = unsafe gnutls_x509_crl_import(made, &datum, GNUTLS_X509_FMT_PEM)
        guard code >= 0 else {
            unsafe gnutls_x509_crl_deinit(made)
            throw GnuTLSError(code: code, call: "gnutls_x509_crl_import")
        }
        unsafe handle = made
        var name = unsafe gnutls_datum_t()
        issuer = unsafe gnutls_x509_crl_get_issuer_dn3(made, &name, 0) >= 0 ? String(taking: name) : "(no issuer)"
        rawIssuer = unsafe [UInt8](fetching: { unsafe gnutls_x509_crl_get_raw_issuer_dn(made, &$0) })
        thisUpdate = Int64(unsafe gnutls_x509_crl_get_this_update(made))
        let next = Int64(unsafe gnutls_x509_crl_get_next_update(made))
        nextUpdate = next < 0 ? nil : next
        floor = RevocationFloor(
            issuer: unsafe RevocationLists.digest(of: rawIssuer + Self.keyIdentifier(of: made)),
            number: unsafe Self.number(of: made), thisUpdate: thisUpdate)
        (problem, locations) = unsafe Self.scope(of: made)
    }

    deinit { unsafe gnutls_x509_crl_deinit(handle) }

    /// Returns `true` if the list's issuer is that of the certificate, by name, and the list covers certificates like
    /// it.
    func speaks(of certificate: Certificate) -> Bool {
        guard rawIssuer == certificate.rawIssuer else { return false }
        return locations.isEmpty || !certificate.distributionPoints.isDisjoint(with: locations)
    }

    /// Returns `true` if this authority has signed the list and may do so (RFC 5280 §6.3.3). Without key usage an
    /// authority may.
    func isBelieved(by authority: Certificate) -> Bool { authority.maySignLists && isSigned(by: authority) }

    /// Returns `true` if the signature is by this authority's key.
    func isSigned(by authority: Certificate) -> Bool {
        let key = authority.keyIdentifier
        if let known = signers[key] { return known }
        let isSigned = verify(by: authority)
        if !key.isEmpty, signers.count < Self.mostSigners { signers[key] = isSigned }
        return isSigned
    }

    private func verify(by authority: Certificate) -> Bool {
        var issuer: OpaquePointer? = unsafe authority.handle
        var status: UInt32 = 0
        // Dates and key usage are checked elsewhere.
        let flags = GNUTLS_VERIFY_DISABLE_CA_SIGN.rawValue | GNUTLS_VERIFY_ALLOW_SIGN_WITH_SHA1.rawValue
        let code = unsafe gnutls_x509_crl_verify(handle, &issuer, 1, flags, &status)
        let dates =
            GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED.rawValue | GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE.rawValue
        // GNUTLS_CERT_INVALID accompanies each of the other bits.
        let isOnlyDated = status & dates != 0 && status & ~(dates | GNUTLS_CERT_INVALID.rawValue) == 0
        return code >= 0 && (status == 0 || isOnlyDated)
    }

    /// The CRL number without leading zeros; empty if absent.
    private static func number(of list: OpaquePointer) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: RevocationFloor.longestNumber)
        var count = bytes.count
        guard unsafe gnutls_x509_crl_get_number(list, &bytes, &count, nil) >= 0 else { return [] }
        return Array(bytes.prefix(count).drop { $0 == 0 })
    }

    /// Identifier of the issuer's key; empty if absent.
    private static func keyIdentifier(of list: OpaquePointer) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 128)
        var count = bytes.count
        guard unsafe gnutls_x509_crl_get_authority_key_id(list, &bytes, &count, nil) >= 0 else { return [] }
        return Array(bytes.prefix(count))
    }

    /// Extensions that may be critical: authorityKeyIdentifier, issuerAltName, cRLNumber.
    private static let harmless: Set<String> = ["2.5.29.35", "2.5.29.18", "2.5.29.20"]

    private static func scope(of list: OpaquePointer) -> (problem: String?, locations: [[UInt8]]) {
        var locations: [[UInt8]] = []
        var index: UInt32 = 0
        while true {
            var name = [CChar](repeating: 0, count: 128)
            var count = name.count
            var isCritical: UInt32 = 0
            let code = unsafe gnutls_x509_crl_get_extension_info(list, index, &name, &count, &isCritical)
            if code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return (nil, locations) }
            guard code >= 0 else { return ("cannot be used: it has an extension that cannot be read", []) }
            switch String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) {
            case "2.5.29.27": return ("cannot be used: it is a delta list, which says only what has changed", [])
            case "2.5.29.28":
                let value = unsafe [UInt8](fetching: { unsafe gnutls_x509_crl_get_extension_data2(list, index, &$0) })
                guard let point = IssuingDistributionPoint(der: value.span) else {
                    return ("cannot be used: its issuingDistributionPoint cannot be read", [])
                }
                if let problem = point.problem { return ("cannot be used: \(problem)", []) }
                locations = point.locations
            case let other where isCritical != 0 && !harmless.contains(other):
                return ("cannot be used: it has the critical extension \(other), which is not supported", [])
            default: break
            }
            index += 1
        }
    }
}

extension RevocationFloor {
    /// Such as `number 0x12 of 2026-11-24`.
    fileprivate var text: String {
        (number.isEmpty ? "that" : "number 0x\(hexadecimal(number))") + " of \(dateText(thisUpdate))"
    }
}

extension RevocationLists {
    /// SHA-256.
    static func digest(of bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: RevocationFloor.digestLength)
        return unsafe gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes, bytes.count, &digest) >= 0 ? digest : []
    }
}

extension Certificate {
    /// True if the key usage includes cRLSign, or there is no key usage.
    var maySignLists: Bool {
        var usage: UInt32 = 0
        let code = unsafe gnutls_x509_crt_get_key_usage(handle, &usage, nil)
        return code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE
            || (code >= 0 && usage & UInt32(GNUTLS_KEY_CRL_SIGN) != 0)
    }

    /// The URIs in cRLDistributionPoints.
    var distributionPoints: Set<[UInt8]> {
        var found: Set<[UInt8]> = []
        var index: UInt32 = 0
        while index < 64 {
            var bytes = [UInt8](repeating: 0, count: 1024)
            var count = bytes.count
            let code = unsafe gnutls_x509_crt_get_crl_dist_points(handle, index, &bytes, &count, nil, nil)
            if code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { break }
            if code == Int32(GNUTLS_SAN_URI.rawValue) { found.insert(Array(bytes.prefix(count))) }
            index += 1
        }
        return found
    }
}

extension [UInt8] {
    /// Copies what GnuTLS allocated, and frees the original; empty on failure.
    init(fetching fetch: (inout gnutls_datum_t) -> Int32) {
        var datum = unsafe gnutls_datum_t()
        guard unsafe fetch(&datum) >= 0 else {
            self = []
            return
        }
        defer { unsafe cgnutls_free(datum.data) }
        self = unsafe Array(UnsafeBufferPointer(start: datum.data, count: Int(datum.size)))
    }
}
