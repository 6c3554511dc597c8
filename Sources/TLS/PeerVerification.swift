internal import CGnuTLS
package import Handshake
internal import SigningWire
internal import System
internal import X509

/// The verification of a peer by its certificates: the chain, the name, then the rules of the settings. No DNS lookup
/// is made.
///
/// `check` runs before the signature in CertificateVerify is verified, so that the signature of an unknown peer costs
/// nothing. `accept` follows after that verification.
@safe final class PeerVerification {
    private enum Progress {
        case unchecked
        /// The certificate passed all checks; possession of its key is not proven.
        case checked(NewChain?)
        /// The peer has proven possession of the key, too.
        case verified
    }

    /// A chain that is to be added to the cache once the peer is accepted.
    private struct NewChain {
        let presented: [UInt8]
        let chain: [Certificate]
        let verdict: VerifiedChains.ChainVerdict
    }

    /// Borrowed from the handshake that owns this object.
    private let session: gnutls_session_t
    private let role: Role
    private let peerName: PeerName?
    private let isPeerNameOptional: Bool
    private let credentials: Credentials?
    private let sessionTags: SessionTags
    /// True if the request does not narrow the priorities.
    private let hasOwnPriorities: Bool
    private let applicationProtocol: ApplicationProtocol
    private let log: SessionLog

    private var progress = Progress.unchecked
    /// The peer's certificate, verified or not.
    private(set) var certificate: CertificateDescription?
    /// The peer's entry in the cache of verified chains.
    private(set) var knownPeer: VerifiedChains.Entry?
    /// Session tags that the peer's certificate earns, once it is verified.
    private(set) var tags: [String] = []
    private var ruleRemarks: [String] = []
    private var revocationRemarks: [String] = []

    init(
        of session: gnutls_session_t, _ role: Role, _ peerName: PeerName?, isPeerNameOptional: Bool,
        _ credentials: Credentials?, _ tags: SessionTags, hasOwnPriorities: Bool,
        _ applicationProtocol: ApplicationProtocol, _ log: SessionLog
    ) {
        unsafe self.session = session
        self.role = role
        self.peerName = peerName
        self.isPeerNameOptional = isPeerNameOptional
        self.credentials = credentials
        sessionTags = tags
        self.hasOwnPriorities = hasOwnPriorities
        self.applicationProtocol = applicationProtocol
        self.log = log
    }

    /// True after the peer's chain and its possession of the key were verified.
    var isVerified: Bool { if case .verified = progress { true } else { false } }

    /// Remarks for the log on a peer that is accepted.
    var remarks: [String] { ruleRemarks + revocationRemarks }

    /// Checks the peer's certificate. If no trust store is configured but digests are, the digests replace chain and
    /// name; dates are still checked.
    ///
    /// - Throws: The reason of the refusal.
    func check() throws(HandshakeFailure) {
        let presented = unsafe PresentedChain(of: session)
        let encoded = presented.encoded
        let now = Clock.unixTime()
        let usesCache = hasOwnPriorities && credentials?.verifiesByPin == false && !presented.isStapled
        let known = usesCache ? credentials?.verifiedChains.find(encoded, now: now) : nil
        knownPeer = known
        let chain = if let known { known.chain } else { try presented.affordable() }
        guard let leaf = chain.first else {
            // Otherwise the certificate is optional for a client: the kernel's exports decide (fs/nfsd/export.c).
            if let demand { throw HandshakeFailure(.certificateMissing, demand) }
            return
        }
        let summary = known?.summary ?? leaf.summary
        certificate = summary
        log(1, "the peer's certificate is \(leaf.subject), issued by \(leaf.issuer)")
        let rules = credentials?.rules ?? PeerRules()
        let verifiesByPin = credentials?.verifiesByPin ?? false
        let judged = verifiesByPin ? [leaf] : chain
        ruleRemarks = try credentials?.anchors.judgeKeys(of: judged, by: rules) ?? []
        var found: VerifiedChains.ChainVerdict?
        if verifiesByPin {
            try leaf.checkDates()
            // The configured digests are those of all clients of this server; the kernel expects one particular client.
            if role == .server, let peerName { try leaf.check(name: peerName) }
        } else {
            if known == nil { found = try verify(chain, summary, now: now) }
            for one in known?.coverage ?? found?.coverage ?? [] { try one.check(now: now) }
            revocationRemarks = known?.remarks ?? found?.remarks ?? []
            try checkName(leaf)
        }
        let peer: Role = role == .client ? .server : .client
        if known == nil { try credentials?.anchors.judgePurposes(of: judged, as: peer, by: rules) }
        if role == .client { try applicationProtocol.checkSelected() }
        if rules != PeerRules() || !sessionTags.tags.isEmpty {
            let facts = leaf.facts
            ruleRemarks += try rules.judge(facts, of: peer)
            if role == .server { tags = sessionTags.names(for: facts) }
        }
        progress = .checked(
            usesCache ? found.map { NewChain(presented: encoded, chain: chain, verdict: $0) } : nil)
    }

    /// Accepts a peer that has proven possession of the key of its certificate. A peer without a certificate is checked
    /// here.
    func accept() throws(HandshakeFailure) {
        if case .unchecked = progress { try check() }
        guard case .checked(let new) = progress else { return }
        progress = .verified
        guard let new, let credentials else { return }
        let now = Clock.unixTime()
        credentials.verifiedChains.note(new.presented, new.chain, new.verdict, now: now)
        knownPeer = credentials.verifiedChains.find(new.presented, now: now)
    }

    /// Reason why the peer must present a certificate, as a clause of the log line that may be empty; `nil` if it need
    /// not.
    var demand: String? {
        if role == .client { return "" }
        if peerName != nil { return "the kernel says which peer it expects" }
        return credentials?.rules.requiresCertificate == true ? "x509.require=yes" : nil
    }

    /// Verifies the chain up to an authority of the trust store, and its revocation status.
    private func verify(
        _ chain: [Certificate], _ summary: CertificateDescription, now: Int64
    ) throws(HandshakeFailure) -> VerifiedChains.ChainVerdict? {
        guard let credentials else { throw HandshakeFailure(.roleNotConfigured) }
        let found = try credentials.follow(chain, now: now) { (candidate) throws(HandshakeFailure) in
            try libraryStatus(candidate, of: chain, credentials)
        }
        guard found.status == 0 else { throw CertificateJudgement(found.status, found).failure }
        try credentials.anchors.judgeConstraints(of: chain)
        let (covered, remarks) = try credentials.coverage(of: found)
        return VerifiedChains.ChainVerdict(
            summary: summary, coverage: covered, remarks: remarks, window: found.isAnchored ? found.window : nil)
    }

    /// GnuTLS's verification status of the presented chain, with the session's crypto policy and stapled responses.
    ///
    /// - Parameter candidate: a path to a single authority to verify against; `nil` for the whole trust store.
    private func libraryStatus(
        _ candidate: ChainCandidate?, of chain: [Certificate], _ credentials: Credentials
    ) throws(HandshakeFailure) -> UInt32 {
        var alone: SingleAnchor?
        // GnuTLS looks the credentials up when it verifies. Afterwards they must be the role's again.
        defer {
            if alone != nil { _ = unsafe setCredentials(credentials.handle) }
        }
        if let candidate {
            let made = try HandshakeFailure.of(
                .libraryFailure, try SingleAnchor(candidate.anchor, isSorted: candidate.begins(chain)))
            alone = made
            try GnuTLS.require(unsafe setCredentials(made.handle), "gnutls_credentials_set")
        }
        var status: UInt32 = 0
        let code = unsafe gnutls_certificate_verify_peers2(session, &status)
        guard code >= 0 else {
            throw PresentedChain.unreadable(GnuTLSError(code: code, call: "gnutls_certificate_verify_peers2"))
        }
        return status
    }

    private func setCredentials(_ credentials: gnutls_certificate_credentials_t) -> Int32 {
        unsafe gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials))
    }

    /// Checks that the peer's certificate contains the name that the kernel gave.
    private func checkName(_ leaf: Certificate) throws(HandshakeFailure) {
        if let peerName {
            try leaf.check(name: peerName)
        } else if role == .client, !isPeerNameOptional {
            throw HandshakeFailure(.peerNameMissing)
        }
    }
}

/// GnuTLS's verification status as a failure reason that names the certificate at fault.
package struct CertificateJudgement {
    /// Failure for the status.
    package let failure: HandshakeFailure

    /// - Parameter found: the path to the trust store as far as it is known. Only its certificates can be at fault.
    package init(_ status: UInt32, _ found: TrustedChain) {
        var reason = Self.reason(status)
        let chain = found.path
        guard let leaf = chain.first else {
            failure = HandshakeFailure(reason)
            return
        }
        let now = Clock.unixTime()
        let detail: String
        switch reason {
        case .certificateExpired:
            if let culprit = chain.first(where: { $0.notAfter < now }) {
                detail = "\(culprit.subject) expired on \(dateText(culprit.notAfter))"
            } else {
                reason = .trustAnchorExpired
                let anchor = found.anchor.map { "\($0.subject), which expired on \(dateText($0.notAfter))" }
                detail = "\(leaf.subject) was issued by \(anchor ?? "an authority that has expired")"
            }
        case .certificateNotYetValid:
            if let culprit = chain.first(where: { $0.notBefore > now }) {
                detail = "\(culprit.subject) is valid from \(dateText(culprit.notBefore)) on, today is \(dateText(now))"
            } else {
                detail = "an authority of \(leaf.subject) in the trust store is not yet valid"
            }
        case .certificateUnknownAuthority:
            // The missing link is the issuer of the last certificate in the path.
            let last = chain.last ?? leaf
            let start = last === leaf ? "" : "\(leaf.subject); "
            detail = "\(start)\(last.subject) is issued by \(last.issuer), which is not trusted"
        case .certificateInvalid: detail = "\(leaf.subject), issued by \(leaf.issuer): \(Self.text(status))"
        default: detail = "\(leaf.subject), issued by \(leaf.issuer)"
        }
        failure = HandshakeFailure(reason, detail)
    }

    /// Most serious first: if the authority is unknown, expiry is not reported.
    private static let order: [(gnutls_certificate_status_t, FailureReason)] = [
        (GNUTLS_CERT_REVOKED, .certificateRevoked),
        (GNUTLS_CERT_SIGNATURE_FAILURE, .certificateSignatureInvalid),
        (GNUTLS_CERT_SIGNER_NOT_FOUND, .certificateUnknownAuthority),
        (GNUTLS_CERT_SIGNER_NOT_CA, .certificateInvalid),
        (GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE, .certificateInvalid),
        (GNUTLS_CERT_UNKNOWN_CRIT_EXTENSIONS, .certificateInvalid),
        (GNUTLS_CERT_INSECURE_ALGORITHM, .certificateInsecureAlgorithm),
        (GNUTLS_CERT_EXPIRED, .certificateExpired),
        (GNUTLS_CERT_NOT_ACTIVATED, .certificateNotYetValid),
        (GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED, .certificateRevocationOutdated),
        (GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE, .certificateRevocationOutdated),
        (GNUTLS_CERT_PURPOSE_MISMATCH, .certificatePurposeMismatch),
        (GNUTLS_CERT_UNEXPECTED_OWNER, .certificateNameMismatch),
    ]

    private static func reason(_ status: UInt32) -> FailureReason {
        order.first { status & $0.0.rawValue != 0 }?.1 ?? .certificateInvalid
    }

    private static func text(_ status: UInt32) -> String {
        var datum = unsafe gnutls_datum_t()
        let code = unsafe gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &datum, 0)
        return code >= 0 ? unsafe String(taking: datum) : "status \(status)"
    }
}

extension Certificate {
    /// Checks that this certificate contains the name or address.
    fileprivate func check(name: PeerName) throws(HandshakeFailure) {
        guard !carries(name) else { return }
        let names = alternativeNames
        let carried = names.isEmpty ? "no subjectAltName" : names.map(\.description).joined(separator: ", ")
        throw HandshakeFailure(.certificateNameMismatch, "wanted \(name); \(subject) carries \(carried)")
    }

    /// Checks that this certificate is valid now. The rest of the chain is not checked.
    fileprivate func checkDates() throws(HandshakeFailure) {
        let now = Clock.unixTime()
        if notAfter >= 0, notAfter < now {
            throw HandshakeFailure(.certificateExpired, "\(subject) expired on \(dateText(notAfter))")
        }
        if notBefore > now {
            throw HandshakeFailure(
                .certificateNotYetValid,
                "\(subject) is valid from \(dateText(notBefore)) on, today is \(dateText(now))")
        }
    }
}
