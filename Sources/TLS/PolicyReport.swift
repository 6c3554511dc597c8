internal import CGnuTLS
package import Handshake
package import Wire

/// What may be negotiated and who decided it, for people to read.
package struct PolicyReport: Sendable, Equatable {
    /// Cipher suites, most wanted first, as RFC 8446 names them.
    package let suites: [String]
    /// Groups and signature algorithms as the library names them, most wanted first.
    package let groups: [String]
    package let signatures: [String]
    /// Groups that the policy allows and that are not used unless settings name them.
    package let unusedGroups: [String]
    /// Suites that the crypto policy allows and this kernel's TLS lacks.
    package let lackingInKernel: [String]
    /// Suites of the kernel's TLS that the crypto policy does not allow.
    package let forbidden: [String]
    /// Hashes of PSKs that can be used.
    package let keyHashes: [PSKHash]
    /// The library's version, such as `3.8.9`.
    package let library: String
    /// The file that the library takes its policy from; empty where it knows of none. It need not exist.
    package let policyFile: String
    /// Whether the library is in FIPS 140 mode.
    package let isFIPS: Bool

    /// - Parameter kernel: what the kernel can carry; with no ciphers it is not considered, and everything is reported
    ///   as lacking.
    /// - Throws: when the policy cannot be read, or leaves nothing.
    package init(_ kernel: KernelTLSCapabilities) throws(GnuTLSError) {
        let everything = KernelTLSCapabilities(ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: true)
        let allowed = try Priorities(everything)
        let effective = kernel.ciphers.isEmpty ? allowed : try Priorities(kernel)
        suites = effective.cipherSuites
        let used = unsafe Priorities.groups(of: effective.certificates)
        groups = used
        unusedGroups = effective.allowedGroups.filter { !used.contains($0) }
        signatures = unsafe Self.names(effective.certificates, gnutls_priority_sign_list) { number in
            unsafe gnutls_sign_get_name(gnutls_sign_algorithm_t(number))
        }
        let carried = KernelCipher.allCases.filter(kernel.ciphers.contains).map(\.suite)
        lackingInKernel = allowed.cipherSuites.filter { !carried.contains($0) }
        forbidden = carried.filter { !allowed.cipherSuites.contains($0) }
        keyHashes = PSKHash.allCases.filter { hash in
            unsafe hash.isSupported && effective.preSharedKey(hash) != nil
        }
        library = GnuTLS.version
        // A string of the library's, which it keeps; NULL where it was built without such a file.
        policyFile = unsafe gnutls_get_system_config_file().map { unsafe String(cString: $0) } ?? ""
        isFIPS = gnutls_fips140_mode_enabled() != 0
    }

    /// The names in one of a priority's lists, which live as long as the priority; names are string constants.
    private static func names(
        _ priority: OpaquePointer, _ fetch: (OpaquePointer?, UnsafeMutablePointer<UnsafePointer<UInt32>?>?) -> Int32,
        _ name: (UInt32) -> UnsafePointer<CChar>?
    ) -> [String] {
        var list: UnsafePointer<UInt32>?
        let count = unsafe fetch(priority, &list)
        guard count > 0, let list = unsafe list else { return [] }
        return unsafe UnsafeBufferPointer(start: list, count: Int(count)).compactMap { number in
            unsafe name(number).map { unsafe String(cString: $0) }
        }
    }
}
