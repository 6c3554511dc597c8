/// Outcome of a handshake, with everything that its log line contains.
package struct HandshakeResult: Sendable, Equatable {
    /// Negotiated parameters, or the failure.
    package var outcome: Outcome
    /// The peer's certificate, verified or not; `nil` if it sent none.
    package var peerCertificate: CertificateDescription?
    /// The PSK identity that was used or refused.
    package var pskIdentity: String?
    /// Alert that we sent.
    package var alertSent: Alert?
    /// Alert that the peer sent.
    package var alertReceived: Alert?
    /// Session tags assigned to the peer's certificate.
    package var tags: [String]
    /// Remarks for the log on a peer that was accepted.
    package var remarks: [String]
    /// Time from ACCEPT to the result.
    package var elapsed: Duration
    /// Processor time of the worker's thread.
    package var processorTime: Duration

    package enum Outcome: Sendable, Equatable {
        case success(NegotiatedSession)
        case failure(HandshakeFailure)
    }

    package init(
        outcome: Outcome, peerCertificate: CertificateDescription? = nil, pskIdentity: String? = nil,
        alertSent: Alert? = nil,
        alertReceived: Alert? = nil, tags: [String] = [], remarks: [String] = [], elapsed: Duration = .zero,
        processorTime: Duration = .zero
    ) {
        self.outcome = outcome
        self.peerCertificate = peerCertificate
        self.pskIdentity = pskIdentity
        self.alertSent = alertSent
        self.alertReceived = alertReceived
        self.tags = tags
        self.remarks = remarks
        self.elapsed = elapsed
        self.processorTime = processorTime
    }

    /// Status in DONE.
    package var status: Status {
        switch outcome {
        case .success: .success
        case .failure(let failure): failure.reason.row.status
        }
    }
}

/// Negotiated parameters of a session.
package struct NegotiatedSession: Sendable, Equatable {
    /// RFC 8446 name, such as TLS_AES_128_GCM_SHA256.
    package var cipherSuite: String
    /// GnuTLS name of the key-exchange group, such as X25519.
    package var group: String
    /// ALPN protocol; empty if none was negotiated.
    package var applicationProtocol: String
    /// True if the peer is authenticated: its certificate was verified, or it has the PSK. Only then is a remote
    /// identity reported to the kernel.
    package var peerAuthenticated: Bool

    package init(cipherSuite: String, group: String, applicationProtocol: String, peerAuthenticated: Bool) {
        self.cipherSuite = cipherSuite
        self.group = group
        self.applicationProtocol = applicationProtocol
        self.peerAuthenticated = peerAuthenticated
    }
}

/// Description of a certificate, made by a worker. The broker parses no certificates.
package struct CertificateDescription: Sendable, Equatable {
    /// RFC 4514 text.
    package var subject: String
    /// RFC 4514 text.
    package var issuer: String
    /// Seconds since 1970-01-01T00:00:00Z.
    package var notBefore: Int64
    /// Seconds since 1970-01-01T00:00:00Z.
    package var notAfter: Int64

    package init(subject: String, issuer: String, notBefore: Int64, notAfter: Int64) {
        self.subject = subject
        self.issuer = issuer
        self.notBefore = notBefore
        self.notAfter = notAfter
    }
}

/// The rule by which the end of a certificate is reported before it comes.
package enum CertificateExpiry {
    /// True in the last 14 days of a certificate, or in the last third of its life if that is shorter, and afterwards.
    ///
    /// - Parameters: Seconds since 1970-01-01T00:00:00Z. Those of a worker may be any numbers.
    package static func isNear(notBefore: Int64, notAfter: Int64, now: Int64) -> Bool {
        func bounded(_ time: Int64) -> Int64 { max(-(1 << 60), min(time, 1 << 60)) }
        let life = bounded(notAfter) - bounded(notBefore)
        return bounded(notAfter) - bounded(now) <= min(14 * 86_400, max(0, life / 3))
    }
}
