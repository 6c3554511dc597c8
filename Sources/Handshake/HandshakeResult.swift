/// How a handshake ended, with all that its log line tells.
package struct HandshakeResult: Sendable, Equatable {
    /// What was agreed; or why there are no keys.
    package var outcome: Outcome
    /// The peer's certificate, whether it verified or not; `nil` where it sent none.
    package var peerCertificate: CertificateDescription?
    /// The PSK identity in use, or the one that was refused.
    package var pskIdentity: String?
    /// The alert that we sent.
    package var alertSent: Alert?
    /// The alert that the peer sent.
    package var alertReceived: Alert?
    /// The session tags that the peer's certificate has earned.
    package var tags: [String]
    /// What is to be said though it is no reason to refuse the peer.
    package var remarks: [String]
    /// From acceptance to the result.
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

    /// What DONE tells the kernel.
    package var status: Status {
        switch outcome {
        case .success: .success
        case .failure(let failure): failure.reason.row.status
        }
    }
}

/// What the two ends agreed on.
package struct NegotiatedSession: Sendable, Equatable {
    /// RFC 8446 name, such as TLS_AES_128_GCM_SHA256.
    package var cipherSuite: String
    /// GnuTLS's name of the key-exchange group, such as X25519.
    package var group: String
    /// The application protocol, empty where none was agreed.
    package var applicationProtocol: String
    /// Whether the peer's identity is proven: its certificate verified, or it holds the PSK. Only then is a remote
    /// identity reported to the kernel.
    package var peerAuthenticated: Bool

    package init(cipherSuite: String, group: String, applicationProtocol: String, peerAuthenticated: Bool) {
        self.cipherSuite = cipherSuite
        self.group = group
        self.applicationProtocol = applicationProtocol
        self.peerAuthenticated = peerAuthenticated
    }
}

/// A certificate as a worker describes it; the broker parses none.
package struct CertificateDescription: Sendable, Equatable {
    /// RFC 4514 text.
    package var subject: String
    /// RFC 4514 text.
    package var issuer: String
    /// Seconds since 1970-01-01T00:00:00Z.
    package var notAfter: Int64

    package init(subject: String, issuer: String, notAfter: Int64) {
        self.subject = subject
        self.issuer = issuer
        self.notAfter = notAfter
    }
}
