package import CGnuTLS
package import Handshake
package import System
internal import TLSWire
package import X509

/// Looks up a PSK and writes it to the start of the buffer.
package typealias PSKFinder = (_ identity: [UInt8], _ key: inout SecretBuffer) -> PSKLookup

/// Result of a `PSKFinder`.
package enum PSKLookup: Sendable, Equatable {
    /// The length of the key in bytes.
    case key(count: Int)
    case unknown
    case unusable(String)
}

/// State that all handshakes of a worker share.
package final class TLSEnvironment {
    package let kernel: KernelTLSCapabilities
    package let priorities: Priorities
    /// Cache of narrowed priorities, one per set of limits.
    var limited: [NegotiationLimits: Priorities] = [:]
    private let preSharedKeys: [PSKHash: ServerPSKCredentials]

    /// - Throws: If the crypto policy and the kernel leave nothing to negotiate.
    package init(_ kernel: KernelTLSCapabilities, restriction: String = "") throws(GnuTLSError) {
        self.kernel = kernel
        priorities = try Priorities(kernel, restriction: restriction)
        var made: [PSKHash: ServerPSKCredentials] = [:]
        for hash in PSKHash.allCases where hash.isSupported { made[hash] = try ServerPSKCredentials(hash) }
        preSharedKeys = made
    }

    func serverCredentials(_ hash: PSKHash) -> ServerPSKCredentials? { preSharedKeys[hash] }

    /// Reason why PSKs of this hash cannot be used here; `nil` if they can.
    func problem(with hash: PSKHash) -> HandshakeFailure? {
        guard hash.isSupported else {
            return HandshakeFailure(.pskHashUnsupported, "needs GnuTLS 3.8.11, this is \(GnuTLS.version)")
        }
        guard unsafe priorities.preSharedKey(hash) != nil else {
            return HandshakeFailure(.noCommonCipherSuite, "policy and kernel leave no suite for this PSK's hash")
        }
        return nil
    }
}

extension PSKHash {
    /// True if the GnuTLS in use supports it.
    package var isSupported: Bool {
        switch self {
        case .sha256: true
        case .sha384: GnuTLS.bindsSHA384
        }
    }

    /// GnuTLS's number of the hash.
    package var binder: gnutls_mac_algorithm_t {
        switch self {
        case .sha256: GNUTLS_MAC_SHA256
        case .sha384: GNUTLS_MAC_SHA384
        }
    }
}

/// A server's PSK credentials for one hash. Keys come from the session by callback.
@safe final class ServerPSKCredentials {
    /// Valid from init to deinit.
    let handle: gnutls_psk_server_credentials_t

    init(_ hash: PSKHash) throws(GnuTLSError) {
        var made: gnutls_psk_server_credentials_t?
        try GnuTLS.check(unsafe cgnutls_psk_server_credentials(&made, hash.binder), "PSK server credentials")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "PSK server credentials")
        }
        unsafe handle = made
        unsafe gnutls_psk_set_server_credentials_function2(made, findPreSharedKey)
    }

    deinit { unsafe gnutls_psk_free_server_credentials(handle) }
}

/// A client's PSK credentials: one identity and its key.
@safe final class ClientPSKCredentials {
    /// Valid from init to deinit. GnuTLS holds its own copy of the key and wipes it.
    let handle: gnutls_psk_client_credentials_t

    init(_ identity: [UInt8], _ key: UnsafeRawBufferPointer, _ hash: PSKHash) throws(GnuTLSError) {
        var made: gnutls_psk_client_credentials_t?
        try GnuTLS.check(unsafe cgnutls_psk_client_credentials(&made, hash.binder), "PSK client credentials")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "PSK client credentials")
        }
        unsafe handle = made
        let code = unsafe identity.withUnsafeBytes { raw in
            var name = unsafe gnutls_datum_t(borrowing: raw)
            var secret = unsafe gnutls_datum_t(borrowing: key)
            return unsafe gnutls_psk_set_client_credentials2(made, &name, &secret, GNUTLS_PSK_KEY_RAW)
        }
        try GnuTLS.check(code, "gnutls_psk_set_client_credentials2")
    }

    deinit { unsafe gnutls_psk_free_client_credentials(handle) }
}

/// GnuTLS callback for the key of an identity. Answers only for the identity that was looked up before.
private func findPreSharedKey(
    _ session: gnutls_session_t?, _ identity: UnsafePointer<gnutls_datum_t>?,
    _ key: UnsafeMutablePointer<gnutls_datum_t>?
) -> Int32 {
    guard let session = unsafe session, let context = unsafe gnutls_session_get_ptr(session),
        let identity = unsafe identity, let key = unsafe key
    else { return -1 }
    let handshake = unsafe Unmanaged<HandshakeSession>.fromOpaque(context).takeUnretainedValue()
    let name = unsafe UnsafeBufferPointer(start: identity.pointee.data, count: Int(identity.pointee.size))
    guard unsafe handshake.preSharedKey?.copy(of: Array(name), to: key) == true else { return -1 }
    handshake.handedKeyOut = true
    return 0
}

/// The key that a server-side handshake found for its client.
struct FoundPSK: ~Copyable {
    let identity: [UInt8]
    let hash: PSKHash
    private let key: SecretBuffer
    private let count: Int

    init(_ identity: [UInt8], _ key: consuming SecretBuffer, count: Int) {
        self.identity = identity
        self.key = key
        self.count = count
        hash = PSKHash.of(identity: identity, keyLength: count)
    }

    /// Copies the key for GnuTLS; `false` for another identity.
    func copy(of name: [UInt8], to target: UnsafeMutablePointer<gnutls_datum_t>) -> Bool {
        guard name == identity else { return false }
        return unsafe key.withUnsafeBytes { raw in
            guard let base = raw.baseAddress else { return false }
            return unsafe cgnutls_copy(target, base, count) >= 0
        }
    }
}
