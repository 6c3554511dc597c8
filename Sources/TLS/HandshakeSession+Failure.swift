internal import CGnuTLS
package import Handshake
internal import System
internal import Wire

extension HandshakeSession {
    /// Ends the handshake and tells the peer why, as far as the connection still carries it.
    func fail(_ failure: HandshakeFailure) {
        phase = .failed(failure)
        log(1, "failed: \(failure.reason.row.explanation)\(failure.detail.isEmpty ? "" : " (\(failure.detail))")")
        // After an alert of the peer's, or on a broken connection, nobody listens any more.
        guard transport.brokenBy == 0, alertReceived == nil else { return }
        // What a server says before its client has spoken, the client's kernel reads as RPC: the broker tells it later.
        guard role == .client || transport.hasHeard else { return }
        if let alert = verdictAlert ?? failure.reason.row.alert { send(alert) }
    }

    /// Refuses a handshake that could not be prepared: an alert in clear, before any hello.
    ///
    /// - Returns: the alert that was sent; `nil` where the reason has none, or the socket took none.
    package static func refuse(_ failure: HandshakeFailure, on socket: Int32) -> Alert? {
        guard let alert = failure.reason.row.alert else { return nil }
        return TCPConnection(socket).send(alert.recordInClear) ? alert : nil
    }

    private func send(_ alert: Alert) {
        // user_canceled is a warning, and close_notify ends the session then (RFC 8446 §6.1).
        let alerts: [(gnutls_alert_level_t, Alert)] =
            alert == .userCanceled
            ? [(GNUTLS_AL_WARNING, alert), (GNUTLS_AL_WARNING, .closeNotify)] : [(GNUTLS_AL_FATAL, alert)]
        for (level, one) in alerts {
            let description = gnutls_alert_description_t(UInt32(one.rawValue))
            guard unsafe gnutls_alert_send(session, level, description) >= 0 else { return }
        }
        FaultInjection.pause()
        transport.flush()
        guard transport.isFlushed, transport.brokenBy == 0 else { return }
        alertSent = alert
        log(1, "sent alert \(alert.name)")
    }

    /// What the library's code means, with all that we know besides.
    func judge(_ code: Int32) -> HandshakeFailure {
        if let verdict { return verdict }
        let error = GnuTLSError(code: code, call: "gnutls_handshake")
        if let text = transport.plainText {
            return HandshakeFailure(.peerSpeaksPlainText, "the peer sent \(text.description)")
        }
        if code == GNUTLS_E_FATAL_ALERT_RECEIVED || code == GNUTLS_E_WARNING_ALERT_RECEIVED {
            return judgeAlert()
        }
        if let excess = transport.excess { return HandshakeFailure(.handshakeTooLong, excess.description) }
        if let broken = transport.violation {
            // What is no record at all is as little a message (RFC 8446 §5, §5.4); one that is too long is §5.1's.
            if case .outOfRange = broken { return violation(broken.description, .recordOverflow) }
            return violation(broken.description, .unexpectedMessage)
        }
        if transport.brokenBy != 0 {
            return HandshakeFailure(.connectionReset, SystemError.name(of: transport.brokenBy))
        }
        if transport.isAtEnd { return HandshakeFailure(.peerClosed) }
        // The binder is the only thing that the library checks between its question for the key and its ServerHello.
        if handedKeyOut, !sentServerHello, code == GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER {
            return HandshakeFailure(.pskBinderMismatch)
        }
        return judge(error)
    }

    /// What a code of the library's means where nothing else tells.
    private func judge(_ error: GnuTLSError) -> HandshakeFailure {
        let reason = error.reason
        let isOfChoice = [.noCommonCipherSuite, .noCommonGroup, .noCommonSignatureScheme].contains(reason)
        switch lastReceived {
        case GNUTLS_HANDSHAKE_SERVER_HELLO where isOfChoice, GNUTLS_HANDSHAKE_HELLO_RETRY_REQUEST where isOfChoice:
            // What it chose, we had not offered.
            return violation(error.text, .illegalParameter)
        case GNUTLS_HANDSHAKE_CERTIFICATE_PKT where isOfChoice || reason == .certificateInvalid:
            if let curve = foreignCurve { return unsupportedKey(on: curve) }
        case GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY where isOfChoice || error.code == GNUTLS_E_CONSTRAINT_ERROR:
            // Its key makes no signatures of TLS 1.3, or has signed by a scheme that is not its own.
            if let curve = leafCurve { return unsupportedKey(on: curve) }
            return violation(error.text, .illegalParameter)
        case GNUTLS_HANDSHAKE_CLIENT_HELLO
        where reason == .noCommonCipherSuite && presentedCertificate && !canSignForPeer:
            return HandshakeFailure(.noCommonSignatureScheme)
        default: break
        }
        if reason == .protocolViolation || reason == .certificateInvalid { verdictAlert = error.alert }
        return HandshakeFailure(reason, error.text)
    }

    /// Whether the client names a signature scheme of one of our keys.
    private var canSignForPeer: Bool { unsafe credentials?.fitting(session) != nil }

    func unsupportedKey(on curve: String) -> HandshakeFailure {
        verdictAlert = .unsupportedCertificate
        return HandshakeFailure(.certificateInvalid, "its key is on the curve \(curve), which TLS 1.3 does not have")
    }

    /// What the peer did against the protocol, and the alert that RFC 8446 has for it.
    func violation(_ text: String, _ alert: Alert) -> HandshakeFailure {
        verdictAlert = alert
        return HandshakeFailure(.protocolViolation, text)
    }

    /// The peer sent an alert; in TLS 1.3 each ends the session, whatever level it claims (RFC 8446 §6).
    func judgeAlert() -> HandshakeFailure {
        judge(Alert(rawValue: UInt8(truncatingIfNeeded: unsafe gnutls_alert_get(session).rawValue)))
    }

    func judge(_ alert: Alert) -> HandshakeFailure {
        alertReceived = alert
        log(1, "received alert \(alert.name)")
        if alert == .unknownPSKIdentity { return HandshakeFailure(.alertUnknownPSKIdentity) }
        // With a PSK there is nothing to decrypt or verify but the binder, and a Finished that follows from the same
        // key.
        if alert == .decryptError, role == .client, authentication == .preSharedKey {
            return HandshakeFailure(.pskBinderMismatch, "it sent \(alert.name)")
        }
        if alert == .closeNotify || alert == .userCanceled {
            return HandshakeFailure(.peerClosed, "with \(alert.name)")
        }
        if alert == .internalError { return HandshakeFailure(.alertInternalError) }
        let whose = role == .client ? "server" : "client"
        guard Self.aboutCertificates.contains(alert) else {
            return HandshakeFailure(.alertReceived, "the \(whose) sent \(alert.name)")
        }
        knownPeer?.refusedUsAt = Clock.monotonicNanoseconds()
        if alert == .certificateRequired {
            return HandshakeFailure(.alertReceived, "the \(whose) demands a certificate")
        }
        return HandshakeFailure(.alertReceived, "the \(whose) refused our certificate: \(alert.name)")
    }

    private static let aboutCertificates: Set<Alert> = [
        .badCertificate, .unsupportedCertificate, .certificateRevoked, .certificateExpired, .certificateUnknown,
        .unknownCA, .certificateRequired,
    ]
}
