internal import CGnuTLS
internal import Glibc
package import Handshake
internal import System

/// A connection's two traffic secrets (RFC 8446 §7.1), from which its next keys are derived. They are in locked memory
/// of their own, touched by C code only, and wiped on deinit.
@safe package final class TrafficSecrets {
    private var memory: SecretBuffer

    init() throws(SystemError) {
        memory = try SecretBuffer(capacity: Int(CGNUTLS_TRAFFIC_SIZE))
    }

    /// Stores the secrets that GnuTLS has just begun to use, in one direction or both.
    @unsafe fileprivate func store(_ read: UnsafeRawPointer?, _ write: UnsafeRawPointer?, _ size: Int) {
        unsafe memory.withUnsafeMutableBytes { raw in
            guard let place = raw.baseAddress else { return }
            unsafe cgnutls_traffic_store(place.assumingMemoryBound(to: UInt8.self), read, write, size)
        }
    }

    /// Returns `true` if both are present and yield the keys that the session uses.
    fileprivate func matches(_ session: gnutls_session_t) -> Bool {
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
        throw HandshakeFailure(.kernelTLSFailed, "\(receive ? "TLS_RX" : "TLS_TX"): \(SystemError.name(of: error))")
    }
}

/// The KeyUpdate message (RFC 8446 §4.6.3) on a connection with kernel TLS.
package enum KeyUpdateMessage {
    /// Sends a KeyUpdate under the old key.
    ///
    /// - Returns: `false` if the socket has no room; nothing was sent then.
    package static func send(asking: Bool, on socket: Int32) throws(HandshakeFailure) -> Bool {
        let error = cgnutls_send_key_update(socket, asking ? 1 : 0)
        switch error {
        case 0: return true
        case EAGAIN: return false
        case EPIPE, ECONNRESET:
            throw HandshakeFailure(.connectionReset, "sending a KeyUpdate: \(SystemError.name(of: error))")
        default: throw HandshakeFailure(.kernelTLSFailed, "sending a KeyUpdate: \(SystemError.name(of: error))")
        }
    }
}

extension HandshakeSession {
    /// Registers a callback that receives the traffic secrets when GnuTLS begins to use them.
    func collectTrafficSecrets() {
        unsafe gnutls_handshake_set_secret_function(session, collectSecrets)
    }

    /// Moves the secrets out of a session whose keys are installed. `nil` if none were to be kept.
    package func takeTrafficSecrets() -> TrafficSecrets? {
        defer { traffic = nil }
        guard case .finished = phase, let traffic, unsafe traffic.matches(session) else { return nil }
        return traffic
    }

    /// - Returns: `false` if memory could not be allocated.
    @unsafe fileprivate func collect(_ read: UnsafeRawPointer?, _ write: UnsafeRawPointer?, _ size: Int) -> Bool {
        do throws(SystemError) {
            let kept = if let traffic { traffic } else { try TrafficSecrets() }
            traffic = kept
            unsafe kept.store(read, write, size)
            return true
        } catch {
            return false
        }
    }
}

/// GnuTLS callback for secrets. The session pointer is its `HandshakeSession`; the secrets are valid during the call.
private func collectSecrets(
    _ session: gnutls_session_t?, _ level: gnutls_record_encryption_level_t, _ read: UnsafeRawPointer?,
    _ write: UnsafeRawPointer?, _ size: Int
) -> Int32 {
    guard level == GNUTLS_ENCRYPTION_LEVEL_APPLICATION, let session = unsafe session,
        let context = unsafe gnutls_session_get_ptr(session)
    else { return 0 }
    let handshake = unsafe Unmanaged<HandshakeSession>.fromOpaque(context).takeUnretainedValue()
    return unsafe handshake.collect(read, write, size) ? 0 : GNUTLS_E_MEMORY_ERROR
}
