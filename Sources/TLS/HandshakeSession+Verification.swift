internal import CGnuTLS
internal import Glibc
internal import Handshake

extension HandshakeSession {
    /// Judges the peer's certificate: the chain first, then the name. Nothing is looked up.
    ///
    /// - Throws: why it is refused.
    fileprivate func judgePeer() throws(HandshakeFailure) {
        let presented = presentedChain()
        let now = Int64(time(nil))
        let known = usesVerifiedChains ? credentials?.verifiedChains.find(presented, now: now) : nil
        knownPeer = known
        let chain = known?.chain ?? peerChain()
        guard let leaf = chain.first else {
            // A server asks for a certificate and does not insist: the kernel's exports decide (fs/nfsd/export.c).
            if role == .server { return }
            throw HandshakeFailure(.certificateMissing)
        }
        let summary = known?.summary ?? leaf.summary
        peerCertificate = summary
        log(1, "the peer's certificate is \(leaf.subject), issued by \(leaf.issuer)")
        if known == nil { try verify(chain) }
        for certificate in chain {
            guard let since = credentials?.revocationLists?.outdatedSince(certificate, now: now) else { continue }
            throw HandshakeFailure(
                .certificateRevocationOutdated,
                "\(certificate.subject): the list of \(certificate.issuer) expired on \(dateText(since))")
        }
        if role == .client {
            if let peerName {
                try leaf.check(name: peerName)
            } else if !mayLackPeerName {
                throw HandshakeFailure(.peerNameMissing)
            }
        }
        verifiedPeer = true
        if known == nil, usesVerifiedChains, let credentials {
            unsafe credentials.verifiedChains.note(
                presented, chain, summary, trustedBy: credentials.handle, now: now)
            knownPeer = credentials.verifiedChains.find(presented, now: now)
        }
    }

    /// The chain up to an authority of the trust store, and revocation as the library sees it.
    private func verify(_ chain: [Certificate]) throws(HandshakeFailure) {
        var status: UInt32 = 0
        try Self.require(unsafe gnutls_certificate_verify_peers2(session, &status), "gnutls_certificate_verify_peers2")
        guard status == 0 else { throw CertificateJudgement(status, chain).failure }
    }

    /// A stapled response is fresh evidence that must be looked at, and a request's own priorities are not those that entries were
    /// verified under.
    private var usesVerifiedChains: Bool {
        unsafe priorities === environment.priorities
            && gnutls_ocsp_status_request_is_checked(session, UInt32(GNUTLS_OCSP_SR_IS_AVAIL)) == 0
    }

    /// All that the peer sent as its chain, each certificate behind its length.
    private func presentedChain() -> [UInt8] {
        var count: UInt32 = 0
        // The list belongs to the session and is valid during the callback.
        guard let list = unsafe gnutls_certificate_get_peers(session, &count) else { return [] }
        let certificates = unsafe UnsafeBufferPointer(start: list, count: Int(count))
        var bytes: [UInt8] = []
        bytes.reserveCapacity(unsafe certificates.reduce(0) { unsafe $0 + 4 + Int($1.size) })
        for index in certificates.indices {
            let datum = unsafe certificates[index]
            for shift: UInt32 in [24, 16, 8, 0] { unsafe bytes.append(UInt8(truncatingIfNeeded: datum.size >> shift)) }
            unsafe bytes.append(contentsOf: UnsafeBufferPointer(start: datum.data, count: Int(datum.size)))
        }
        return bytes
    }

    private func peerChain() -> [Certificate] {
        var count: UInt32 = 0
        // The list belongs to the session and is valid during the callback.
        guard let list = unsafe gnutls_certificate_get_peers(session, &count) else { return [] }
        return unsafe UnsafeBufferPointer(start: list, count: Int(count)).compactMap { datum in
            try? Certificate(der: unsafe Array(UnsafeBufferPointer(start: datum.data, count: Int(datum.size))))
        }
    }
}

/// GnuTLS's question whether the peer is welcome. The session's pointer is its `HandshakeSession`.
func verifyPeer(_ session: gnutls_session_t?) -> Int32 {
    guard let session = unsafe session, let context = unsafe gnutls_session_get_ptr(session) else { return -1 }
    let handshake = unsafe Unmanaged<HandshakeSession>.fromOpaque(context).takeUnretainedValue()
    do throws(HandshakeFailure) {
        try handshake.judgePeer()
        return 0
    } catch {
        handshake.verdict = error
        return -1
    }
}

/// What GnuTLS' verification status says, as a reason with the certificate that is to blame.
struct CertificateJudgement {
    let failure: HandshakeFailure

    init(_ status: UInt32, _ chain: [Certificate]) {
        let reason = Self.reason(status)
        guard let leaf = chain.first else {
            failure = HandshakeFailure(reason)
            return
        }
        let now = Int64(time(nil))
        let detail: String
        switch reason {
        case .certificateExpired:
            if let culprit = chain.first(where: { $0.notAfter < now }) {
                detail = "\(culprit.subject) expired on \(dateText(culprit.notAfter))"
            } else {
                detail = "an authority of \(leaf.subject) in the trust store has expired"
            }
        case .certificateNotYetValid:
            if let culprit = chain.first(where: { $0.notBefore > now }) {
                detail = "\(culprit.subject) is valid from \(dateText(culprit.notBefore)) on, today is \(dateText(now))"
            } else {
                detail = "an authority of \(leaf.subject) in the trust store is not yet valid"
            }
        case .certificateUnknownAuthority:
            // The link that is missing is the issuer of the last certificate that we were sent.
            let last = chain.last ?? leaf
            detail = "\(leaf.subject); nobody trusted issued \(last.subject), which names \(last.issuer)"
        case .certificateInvalid: detail = "\(leaf.subject), issued by \(leaf.issuer): \(Self.text(status))"
        default: detail = "\(leaf.subject), issued by \(leaf.issuer)"
        }
        failure = HandshakeFailure(reason, detail)
    }

    /// The gravest first: who is not known at all need not be told that the certificate is old.
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
    /// Checks that this certificate carries the name or address (RFC 9110 §4.3.4, RFC 6125 §6.4).
    fileprivate func check(name: PeerName) throws(HandshakeFailure) {
        let isCarried: Bool
        let wanted: String
        switch name {
        case .dns(let text):
            isCarried = unsafe gnutls_x509_crt_check_hostname2(handle, text, 0) != 0
            wanted = text
        case .address(let bytes):
            isCarried = unsafe gnutls_x509_crt_check_ip(handle, bytes, UInt32(bytes.count), 0) != 0
            wanted = PeerName.text(ofAddress: bytes) ?? "the address"
        }
        guard !isCarried else { return }
        let names = alternativeNames
        let carried = names.isEmpty ? "no subjectAltName" : names.joined(separator: ", ")
        throw HandshakeFailure(.certificateNameMismatch, "wanted \(wanted); \(subject) carries \(carried)")
    }

    /// All names that it carries, with their kind.
    var alternativeNames: [String] {
        var found: [String] = []
        var index: UInt32 = 0
        while true {
            var bytes = [UInt8](repeating: 0, count: 1024)
            var count = bytes.count
            let kind = unsafe gnutls_x509_crt_get_subject_alt_name(handle, index, &bytes, &count, nil)
            if kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE || index >= 100 { return found }
            index += 1
            guard kind >= 0 else { continue }
            let value = Array(bytes.prefix(count))
            switch gnutls_x509_subject_alt_name_t(UInt32(kind)) {
            case GNUTLS_SAN_DNSNAME: found.append("DNS " + String(decoding: value, as: UTF8.self))
            case GNUTLS_SAN_IPADDRESS: found.append("IP " + (PeerName.text(ofAddress: value) ?? "of \(count) bytes"))
            case GNUTLS_SAN_URI: found.append("URI " + String(decoding: value, as: UTF8.self))
            case GNUTLS_SAN_RFC822NAME: found.append("email " + String(decoding: value, as: UTF8.self))
            default: continue
            }
        }
    }
}
