internal import CGnuTLS
package import Handshake
internal import SigningWire
internal import System
internal import TLSWire
internal import Wire
package import X509

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

    /// Texts of the statuses that `certificateInvalid` covers.
    private static let texts: [(gnutls_certificate_status_t, String)] = [
        (GNUTLS_CERT_SIGNER_NOT_CA, "an issuer in its chain is not an authority"),
        (
            GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE,
            "an authority of its chain does not permit it (path length or name constraints)"
        ),
        (
            GNUTLS_CERT_UNKNOWN_CRIT_EXTENSIONS,
            "a certificate of its chain has a critical extension that GnuTLS does not know"
        ),
        (GNUTLS_CERT_MISSING_OCSP_STATUS, "it demands an OCSP response (must-staple), and the peer sent none"),
        (GNUTLS_CERT_INVALID_OCSP_STATUS, "the OCSP response that the peer sent for it is not valid"),
    ]

    private static func text(_ status: UInt32) -> String {
        if let text = texts.first(where: { status & $0.0.rawValue != 0 })?.1 { return text }
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

/// Fields of a certificate for the rules of the settings and for session tags.
extension Certificate {
    /// Fields of the certificate that rules of the settings and session tags match.
    package var facts: CertificateFacts {
        var facts = CertificateFacts()
        facts.subject = subject
        facts.issuer = issuer
        facts.names = alternativeNames
        facts.serialNumber = unsafe Self.bytes { unsafe gnutls_x509_crt_get_serial(handle, $0, $1) }
        facts.version = Int(unsafe gnutls_x509_crt_get_version(handle))
        let algorithm = gnutls_sign_algorithm_t(
            UInt32(bitPattern: unsafe gnutls_x509_crt_get_signature_algorithm(handle)))
        // A string constant of the library.
        facts.signatureAlgorithm = unsafe gnutls_sign_get_name(algorithm).map { unsafe String(cString: $0) } ?? ""
        facts.signatureAlgorithmIdentifier = unsafe Self.text {
            unsafe gnutls_x509_crt_get_signature_oid(handle, $0, $1)
        }
        facts.notBefore = notBefore
        facts.notAfter = notAfter
        facts.keyUsage = keyUsage
        facts.purposes = purposes
        facts.sha1 = fingerprint(GNUTLS_DIG_SHA1)
        facts.sha256 = fingerprint(GNUTLS_DIG_SHA256)
        facts.keySHA256 = keyIdentifier
        return facts
    }

    /// All entries of subjectAltName, up to 100.
    package var alternativeNames: [AlternativeName] {
        var found: [AlternativeName] = []
        for index in 0..<UInt32(100) {
            var bytes = [UInt8](repeating: 0, count: 1024)
            var count = bytes.count
            let kind = unsafe gnutls_x509_crt_get_subject_alt_name(handle, index, &bytes, &count, nil)
            if kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return found }
            guard kind >= 0 else {
                found.append(.other)
                continue
            }
            let value = Array(bytes.prefix(count))
            let text = String(decoding: value, as: UTF8.self)
            switch gnutls_x509_subject_alt_name_t(UInt32(kind)) {
            case GNUTLS_SAN_DNSNAME: found.append(.dns(text))
            case GNUTLS_SAN_IPADDRESS: found.append(NetworkAddress(binary: value).map { .address($0) } ?? .other)
            case GNUTLS_SAN_URI: found.append(.uri(text))
            case GNUTLS_SAN_RFC822NAME: found.append(.email(text))
            default: found.append(.other)
            }
        }
        return found
    }

    /// Key usage bits (RFC 5280 §4.2.1.3). GnuTLS puts the first eight into the low byte and decipherOnly into the
    /// second.
    private var keyUsage: KeyUsage? {
        var bits: UInt32 = 0
        guard unsafe gnutls_x509_crt_get_key_usage(handle, &bits, nil) >= 0 else { return nil }
        var usage: UInt16 = bits & UInt32(GNUTLS_KEY_DECIPHER_ONLY) != 0 ? 1 << 8 : 0
        for bit in 0..<8 where bits & (0x80 >> UInt32(bit)) != 0 { usage |= 1 << UInt16(bit) }
        return KeyUsage(rawValue: usage)
    }

    /// Reason why the key may not sign handshakes, with its remedy; `nil` if it may (RFC 5280 §4.2.1.3).
    package var signingProblem: (text: String, remedy: String)? {
        if algorithm == GNUTLS_PK_DSA {
            return (
                "\(subject) has a DSA key, which TLS 1.3 does not have", "reissue it with an ECDSA, RSA or EdDSA key"
            )
        }
        guard let keyUsage, !keyUsage.contains(.digitalSignature) else { return nil }
        return (
            "the key usage of \(subject) has no digitalSignature, without which its key may not sign TLS 1.3 handshakes",
            "reissue it with the key usage digitalSignature"
        )
    }

    /// Reason why peers may refuse this certificate from tlshd, which staples nothing, with its remedy; `nil` if it
    /// demands no OCSP response (RFC 7633).
    package var staplingProblem: (text: String, remedy: String)? {
        guard demandsStapling else { return nil }
        return (
            "\(subject) demands an OCSP response (must-staple), which tlshd never sends: peers that check it refuse the "
                + "certificate", "reissue it without the TLS feature extension"
        )
    }

    private var demandsStapling: Bool {
        var features: gnutls_x509_tlsfeatures_t?
        guard unsafe gnutls_x509_tlsfeatures_init(&features) >= 0, let features = unsafe features else { return false }
        defer { unsafe gnutls_x509_tlsfeatures_deinit(features) }
        guard unsafe gnutls_x509_crt_get_tlsfeatures(handle, features, 0, nil) >= 0 else { return false }
        var index: UInt32 = 0, feature: UInt32 = 0
        while unsafe gnutls_x509_tlsfeatures_get(features, index, &feature) >= 0 {
            // status_request, and status_request_v2.
            if feature == 5 || feature == 17 { return true }
            index += 1
        }
        return false
    }

    /// Object identifiers in extendedKeyUsage, dotted; empty if the extension cannot be read, `nil` if it is absent.
    var purposes: [String]? {
        guard has(extension: "2.5.29.37") else { return nil }
        var found: [String] = []
        for index in 0..<UInt32(64) {
            let text = unsafe Self.text { unsafe gnutls_x509_crt_get_key_purpose_oid(handle, index, $0, $1, nil) }
            guard !text.isEmpty else { break }
            found.append(text)
        }
        return found
    }

    /// Returns `true` if the extension is present, whatever it contains.
    func has(extension identifier: String) -> Bool {
        var count = 0
        let code = unsafe gnutls_x509_crt_get_extension_by_oid(handle, identifier, 0, nil, &count, nil)
        return code != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE
    }

    private func fingerprint(_ algorithm: gnutls_digest_algorithm_t) -> [UInt8] {
        unsafe Self.bytes { unsafe gnutls_x509_crt_get_fingerprint(handle, algorithm, $0, $1) }
    }

    /// Bytes that a GnuTLS function writes into a buffer; empty if it fails.
    private static func bytes(_ fill: (UnsafeMutableRawPointer?, UnsafeMutablePointer<Int>) -> Int32) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 256)
        var count = buffer.count
        let code = unsafe buffer.withUnsafeMutableBytes { unsafe fill($0.baseAddress, &count) }
        return code >= 0 ? Array(buffer.prefix(count)) : []
    }

    /// Text that a GnuTLS function writes into a buffer. Some functions count the final NUL, which is cut off.
    private static func text(_ fill: (UnsafeMutablePointer<CChar>?, UnsafeMutablePointer<Int>) -> Int32) -> String {
        let raw = unsafe bytes { unsafe fill($0?.assumingMemoryBound(to: CChar.self), $1) }
        return String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
    }
}

extension Certificate {
    /// Returns `true` if the certificate contains the name or address (RFC 9110 §4.3.4, RFC 6125 §6.4). The common name
    /// counts only if there is no subjectAltName at all; GnuTLS alone would accept it beside some types of names.
    package func carries(_ name: PeerName) -> Bool {
        switch name {
        case .dns(let text):
            unsafe (!hasAlternativeNames || hasDNSName) && gnutls_x509_crt_check_hostname2(handle, text, 0) != 0
        // Name constraints for these addresses are checked by `judgeConstraints`.
        case .address(let address): carries(address.bytes) || alternativeNames.contains(.address(address))
        }
    }

    /// Returns `true` if the name constraints of this authority (RFC 5280 §4.2.1.10) permit the address, or if it has
    /// none.
    func mayVouch(for address: NetworkAddress) -> Bool {
        var made: OpaquePointer?
        guard unsafe gnutls_x509_name_constraints_init(&made) >= 0, let constraints = unsafe made else { return false }
        defer { unsafe gnutls_x509_name_constraints_deinit(constraints) }
        let code = unsafe gnutls_x509_crt_get_name_constraints(handle, constraints, 0, nil)
        if code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return true }
        return unsafe address.bytes.withUnsafeBytes { raw in
            var datum = unsafe gnutls_datum_t(borrowing: raw)
            return unsafe code >= 0
                && gnutls_x509_name_constraints_check(constraints, GNUTLS_SAN_IPADDRESS, &datum) != 0
        }
    }

    private func carries(_ address: [UInt8]) -> Bool {
        unsafe gnutls_x509_crt_check_ip(handle, address, UInt32(address.count), 0) != 0
    }

    /// True if the extension subjectAltName is present (RFC 5280 §4.2.1.6).
    package var hasAlternativeNames: Bool { has(extension: "2.5.29.17") }

    /// True if it has a DNS name of a length that DNS allows and GnuTLS compares.
    private var hasDNSName: Bool {
        var text = [UInt8](repeating: 0, count: 256)
        for index in 0..<UInt32.max {
            var count = text.count
            let kind = unsafe gnutls_x509_crt_get_subject_alt_name(handle, index, &text, &count, nil)
            if kind == Int32(GNUTLS_SAN_DNSNAME.rawValue) { return true }
            guard kind >= 0 || kind == GNUTLS_E_SHORT_MEMORY_BUFFER else { return false }
        }
        return false
    }
}
