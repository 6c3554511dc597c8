internal import CGnuTLS
package import Handshake
package import X509

/// A path from a peer's certificate to an authority of the trust store.
package struct ChainCandidate {
    /// The leaf first, then each one's issuer.
    package let path: [Certificate]
    /// Issuer of the last certificate; in the trust store.
    package let anchor: Certificate

    /// Maximum number of paths that are tried. Each costs one signature verification.
    static let most = 8
    /// Maximum number of certificates in a path. GnuTLS has the same limit.
    private static let longest = 16

    /// All paths, shortest first: a path ends at the first certificate whose issuer is in the store, or at a later one
    /// if that issuer is not suitable.
    static func all(in chain: [Certificate], _ anchors: TrustAnchors) -> [ChainCandidate] {
        var path = Array(chain.prefix(1))
        var rest = chain.dropFirst()
        var found: [ChainCandidate] = []
        while let last = path.last, found.count < most {
            for anchor in anchors.issuers(of: last).prefix(most - found.count) {
                found.append(ChainCandidate(path: path, anchor: anchor))
            }
            guard !last.isSelfIssued, path.count < longest, let next = rest.firstIndex(where: { last.isIssued(by: $0) })
            else { break }
            path.append(rest.remove(at: next))
        }
        return found
    }

    /// True if the anchor's key has signed the last certificate of the path. Nothing else is checked.
    var isSigned: Bool {
        guard let last = path.last else { return false }
        var issuer: OpaquePointer? = unsafe anchor.handle
        var status: UInt32 = 0
        let flags = GNUTLS_VERIFY_DISABLE_TIME_CHECKS.rawValue | GNUTLS_VERIFY_DO_NOT_ALLOW_SAME.rawValue
        let code = unsafe gnutls_x509_crt_verify(last.handle, &issuer, 1, flags, &status)
        let unsigned = GNUTLS_CERT_SIGNATURE_FAILURE.rawValue | GNUTLS_CERT_SIGNER_NOT_FOUND.rawValue
        return code >= 0 && status & unsigned == 0
    }

    /// Returns `true` if the peer sent more than the path and a root above it.
    func leavesOut(of chain: [Certificate]) -> Bool {
        let others = chain.dropFirst(path.count)
        return others.count > 1 || !(others.first?.isSelfIssued ?? true)
    }

    /// Returns `true` if the chain starts with the path, in order.
    func begins(_ chain: [Certificate]) -> Bool { zip(path, chain).allSatisfy { $0 === $1 } }
}

/// Result of verifying a chain: GnuTLS's status, and the path to the trust store.
package struct TrustedChain {
    struct Link {
        let certificate: Certificate
        let issuer: Certificate
    }

    /// GNUTLS_CERT_*; 0 if the chain is valid.
    package let status: UInt32
    /// The leaf first, up to the anchor; the whole presented chain if no path is known.
    let path: [Certificate]
    /// Authority of the trust store that issued the last certificate of the path; `nil` if there is none.
    let anchor: Certificate?
    /// True if the path is known: through `anchor`, or because the leaf itself is in the store.
    let isAnchored: Bool

    init(status: UInt32, path: [Certificate], anchor: Certificate?, isAnchored: Bool? = nil) {
        self.status = status
        self.path = path
        self.anchor = anchor
        self.isAnchored = isAnchored ?? (anchor != nil)
    }

    /// Each certificate with its issuer, leaf first.
    var links: [Link] {
        zip(path, path.dropFirst() + [anchor].compactMap(\.self)).map { Link(certificate: $0, issuer: $1) }
    }

    /// Time during which all participating certificates are valid; `nil` if there is none.
    var window: ClosedRange<Int64>? {
        let ranges = (path + [anchor].compactMap(\.self)).map(\.validity)
        let start = ranges.map(\.lowerBound).max() ?? .min, end = ranges.map(\.upperBound).min() ?? .max
        return start <= end ? start...end : nil
    }
}

extension Credentials {
    /// Verifies a chain and finds its path to the trust store.
    ///
    /// GnuTLS verifies it first, with the whole store. It considers only one authority per name, and does not always
    /// cut a chain at the first certificate that the store trusts. So a chain that it refuses is verified again with
    /// only the authority whose key has signed. At most `ChainCandidate.most` signatures are verified to find that
    /// authority.
    ///
    /// - Parameter verify: lets GnuTLS verify the chain, with the whole trust store or with a single authority.
    package func follow<Failure: Error>(
        _ chain: [Certificate], now: Int64, _ verify: (ChainCandidate?) throws(Failure) -> UInt32
    ) throws(Failure) -> TrustedChain {
        let status = try verify(nil)
        guard let leaf = chain.first, status == 0 || status & Self.final == 0 else {
            return TrustedChain(status: status, path: chain, anchor: nil)
        }
        if status == 0, anchors.contains(leaf) {
            return TrustedChain(status: 0, path: [leaf], anchor: nil, isAnchored: true)
        }
        let candidates = ChainCandidate.all(in: chain, anchors)
        guard let first = candidates.first else { return TrustedChain(status: status, path: chain, anchor: nil) }
        let isOnly = candidates.count == 1
        if isOnly, status == 0 || !first.leavesOut(of: chain) {
            return TrustedChain(status: status, path: first.path, anchor: first.anchor)
        }
        // An expired authority is considered only if no other has signed.
        let isValid = { (candidate: ChainCandidate) in candidate.anchor.validity.contains(now) }
        let ordered = candidates.filter(isValid) + candidates.filter { !isValid($0) }
        guard let chosen = ordered.first(where: \.isSigned) else {
            return TrustedChain(status: status, path: first.path, anchor: status == 0 ? nil : first.anchor)
        }
        guard status != 0 else { return TrustedChain(status: 0, path: chosen.path, anchor: chosen.anchor) }
        var second = try verify(chosen)
        if second == 0, revocationLists?.revokes(chosen.path) == true {
            second = GNUTLS_CERT_REVOKED.rawValue | GNUTLS_CERT_INVALID.rawValue
        }
        return TrustedChain(status: second, path: chosen.path, anchor: chosen.anchor)
    }

    /// Checks that the revocation lists, if any, cover every certificate of a verified chain.
    package func coverage(of found: TrustedChain) throws(HandshakeFailure) -> (
        covered: [RevocationCoverage], remarks: [String]
    ) {
        guard let revocationLists else { return ([], []) }
        guard found.isAnchored else {
            throw HandshakeFailure(
                .certificateRevocationOutdated,
                "which authority issued \(found.path.last?.subject ?? "it") is not clear")
        }
        return try revocationLists.coverage(of: found.links, rules.missingList)
    }

    /// Failures that another path to the trust store cannot change.
    private static let final = GNUTLS_CERT_REVOKED.rawValue | GNUTLS_CERT_PURPOSE_MISMATCH.rawValue
}

/// Credentials that trust one authority and nothing else.
@safe final class SingleAnchor {
    /// Valid from init to deinit.
    let handle: gnutls_certificate_credentials_t

    /// - Parameter isSorted: if true, the chain ends at the first certificate that the authority issued. Otherwise
    ///   GnuTLS sorts the chain, which must then end at the authority.
    init(_ anchor: Certificate, isSorted: Bool) throws(GnuTLSError) {
        var made: gnutls_certificate_credentials_t?
        try GnuTLS.check(
            unsafe gnutls_certificate_allocate_credentials(&made), "gnutls_certificate_allocate_credentials")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "gnutls_certificate_allocate_credentials")
        }
        unsafe handle = made
        var authority: OpaquePointer? = unsafe anchor.handle
        // GnuTLS keeps a copy.
        let code = unsafe gnutls_certificate_set_x509_trust(made, &authority, 1)
        try GnuTLS.check(code, "gnutls_certificate_set_x509_trust")
        if isSorted {
            unsafe gnutls_certificate_set_verify_flags(made, GNUTLS_VERIFY_DO_NOT_ALLOW_UNSORTED_CHAIN.rawValue)
        }
    }

    deinit { unsafe gnutls_certificate_free_credentials(handle) }
}

/// The authorities of a trust store by name. They are kept as DER, because a parsed certificate takes about 20 kB and a
/// system's store has more than a hundred.
package final class TrustAnchors {
    private var encoded: [[UInt8]: [[UInt8]]] = [:]
    /// Their subjects and keys.
    private var known: Set<Identity> = []
    /// Authorities with an RSA key that is refused or warned about.
    private(set) var small: [Certificate] = []

    private struct Identity: Hashable {
        let subject: [UInt8]
        let key: [UInt8]

        init(_ certificate: Certificate) {
            subject = certificate.rawSubject
            key = certificate.keyIdentifier
        }
    }

    /// Reads the authorities of a trust store.
    init(of credentials: gnutls_certificate_credentials_t, _ rules: PeerRules) {
        var list: gnutls_x509_trust_list_t?
        // The list belongs to the credentials; the certificates are copies that we own.
        unsafe gnutls_certificate_get_trust_list(credentials, &list)
        var place: gnutls_x509_trust_list_iter_t?
        var handle: OpaquePointer?
        while unsafe gnutls_x509_trust_list_iter_get_ca(list, &place, &handle) >= 0 {
            guard let owned = unsafe handle else { break }
            let authority = unsafe Certificate(adopting: owned)
            encoded[authority.rawSubject, default: []].append(authority.encoded)
            known.insert(Identity(authority))
            if authority.hasSmallKey(rules) { small.append(authority) }
        }
        unsafe gnutls_x509_trust_list_iter_deinit(place)
    }

    /// Authorities with this subject (DER), whatever their keys; eight at most.
    func named(_ name: [UInt8]) -> [Certificate] {
        (encoded[name] ?? []).prefix(ChainCandidate.most).compactMap { try? Certificate(der: $0) }
    }

    /// Possible issuers of a certificate, by name and key identifiers. The certificate itself is excluded.
    func issuers(of certificate: Certificate) -> [Certificate] {
        named(certificate.rawIssuer).filter { certificate.isIssued(by: $0) && $0.encoded != certificate.encoded }
    }

    func contains(_ certificate: Certificate) -> Bool {
        encoded[certificate.rawSubject]?.contains(certificate.encoded) ?? false
    }

    /// Returns `true` if the trust store has an authority with this name and key. GnuTLS then checks neither this
    /// certificate nor those above it.
    private func knows(_ certificate: Certificate) -> Bool { known.contains(Identity(certificate)) }

    /// GnuTLS refuses longer chains.
    private static let longestChain = 16

    /// The certificates of a presented chain that can take part in its verification: the leaf, then each one's issuers
    /// up to the trust store. GnuTLS does not tell which of several issuers with one name it chooses, so all of them
    /// are included.
    private func participants(in chain: [Certificate]) -> [Certificate] {
        guard let leaf = chain.first, !knows(leaf) else { return Array(chain.prefix(1)) }
        var rest = chain.prefix(Self.longestChain).dropFirst()
        var found = [leaf]
        var index = 0
        while index < found.count {
            let issued = found[index]
            found += rest.filter { issued.isIssued(by: $0) && !knows($0) }
            rest.removeAll { issued.isIssued(by: $0) }
            index += 1
        }
        return found
    }

    /// Number of authorities that a warning names.
    private static let mostNamed = 3

    /// Warnings about the trust store when it is loaded.
    func warnings(_ rules: PeerRules) -> [String] {
        let named = small.prefix(Self.mostNamed).map { authority in
            let consequence = authority.isRefused(rules) ? "its peers are refused" : "less than \(PeerRules.soundRSA)"
            return "in the trust store \(authority.keySizeText): \(consequence)"
        }
        let others = small.count - named.count
        return others > 0
            ? named + [
                "\(others.counted("more authority of it has such a key", "more authorities of it have such keys"))"
            ] : named
    }

    /// Checks the extended key usages of a chain by the standard rule, which `enforce` includes.
    ///
    /// - Parameter peer: role of the owner of the chain.
    func judgePurposes(
        of chain: [Certificate], as peer: Role, by rules: PeerRules
    ) throws(HandshakeFailure) {
        guard [.standard, .enforce].contains(rules.purpose),
            chain.contains(where: { $0.missingPurpose(for: peer) != nil })
        else { return }
        for certificate in participants(in: chain) {
            guard let lack = certificate.missingPurpose(for: peer) else { continue }
            throw HandshakeFailure(.certificatePurposeMismatch, lack)
        }
    }

    /// Checks that name constraints permit the IPv4 addresses of the leaf. GnuTLS treats an IPv4-mapped IPv6 address as
    /// IPv6, which IPv4 constraints do not cover. GnuTLS does not tell which authorities took part in the verification,
    /// so all of them are checked.
    package func judgeConstraints(of chain: [Certificate]) throws(HandshakeFailure) {
        guard let leaf = chain.first else { return }
        let addresses = leaf.alternativeNames.compactMap { (name) -> NetworkAddress? in
            guard case .address(let address) = name, address.isIPv4 else { return nil }
            return address
        }
        guard !addresses.isEmpty else { return }
        for authority in chain.dropFirst() + chain.flatMap(issuers) {
            guard let address = addresses.first(where: { !authority.mayVouch(for: $0) }) else { continue }
            throw HandshakeFailure(
                .certificateInvalid,
                "\(leaf.subject) carries \(address), which the name constraints of \(authority.subject) do not allow")
        }
    }

    /// Checks the sizes of RSA keys in a chain, and of the authority that it ends at.
    ///
    /// - Returns: Remarks for the log line of an accepted peer.
    package func judgeKeys(of chain: [Certificate], by rules: PeerRules) throws(HandshakeFailure) -> [String] {
        guard !small.isEmpty || chain.contains(where: { $0.hasSmallKey(rules) }) else { return [] }
        let members = participants(in: chain)
        var smallOnes = members.filter { $0.hasSmallKey(rules) }
        for authority in small where members.contains(where: { $0.isIssued(by: authority) }) {
            if !smallOnes.contains(where: { Identity($0) == Identity(authority) }) { smallOnes.append(authority) }
        }
        if let refused = smallOnes.first(where: { $0.isRefused(rules) }) {
            throw HandshakeFailure(
                .certificateInsecureAlgorithm,
                "\(refused.keySizeText), and x509.rsa.minimum is \(rules.leastRSABits)")
        }
        return smallOnes.map { "\($0.keySizeText), less than \(PeerRules.soundRSA)" }
    }
}

extension Certificate {
    /// Subject, DER.
    var rawSubject: [UInt8] { unsafe [UInt8](fetching: { unsafe gnutls_x509_crt_get_raw_dn(handle, &$0) }) }
    /// Issuer, DER.
    var rawIssuer: [UInt8] { unsafe [UInt8](fetching: { unsafe gnutls_x509_crt_get_raw_issuer_dn(handle, &$0) }) }
    /// DER.
    var encoded: [UInt8] {
        unsafe [UInt8](fetching: { unsafe gnutls_x509_crt_export2(handle, GNUTLS_X509_FMT_DER, &$0) })
    }

    /// Validity period, both ends included (RFC 5280 §4.1.2.5). If a date cannot be read, it is one second in 1970.
    var validity: ClosedRange<Int64> {
        let start = notBefore, end = notAfter
        return start >= 0 && end >= start ? start...end : 0...0
    }

    /// Reason why its extended key usages do not allow a role; `nil` if they do.
    package func missingPurpose(for role: Role) -> String? {
        guard let purposes, !Purpose.allow(purposes, role) else { return nil }
        let names = purposes.isEmpty ? "nothing that can be read" : purposes.map(Purpose.name).joined(separator: ", ")
        return "\(subject) is for \(names), not for a \(role)"
    }

    /// Returns `true` if its RSA key is so small that it is refused or warned about.
    package func hasSmallKey(_ rules: PeerRules) -> Bool {
        rsaBits.map { $0 < max(Int(rules.leastRSABits), Int(PeerRules.soundRSA)) } ?? false
    }

    /// Returns `true` if its RSA key is too small to be accepted.
    package func isRefused(_ rules: PeerRules) -> Bool { rsaBits.map { $0 < Int(rules.leastRSABits) } ?? false }

    /// Such as `CN=a has an RSA key of 1024 bits`.
    package var keySizeText: String { "\(subject) has an RSA key of \(rsaBits ?? 0) bits" }
}

/// Cache of peer chains that were verified with these credentials' trust store and revocation lists, so that a
/// returning client needs no second verification.
///
/// It belongs to one generation of one role's credentials: trust store, revocation lists and purpose are the same for
/// all entries. The key is the presented chain, byte for byte. Dates are checked on each use. Names are not cached, nor
/// are chains that failed or that came with a stapled OCSP response. One thread.
final class VerifiedChains {
    /// Result of verifying a chain.
    struct ChainVerdict {
        let summary: CertificateDescription
        let coverage: [RevocationCoverage]
        /// Remarks for the log on an accepted peer.
        let remarks: [String]
        let window: ClosedRange<Int64>?
    }

    /// A chain that was verified.
    final class Entry {
        /// The presented chain, leaf first.
        let chain: [Certificate]
        /// Description of the leaf.
        let summary: CertificateDescription
        /// Revocation coverage of the chain. The lists do not change during the lifetime of the cache.
        let coverage: [RevocationCoverage]
        let remarks: [String]
        /// Last time that this server had the full time to refuse us and did not; CLOCK_MONOTONIC nanoseconds.
        var acceptedUsAt: UInt64?
        /// Last time that this server refused our certificate; CLOCK_MONOTONIC nanoseconds.
        var refusedUsAt: UInt64?
        /// Period during which all participating certificates are valid, the authority of the trust store included;
        /// seconds since 1970-01-01T00:00:00Z.
        fileprivate let window: ClosedRange<Int64>

        fileprivate init(_ chain: [Certificate], _ verdict: ChainVerdict, _ window: ClosedRange<Int64>) {
            self.chain = chain
            summary = verdict.summary
            coverage = verdict.coverage
            remarks = verdict.remarks
            self.window = window
        }
    }

    /// Maximum number of entries. A parsed certificate takes about 20 kB, so a full cache takes 5 MB of a worker.
    static let limit = 256
    /// Maximum size of a cached chain in bytes. Longer ones are verified each time.
    static let longestChain = 16_384

    private let limit: Int
    private var entries: [[UInt8]: Entry] = [:]
    /// The keys in order of insertion; a ring buffer once it is full.
    private var order: [[UInt8]] = []
    private var oldest = 0

    init(limit: Int = VerifiedChains.limit) {
        self.limit = limit
    }

    var count: Int { entries.count }

    /// The entry of a chain; `nil` if a certificate has expired, so that GnuTLS reports which.
    func find(_ presented: [UInt8], now: Int64) -> Entry? {
        guard let entry = entries[presented], entry.window.contains(now) else { return nil }
        return entry
    }

    /// Adds a chain that was just verified.
    func note(_ presented: [UInt8], _ chain: [Certificate], _ verdict: ChainVerdict, now: Int64) {
        guard limit > 0, presented.count <= Self.longestChain, entries[presented] == nil,
            let window = verdict.window, window.contains(now)
        else { return }
        if order.count < limit {
            order.append(presented)
        } else {
            entries[order[oldest]] = nil
            order[oldest] = presented
            oldest = (oldest + 1) % limit
        }
        entries[presented] = Entry(chain, verdict, window)
    }

    /// Removes all entries.
    func clear() {
        entries = [:]
        order = []
        oldest = 0
    }
}

extension Credentials {
    /// Clears the cache, so that every chain is verified anew; for benchmarks.
    package func forgetVerifiedChains() { verifiedChains.clear() }
}
