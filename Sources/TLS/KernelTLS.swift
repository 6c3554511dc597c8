internal import CGnuTLS
internal import Glibc
package import Handshake
internal import System

/// Passes a finished session's keys to the kernel (include/uapi/linux/tls.h).
package enum KernelTLS {
    /// Installs both directions on the session's socket. Afterwards only the kernel may send or receive on it.
    ///
    /// - Throws: The reason. The session has then failed, and the alert was sent if the connection allowed it.
    package static func install(_ session: HandshakeSession) throws(HandshakeFailure) {
        do throws(HandshakeFailure) {
            try validate(session)
            do throws(HandshakeFailure) {
                try attach(session)
            } catch {
                // TCP_ULP requires an established connection. A connection that the server has closed may contain its
                // refusal.
                throw session.role == .client ? session.pollForAlert() ?? error : error
            }
            try limitPayload(session)
            try set(session, receive: false)
        } catch {
            session.fail(error)
            throw error
        }
        // Commit point: from here on the kernel encrypts what is written, so no alert can be sent.
        do throws(HandshakeFailure) {
            try set(session, receive: true)
            try checkAlert(session)
        } catch {
            session.phase = .failed(error)
            throw error
        }
        session.log(1, "the kernel holds the keys")
    }

    /// Checks a session without calling the kernel. Throws if its keys must not be installed.
    fileprivate static func validate(_ session: HandshakeSession) throws(HandshakeFailure) {
        guard case .finished(let negotiated) = session.phase else {
            throw HandshakeFailure(.libraryFailure, "the handshake has not finished")
        }
        // The client of a server may be anonymous. The server of a client may not, nor may a peer with a PSK.
        let mayBeAnonymous = session.role == .server && session.authentication != .preSharedKey
        guard negotiated.peerAuthenticated || mayBeAnonymous else {
            throw HandshakeFailure(.libraryFailure, "the peer is not verified")
        }
        guard session.transport.isFlushed, session.transport.isAtRecordBoundary,
            unsafe gnutls_record_check_pending(session.session) == 0
        else { throw HandshakeFailure(.libraryFailure, "bytes are left over after the handshake") }
        if session.payloadLimit != nil, !session.environment.kernel.limitsTransmitPayload {
            throw HandshakeFailure(
                .recordSizeLimitUnsupported, "it accepts records of \(session.recordSizeLimit ?? 0) bytes")
        }
    }

    /// Looks once more for a server's refusal, which may have arrived since the last look (docs/decisions/0003).
    private static func checkAlert(_ session: HandshakeSession) throws(HandshakeFailure) {
        let connection = TCPConnection(session.transport.socket)
        guard session.role == .client, connection.waitingRecord == .alert else { return }
        guard let description = connection.takeAlert() else {
            throw HandshakeFailure(.protocolViolation, "a malformed alert directly after the handshake")
        }
        throw session.judge(Alert(rawValue: description))
    }

    private static func attach(_ session: HandshakeSession) throws(HandshakeFailure) {
        let error = cgnutls_attach(session.transport.socket)
        switch error {
        case 0: return
        case ENOENT: throw HandshakeFailure(.kernelTLSUnavailable, "TCP_ULP: ENOENT")
        case ENOTCONN: throw HandshakeFailure(.peerClosed, "before the keys were installed")
        default: throw HandshakeFailure(.kernelTLSFailed, "TCP_ULP: \(SystemError.name(of: error))")
        }
    }

    private static func limitPayload(_ session: HandshakeSession) throws(HandshakeFailure) {
        guard let limit = session.payloadLimit else { return }
        let error = cgnutls_limit_payload(session.transport.socket, limit)
        switch error {
        case 0: return
        case ENOPROTOOPT: throw HandshakeFailure(.recordSizeLimitUnsupported, "TLS_TX_MAX_PAYLOAD_LEN: ENOPROTOOPT")
        default: throw HandshakeFailure(.kernelTLSFailed, "TLS_TX_MAX_PAYLOAD_LEN: \(SystemError.name(of: error))")
        }
    }

    private static func set(_ session: HandshakeSession, receive: Bool) throws(HandshakeFailure) {
        let socket = session.transport.socket
        let error =
            if receive, let sequence = session.receiveSequence {
                unsafe cgnutls_set_keys(session.session, socket, 1, sequence)
            } else {
                unsafe cgnutls_set_keys(session.session, socket, receive ? 1 : 0, nil)
            }
        let option = receive ? "TLS_RX" : "TLS_TX"
        switch error {
        case 0: return
        case ENOENT: throw HandshakeFailure(.kernelTLSCipherUnsupported, "\(option): ENOENT")
        default: throw HandshakeFailure(.kernelTLSFailed, "\(option): \(SystemError.name(of: error))")
        }
    }
}

extension HandshakeSession {
    /// Reason why `KernelTLS.install` would refuse this session before it calls the kernel; `nil` if it would not. For
    /// probes, which install no keys.
    package var handOverProblem: HandshakeFailure? {
        do throws(HandshakeFailure) {
            try KernelTLS.validate(self)
            return nil
        } catch {
            return error
        }
    }

    /// Plain bytes per record that the peer accepts: its limit includes the content type (RFC 8449 §4). `nil` if a full
    /// record fits.
    var payloadLimit: UInt16? {
        guard let limit = recordSizeLimit, limit <= 16_384 else { return nil }
        return limit - 1
    }
}
