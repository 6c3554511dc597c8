internal import CGnuTLS
package import Handshake
internal import System
internal import TLSWire
internal import Wire
internal import X509

extension HandshakeSession {
    /// Fails the handshake and sends the alert, if the connection still allows it.
    func fail(_ failure: HandshakeFailure) {
        phase = .failed(failure)
        log(1, "failed: \(failure.reason.row.explanation)\(failure.detail.isEmpty ? "" : " (\(failure.detail))")")
        // After an alert from the peer or on a broken connection nothing can be received.
        guard transport.brokenBy == 0, alertReceived == nil else { return }
        // The client's kernel parses bytes that arrive before it has sent a ClientHello as RPC; the broker sends the
        // alert later.
        guard role == .client || transport.hasReceived else { return }
        if let alert = verdictAlert ?? failure.reason.row.alert { send(alert) }
    }

    /// Refuses a handshake that could not be prepared, with an alert in clear text before any hello.
    ///
    /// - Returns: The alert that was sent; `nil` if the reason has none, or the socket did not accept it.
    package static func refuse(_ failure: HandshakeFailure, on socket: Int32) -> Alert? {
        guard let alert = failure.reason.row.alert else { return nil }
        return TCPConnection(socket).send(alert.recordInClear) ? alert : nil
    }

    private func send(_ alert: Alert) {
        // user_canceled is a warning and must be followed by close_notify (RFC 8446 §6.1).
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

    /// Failure for a GnuTLS error code, using the state of the session and the transport.
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
            // A first byte that is not a record type is an unexpected message (RFC 8446 §5, §5.4); a record that is too
            // long is a record_overflow (§5.1).
            if case .outOfRange = broken { return violation(broken.description, .recordOverflow) }
            return violation(broken.description, .unexpectedMessage)
        }
        if transport.brokenBy != 0 {
            return HandshakeFailure(.connectionReset, SystemError.name(of: transport.brokenBy))
        }
        if transport.isAtEnd { return HandshakeFailure(.peerClosed) }
        // Between its request for the key and its ServerHello, GnuTLS checks only the binder.
        if handedKeyOut, !sentServerHello, code == GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER {
            return HandshakeFailure(.pskBinderMismatch)
        }
        return judge(error)
    }

    /// Failure for a GnuTLS error code that has no other explanation.
    private func judge(_ error: GnuTLSError) -> HandshakeFailure {
        let reason = error.reason
        let isOfChoice = [.noCommonCipherSuite, .noCommonGroup, .noCommonSignatureScheme].contains(reason)
        switch lastReceived {
        case GNUTLS_HANDSHAKE_SERVER_HELLO where isOfChoice, GNUTLS_HANDSHAKE_HELLO_RETRY_REQUEST where isOfChoice:
            // The server chose something that we did not offer.
            return violation(error.text, .illegalParameter)
        case GNUTLS_HANDSHAKE_CERTIFICATE_PKT where isOfChoice || reason == .certificateInvalid:
            if let curve = foreignCurve { return unsupportedKey(on: curve) }
        case GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY where isOfChoice || error.code == GNUTLS_E_CONSTRAINT_ERROR:
            // The peer's key cannot make TLS 1.3 signatures, or it signed with a scheme of another key type.
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

    /// True if the client offers a signature scheme of one of our keys.
    private var canSignForPeer: Bool { unsafe credentials?.fitting(session) != nil }

    func unsupportedKey(on curve: String) -> HandshakeFailure {
        verdictAlert = .unsupportedCertificate
        return HandshakeFailure(.certificateInvalid, "its key is on the curve \(curve), which TLS 1.3 does not have")
    }

    /// A protocol violation by the peer, with the alert of RFC 8446.
    func violation(_ text: String, _ alert: Alert) -> HandshakeFailure {
        verdictAlert = alert
        return HandshakeFailure(.protocolViolation, text)
    }

    /// Failure for an alert from the peer. In TLS 1.3 each alert ends the session, whatever its level (RFC 8446 §6).
    func judgeAlert() -> HandshakeFailure {
        judge(Alert(rawValue: UInt8(truncatingIfNeeded: unsafe gnutls_alert_get(session).rawValue)))
    }

    func judge(_ alert: Alert) -> HandshakeFailure {
        alertReceived = alert
        log(1, "received alert \(alert.name)")
        if alert == .unknownPSKIdentity { return HandshakeFailure(.alertUnknownPSKIdentity) }
        // With a PSK only the binder, and a Finished derived from the same key, can fail to decrypt or verify.
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
