internal import CGnuTLS
internal import Glibc
package import Handshake
internal import System

/// Hands a finished session's keys to the kernel (include/uapi/linux/tls.h).
package enum KernelTLS {
    /// Installs both directions on the session's socket. From then on only the kernel may send or receive there.
    ///
    /// - Throws: why not; the session has failed then, and the peer was told if the connection still carried it.
    package static func install(_ session: HandshakeSession) throws(HandshakeFailure) {
        do throws(HandshakeFailure) {
            try validate(session)
            do throws(HandshakeFailure) {
                try attach(session)
            } catch {
                // Only an open connection can be attached to. One that the server has closed may hold its refusal.
                throw session.role == .client ? session.lookForAlert() ?? error : error
            }
            try limitPayload(session)
            try set(session, receive: false)
        } catch {
            session.fail(error)
            throw error
        }
        // Commit point: what is written from here on is encrypted by the kernel, so nothing can be said to the peer any
        // more.
        do throws(HandshakeFailure) {
            try set(session, receive: true)
            try checkAlert(session)
        } catch {
            session.phase = .failed(error)
            throw error
        }
        session.log(1, "the kernel holds the keys")
    }

    /// Why a session's keys must not be handed over, found without the kernel.
    fileprivate static func validate(_ session: HandshakeSession) throws(HandshakeFailure) {
        guard case .finished(let negotiated) = session.phase else {
            throw HandshakeFailure(.libraryFailure, "the handshake has not finished")
        }
        // A server's client may be nobody in particular; a client's server may not, nor the other side of a PSK.
        let mayBeAnonymous = session.role == .server && session.authentication != .preSharedKey
        guard negotiated.peerAuthenticated || mayBeAnonymous else {
            throw HandshakeFailure(.libraryFailure, "the peer is not verified")
        }
        guard session.transport.isFlushed, session.transport.isAtRecordBoundary,
            unsafe gnutls_record_check_pending(session.session) == 0
        else { throw HandshakeFailure(.libraryFailure, "bytes are left behind the handshake") }
        if session.payloadLimit != nil, !session.environment.kernel.limitsTransmitPayload {
            throw HandshakeFailure(
                .recordSizeLimitUnsupported, "it takes records of \(session.recordSizeLimit ?? 0) bytes")
        }
    }

    /// Looks once more for a server's refusal, which may have come since the last look (docs/decisions/0003).
    private static func checkAlert(_ session: HandshakeSession) throws(HandshakeFailure) {
        let connection = TCPConnection(session.transport.socket)
        guard session.role == .client, connection.waitingRecord == .alert else { return }
        guard let description = connection.takeAlert() else {
            throw HandshakeFailure(.protocolViolation, "a malformed alert right behind the handshake")
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
    /// Why `KernelTLS.install` would refuse this session before it asks the kernel; `nil` where it would not. For who
    /// only tries.
    package var handOverProblem: HandshakeFailure? {
        do throws(HandshakeFailure) {
            try KernelTLS.validate(self)
            return nil
        } catch {
            return error
        }
    }

    /// Plain bytes that fit into the records that the peer takes: its limit counts the content type too (RFC 8449 §4);
    /// `nil` where a full record fits.
    var payloadLimit: UInt16? {
        guard let limit = recordSizeLimit, limit <= 16_384 else { return nil }
        return limit - 1
    }
}
