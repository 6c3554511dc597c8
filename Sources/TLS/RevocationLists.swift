internal import CGnuTLS
internal import Handshake
internal import Wire

/// The CRLs of a role. The library looks serial numbers up in its own copies; that a list is out of date, that it is
/// not its issuer's, or that there is none, it overlooks, so we do not.
@safe final class RevocationLists {
    let lists: [RevocationList]
    /// Those of the lists, as the library takes them. Owned; valid from init to deinit.
    let handles: UnsafeMutableBufferPointer<OpaquePointer?>

    /// Reads all CRLs of a file; none is an error, and so is one that does not speak of all certificates of its issuer.
    init(_ file: PEMFile) throws(PEMProblem) {
        let found = try unsafe file.read(.revocationList) { (block) throws(GnuTLSError) in
            try unsafe RevocationList(block)
        }
        guard !found.isEmpty else { throw PEMProblem(place: "it", text: "holds no revocation list") }
        guard found.count <= RevocationFloor.most else {
            throw PEMProblem(place: "it", text: "holds more than \(RevocationFloor.most) revocation lists")
        }
        for (list, place) in found {
            if let problem = list.problem { throw PEMProblem(place: "\(place) of \(list.issuer)", text: problem) }
        }
        lists = found.map(\.value)
        let memory = UnsafeMutableBufferPointer<OpaquePointer?>.allocate(capacity: lists.count)
        _ = unsafe memory.initialize(from: lists.map { unsafe Optional($0.handle) })
        unsafe handles = memory
    }

    deinit { unsafe handles.deallocate() }

    /// When the first of them goes out of date, in seconds since 1970-01-01T00:00:00Z; `nil` if none says so.
    var nextUpdate: Int64? { lists.compactMap(\.nextUpdate).min() }

    /// Why a list that names an authority of the trust store as its issuer is not believed; `nil` where there is none.
    /// The library looks at no list's signature, and lists come over connections that others can change. One whose
    /// issuer is not among `anchors` is looked at when a peer presents its issuer.
    func problem(with anchors: TrustAnchors) -> String? {
        for list in lists {
            let named = anchors.named(list.rawIssuer)
            // An authority that was renewed may be there with both its keys.
            guard let first = named.first, !named.contains(where: { list.isBelieved(by: $0) }) else { continue }
            return named.contains { list.isSigned(by: $0) }
                ? "\(first.subject) of the trust store may not sign lists, as its key usage lacks cRLSign"
                : "\(first.subject) of the trust store has not signed it"
        }
        return nil
    }

    /// Why these lists would be a step back behind what was in force; `nil` where they are not.
    func problem(with floors: [RevocationFloor]) -> String? {
        for list in lists {
            // Of an authority's lists the newest counts.
            guard let floor = floors.first(where: { $0.issuer == list.floor.issuer }),
                !lists.contains(where: { !$0.floor.isOlder(than: floor) && $0.floor.issuer == floor.issuer })
            else { continue }
            return "the list of \(list.issuer), \(list.floor.text), is older than the one that was in force, "
                + floor.text + "; if that one was not genuine, restart tlshd"
        }
        return nil
    }

    /// Of each issuer the newest.
    var floors: [RevocationFloor] {
        var newest: [RevocationFloor] = []
        for floor in lists.map(\.floor) { floor.raise(&newest) }
        return newest
    }

    /// Whether one of the certificates is on a list of its issuer's, genuine or not.
    func revokes(_ certificates: [Certificate]) -> Bool {
        certificates.contains { certificate in
            unsafe gnutls_x509_crt_check_revocation(certificate.handle, handles.baseAddress, UInt32(handles.count)) == 1
        }
    }

    /// What the lists say of a chain that was verified.
    ///
    /// - Returns: one for each certificate whose issuer has a list, and what is to be said though the peer is let in.
    /// - Throws: which certificate no list speaks of.
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

/// Until when a certificate's revocation is known.
struct RevocationCoverage {
    let subject: String
    let issuer: String
    /// Seconds since 1970-01-01T00:00:00Z.
    let until: Int64

    /// - Throws: where it is over.
    func check(now: Int64) throws(HandshakeFailure) {
        guard until < now else { return }
        throw HandshakeFailure(
            .certificateRevocationOutdated, "\(subject): the list of \(issuer) expired on \(dateText(until))")
    }
}

/// One CRL.
@safe final class RevocationList {
    /// Valid from init to deinit.
    let handle: OpaquePointer
    /// RFC 4514 text.
    let issuer: String
    let rawIssuer: [UInt8]
    /// Seconds since 1970-01-01T00:00:00Z; negative where it does not say.
    let thisUpdate: Int64
    /// Seconds since 1970-01-01T00:00:00Z; `nil` where it does not say.
    let nextUpdate: Int64?
    let floor: RevocationFloor
    /// Why it cannot tell that a certificate is not revoked.
    let problem: String?
    /// Where it speaks only of certificates that name one of these places.
    private let locations: [[UInt8]]
    /// Whether the key with this identifier has signed it, of those that were tried.
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

    /// Whether it is of this certificate's issuer, by its name, and for certificates like it.
    func speaks(of certificate: Certificate) -> Bool {
        guard rawIssuer == certificate.rawIssuer else { return false }
        return locations.isEmpty || !certificate.distributionPoints.isDisjoint(with: locations)
    }

    /// Whether this authority has signed it and may (RFC 5280 §6.3.3); one without key usage may sign anything.
    func isBelieved(by authority: Certificate) -> Bool { authority.maySignLists && isSigned(by: authority) }

    /// Whether the signature is this authority's.
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
        // Dates and key usage are looked at elsewhere.
        let flags = GNUTLS_VERIFY_DISABLE_CA_SIGN.rawValue | GNUTLS_VERIFY_ALLOW_SIGN_WITH_SHA1.rawValue
        let code = unsafe gnutls_x509_crl_verify(handle, &issuer, 1, flags, &status)
        let dates =
            GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED.rawValue | GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE.rawValue
        // GNUTLS_CERT_INVALID stands beside each of the others.
        let isOnlyDated = status & dates != 0 && status & ~(dates | GNUTLS_CERT_INVALID.rawValue) == 0
        return code >= 0 && (status == 0 || isOnlyDated)
    }

    /// The CRL number, without zeros in front; empty where it has none.
    private static func number(of list: OpaquePointer) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: RevocationFloor.longestNumber)
        var count = bytes.count
        guard unsafe gnutls_x509_crl_get_number(list, &bytes, &count, nil) >= 0 else { return [] }
        return Array(bytes.prefix(count).drop { $0 == 0 })
    }

    /// Of the issuer's key; empty where the list does not say.
    private static func keyIdentifier(of list: OpaquePointer) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 128)
        var count = bytes.count
        guard unsafe gnutls_x509_crl_get_authority_key_id(list, &bytes, &count, nil) >= 0 else { return [] }
        return Array(bytes.prefix(count))
    }

    /// Extensions that may be critical: the authority's key identifier, the issuer's other names, the number.
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
                return ("cannot be used: it has the critical extension \(other), which is not known here", [])
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
    /// Whether its key usage allows it to sign revocation lists; without key usage it does.
    var maySignLists: Bool {
        var usage: UInt32 = 0
        let code = unsafe gnutls_x509_crt_get_key_usage(handle, &usage, nil)
        return code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE
            || (code >= 0 && usage & UInt32(GNUTLS_KEY_CRL_SIGN) != 0)
    }

    /// The URIs of its cRLDistributionPoints.
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
    /// Copies what the library allocated, and frees it; empty where it made nothing.
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
