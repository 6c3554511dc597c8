internal import CGnuTLS
package import Handshake
internal import System
internal import X509

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
    static func setKeys(of session: gnutls_session_t, on socket: Int32, receive: Bool) throws(HandshakeFailure) {
        let error = unsafe Errno(cgnutls_set_keys(session, socket, receive ? 1 : 0))
        let option = receive ? "TLS_RX" : "TLS_TX"
        switch error {
        case .success: return
        case .enoent: throw HandshakeFailure(.kernelTLSCipherUnsupported, "\(option): ENOENT")
        default: throw HandshakeFailure(.kernelTLSFailed, "\(option): \(error.name)")
        }
    }
}

/// A connection's two traffic secrets (RFC 8446 §7.1), from which its next keys are derived. They are in locked memory
/// of their own, touched by C code only, and wiped on deinit.
@safe package final class TrafficSecrets {
    private var memory: SecretBuffer

    init() throws(SystemError) {
        memory = try SecretBuffer(capacity: Int(CGNUTLS_TRAFFIC_SIZE))
    }

    /// Stores the secrets that GnuTLS has just begun to use, in one direction or both.
    @unsafe func store(_ read: UnsafeRawPointer?, _ write: UnsafeRawPointer?, _ size: Int) {
        unsafe memory.withUnsafeMutableBytes { raw in
            guard let place = raw.baseAddress else { return }
            unsafe cgnutls_traffic_store(place.assumingMemoryBound(to: UInt8.self), read, write, size)
        }
    }

    /// Returns `true` if both are present and yield the keys that the session uses.
    func matches(_ session: gnutls_session_t) -> Bool {
        unsafe memory.withUnsafeMutableBytes { raw in
            guard let place = raw.baseAddress else { return false }
            return unsafe cgnutls_traffic_verify(place.assumingMemoryBound(to: UInt8.self), session) == 0
        }
    }

    /// Installs the next key of one direction in the kernel, for the first record after the KeyUpdate message.
    package func advance(receive: Bool, on socket: Int32) throws(HandshakeFailure) {
        let error: Int32 = unsafe memory.withUnsafeMutableBytes { raw in
            guard let place = raw.baseAddress else { return 0 }
            return unsafe cgnutls_traffic_advance(
                place.assumingMemoryBound(to: UInt8.self), socket, receive ? 1 : 0)
        }
        guard error != 0 else { return }
        throw HandshakeFailure(.kernelTLSFailed, "\(receive ? "TLS_RX" : "TLS_TX"): \(Errno(error).name)")
    }
}

/// The KeyUpdate message (RFC 8446 §4.6.3) on a connection with kernel TLS.
package enum KeyUpdateMessage {
    /// Sends a KeyUpdate under the old key.
    ///
    /// - Returns: `false` if the socket has no room; nothing was sent then.
    package static func send(asking: Bool, on socket: Int32) throws(HandshakeFailure) -> Bool {
        let error = Errno(cgnutls_send_key_update(socket, asking ? 1 : 0))
        switch error {
        case .success: return true
        case .eagain: return false
        case .epipe, .econnreset:
            throw HandshakeFailure(.connectionReset, "sending a KeyUpdate: \(error.name)")
        default: throw HandshakeFailure(.kernelTLSFailed, "sending a KeyUpdate: \(error.name)")
        }
    }
}
