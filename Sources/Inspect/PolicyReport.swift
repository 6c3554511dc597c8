internal import CGnuTLS
package import Handshake
internal import TLS
package import TLSWire
package import X509

/// Algorithms that may be negotiated and the source of that decision, for display.
package struct PolicyReport: Sendable, Equatable {
    /// Cipher suites by their names in RFC 8446, in order of preference.
    package let suites: [String]
    /// Groups and signature algorithms by their GnuTLS names, in order of preference.
    package let groups: [String]
    package let signatures: [String]
    /// Groups that the policy allows but that are used only if the settings name them.
    package let unusedGroups: [String]
    /// Suites that the crypto policy allows but this kernel's TLS lacks.
    package let lackingInKernel: [String]
    /// Suites of this kernel's TLS that the crypto policy does not allow.
    package let forbidden: [String]
    /// Hashes of PSKs that can be used.
    package let keyHashes: [PSKHash]
    /// The library's version, such as `3.8.9`.
    package let library: String
    /// The GnuTLS configuration file; empty if GnuTLS was built without one. The file need not exist.
    package let policyFile: String
    /// True if GnuTLS is in FIPS 140 mode.
    package let isFIPS: Bool

    /// - Parameter kernel: capabilities of the kernel. If it has no ciphers, the kernel is not considered and every
    ///   suite is reported as lacking.
    /// - Throws: If the policy cannot be read, or leaves nothing to negotiate.
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
        // A string that GnuTLS keeps; NULL if it was built without such a file.
        policyFile = unsafe gnutls_get_system_config_file().map { unsafe String(cString: $0) } ?? ""
        isFIPS = gnutls_fips140_mode_enabled() != 0
    }

    /// Names in a list of a priority. The list lives as long as the priority; the names are string constants.
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
