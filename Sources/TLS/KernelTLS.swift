internal import CGnuTLS
internal import Handshake
internal import System

/// The calls that pass the keys of a session to the kernel (include/uapi/linux/tls.h), in this order.
enum KernelTLS {
    /// Attaches the upper-layer protocol to the socket (TCP_ULP).
    static func attach(_ socket: Int32) throws(HandshakeFailure) {
        let error = Errno(cgnutls_attach(socket))
        switch error {
        case .success: return
        case .enoent: throw HandshakeFailure(.kernelTLSUnavailable, "TCP_ULP: ENOENT")
        case .enotconn: throw HandshakeFailure(.peerClosed, "before the keys were installed")
        default: throw HandshakeFailure(.kernelTLSFailed, "TCP_ULP: \(error.name)")
        }
    }

    /// Limits the plain bytes per record that the kernel sends (TLS_TX_MAX_PAYLOAD_LEN).
    static func limitPayload(of socket: Int32, to limit: UInt16) throws(HandshakeFailure) {
        let error = Errno(cgnutls_limit_payload(socket, limit))
        switch error {
        case .success: return
        case .enoprotoopt: throw HandshakeFailure(.recordSizeLimitUnsupported, "TLS_TX_MAX_PAYLOAD_LEN: ENOPROTOOPT")
        default: throw HandshakeFailure(.kernelTLSFailed, "TLS_TX_MAX_PAYLOAD_LEN: \(error.name)")
        }
    }

    /// Installs the keys of one direction (TLS_TX, TLS_RX).
    ///
    /// - Parameter sequence: number of the next record, if it differs from GnuTLS's.
    static func setKeys(
        of session: gnutls_session_t, on socket: Int32, receive: Bool, sequence: [UInt8]? = nil
    ) throws(HandshakeFailure) {
        let direction: Int32 = receive ? 1 : 0
        let result =
            if let sequence {
                unsafe cgnutls_set_keys(session, socket, direction, sequence)
            } else {
                unsafe cgnutls_set_keys(session, socket, direction, nil)
            }
        let error = Errno(result)
        let option = receive ? "TLS_RX" : "TLS_TX"
        switch error {
        case .success: return
        case .enoent: throw HandshakeFailure(.kernelTLSCipherUnsupported, "\(option): ENOENT")
        default: throw HandshakeFailure(.kernelTLSFailed, "\(option): \(error.name)")
        }
    }
}
