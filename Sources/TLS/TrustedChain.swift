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
