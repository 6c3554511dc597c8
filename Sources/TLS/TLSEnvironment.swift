package import CGnuTLS
package import Handshake
package import System
internal import TLSWire
internal import Wire
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

    // MARK: Narrowed priorities

    /// Our priorities, narrowed by the settings. The settings can never widen them.
    ///
    /// - Throws: `.limitsUnusable`, which names the impossible item and its cause.
    @discardableResult
    package func priorities(within limits: NegotiationLimits) throws(HandshakeFailure) -> Priorities {
        guard !limits.isEmpty else { return priorities }
        if let known = limited[limits] { return known }
        for suite in limits.suites where !priorities.cipherSuites.contains(suite) {
            throw HandshakeFailure(
                .limitsUnusable, "tls.suites: \(suite) is not possible: \(reasonForbidden(suite: suite))")
        }
        for group in limits.groups where !priorities.allowedGroups.contains(group) {
            throw HandshakeFailure(
                .limitsUnusable, "tls.groups: \(group) is not possible: \(Self.reasonForbidden(group: group))")
        }
        var narrowed = kernel
        if !limits.suites.isEmpty { narrowed.ciphers = kernel.ciphers.filter { limits.suites.contains($0.suite) } }
        let groups = limits.groups.isEmpty ? "" : ":-GROUP-ALL" + limits.groups.map { ":+GROUP-" + $0 }.joined()
        let made = try HandshakeFailure.of(.limitsUnusable, try Priorities(narrowed, restriction: groups))
        limited[limits] = made
        return made
    }

    private func reasonForbidden(suite: String) -> String {
        guard let cipher = KernelCipher.allCases.first(where: { $0.suite == suite }) else {
            return "it is not a TLS 1.3 cipher suite that kernel TLS supports"
        }
        return kernel.ciphers.contains(cipher) ? Self.policy : "the kernel's TLS here does not have it"
    }

    private static func reasonForbidden(group: String) -> String {
        unsafe gnutls_group_get_id(group) == GNUTLS_GROUP_INVALID
            ? "GnuTLS \(GnuTLS.version) does not know it" : policy
    }

    /// The source of GnuTLS's policy, as far as GnuTLS reports it.
    private static var policy: String {
        // A string that GnuTLS keeps.
        guard let path = unsafe gnutls_get_system_config_file() else { return "the crypto policy forbids it" }
        return unsafe "the crypto policy forbids it (GnuTLS' own, or \(String(cString: path)))"
    }

    /// Our priorities, narrowed by the limits of the settings and by the priority string of the request, if there are
    /// any.
    ///
    /// - Throws: `.limitsUnusable`, or `.prioritiesUnusable` with the string.
    func priorities(for job: HandshakeJob) throws(HandshakeFailure) -> Priorities {
        let priorities = try priorities(within: job.limits)
        guard let text = job.priorities else { return priorities }
        guard text.first(where: { !$0.isWhitespace }) != "@" else {
            throw HandshakeFailure(
                .prioritiesUnusable, "\"\(text)\": it names a file's entry, and no file is read here")
        }
        let wanted = try GnuTLS.failing(.prioritiesUnusable, "\"\(text)\"", try RequestedPriorities(text))
        if let lack = wanted.lack(beside: priorities, kernel, needsSignatures: job.authentication != .preSharedKey) {
            throw HandshakeFailure(.prioritiesUnusable, "\"\(text)\" leaves no \(lack)")
        }
        var narrowed = kernel
        narrowed.ciphers = kernel.ciphers.filter {
            wanted.ciphers.contains($0) && priorities.cipherSuites.contains($0.suite)
        }
        return try GnuTLS.failing(
            .prioritiesUnusable, "\"\(text)\"",
            try Priorities(narrowed, restriction: wanted.restriction(of: priorities)))
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
    guard let handshake = unsafe HandshakeSession.of(session), let identity = unsafe identity, let key = unsafe key
    else { return -1 }
    let name = unsafe UnsafeBufferPointer(start: identity.pointee.data, count: Int(identity.pointee.size))
    return unsafe handshake.copyPreSharedKey(of: Array(name), to: key) ? 0 : -1
}
