internal import CGnuTLS
internal import Handshake

/// A way from a peer's certificate to an authority of the trust store.
struct ChainCandidate {
    /// The peer's certificate first, then each one's issuer.
    let path: [Certificate]
    /// The issuer of the last; in the trust store.
    let anchor: Certificate

    /// How many ways are tried, each with one signature.
    static let most = 8
    /// Certificates of a path; the library looks at no more.
    private static let longest = 16

    /// All ways, the shortest first: a chain ends at the first certificate whose issuer the store trusts, and at a
    /// later one where that issuer will not do.
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

    /// Whether the anchor's key has signed the last certificate of the path. Nothing else is asked.
    var isSigned: Bool {
        guard let last = path.last else { return false }
        var issuer: OpaquePointer? = unsafe anchor.handle
        var status: UInt32 = 0
        let flags = GNUTLS_VERIFY_DISABLE_TIME_CHECKS.rawValue | GNUTLS_VERIFY_DO_NOT_ALLOW_SAME.rawValue
        let code = unsafe gnutls_x509_crt_verify(last.handle, &issuer, 1, flags, &status)
        let unsigned = GNUTLS_CERT_SIGNATURE_FAILURE.rawValue | GNUTLS_CERT_SIGNER_NOT_FOUND.rawValue
        return code >= 0 && status & unsigned == 0
    }

    /// Whether the peer sent more than the path and a root above it.
    func leavesOut(of chain: [Certificate]) -> Bool {
        let others = chain.dropFirst(path.count)
        return others.count > 1 || !(others.first?.isSelfIssued ?? true)
    }

    /// Whether the peer sent the path in its order.
    func begins(_ chain: [Certificate]) -> Bool { zip(path, chain).allSatisfy { $0 === $1 } }
}

/// What was found of a chain: what the library says of it, and how it leads to the trust store.
struct TrustedChain {
    struct Link {
        let certificate: Certificate
        let issuer: Certificate
    }

    /// GNUTLS_CERT_*; 0 for a chain that is good.
    let status: UInt32
    /// The peer's certificate first, up to the anchor; all that were presented where none is known.
    let path: [Certificate]
    /// The authority of the trust store that issued the last of the path; `nil` where none did.
    let anchor: Certificate?
    /// Whether it is known how it leads there: through `anchor`, or because the peer's own certificate is in the store.
    let isAnchored: Bool

    init(status: UInt32, path: [Certificate], anchor: Certificate?, isAnchored: Bool? = nil) {
        self.status = status
        self.path = path
        self.anchor = anchor
        self.isAnchored = isAnchored ?? (anchor != nil)
    }

    /// Each certificate with its issuer, the peer's own first.
    var links: [Link] {
        zip(path, path.dropFirst() + [anchor].compactMap(\.self)).map { Link(certificate: $0, issuer: $1) }
    }

    /// When all that took part are valid; `nil` where there is no such time.
    var window: ClosedRange<Int64>? {
        let ranges = (path + [anchor].compactMap(\.self)).map(\.validity)
        let start = ranges.map(\.lowerBound).max() ?? .min, end = ranges.map(\.upperBound).min() ?? .max
        return start <= end ? start...end : nil
    }
}

extension Credentials {
    /// Finds whether and how a chain leads to the trust store.
    ///
    /// The library verifies it first, with the whole store. It takes one authority of a name only, and does not cut
    /// every chain where the store trusts one of it, so that a chain that it refuses is verified once more with the one
    /// authority whose key has signed. At most `ChainCandidate.most` signatures are looked at to find that.
    ///
    /// - Parameter verify: has the library verify the chain, with the whole trust store or one authority alone.
    func follow<Failure: Error>(
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
        // An authority that is out of date counts where no other has signed.
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

    /// Whether the revocation lists speak of every certificate of a chain that was verified, where there are lists.
    func coverage(of found: TrustedChain) throws(HandshakeFailure) -> (covered: [RevocationCoverage], remarks: [String])
    {
        guard let revocationLists else { return ([], []) }
        guard found.isAnchored else {
            throw HandshakeFailure(
                .certificateRevocationOutdated,
                "which authority issued \(found.path.last?.subject ?? "it") is not clear")
        }
        return try revocationLists.coverage(of: found.links, rules.missingList)
    }

    /// What no other way to the trust store would change.
    private static let final = GNUTLS_CERT_REVOKED.rawValue | GNUTLS_CERT_PURPOSE_MISMATCH.rawValue
}

/// Credentials that trust one authority and nothing else.
@safe final class LoneAnchor {
    /// Valid from init to deinit.
    let handle: gnutls_certificate_credentials_t

    /// - Parameter isSorted: whether the chain is to end at the first certificate that the authority issued; otherwise
    ///   the library puts it in order, and it must end there.
    init(_ anchor: Certificate, isSorted: Bool) throws(GnuTLSError) {
        var made: gnutls_certificate_credentials_t?
        try GnuTLS.check(
            unsafe gnutls_certificate_allocate_credentials(&made), "gnutls_certificate_allocate_credentials")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "gnutls_certificate_allocate_credentials")
        }
        unsafe handle = made
        var authority: OpaquePointer? = unsafe anchor.handle
        // The library keeps a copy.
        let code = unsafe gnutls_certificate_set_x509_trust(made, &authority, 1)
        try GnuTLS.check(code, "gnutls_certificate_set_x509_trust")
        if isSorted {
            unsafe gnutls_certificate_set_verify_flags(made, GNUTLS_VERIFY_DO_NOT_ALLOW_UNSORTED_CHAIN.rawValue)
        }
    }

    deinit { unsafe gnutls_certificate_free_credentials(handle) }
}
