internal import CGnuTLS
internal import Handshake
internal import TLSWire
internal import Wire
internal import X509

/// The algorithms that a kernel consumer's priority string allows, in its order. Only lists are taken from it: they can
/// narrow our priorities but never widen them. Its flags (`%...`) and profile have no effect.
struct RequestedPriorities {
    let speaksTLS13: Bool
    let ciphers: [KernelCipher]
    /// GnuTLS names.
    private let groups: [String]
    private let signatures: [String]

    init(_ text: String) throws(GnuTLSError) {
        var made: OpaquePointer?
        try GnuTLS.check(unsafe gnutls_priority_init(&made, text, nil), "gnutls_priority_init")
        defer { unsafe gnutls_priority_deinit(made) }
        let versions = unsafe Self.list(made, gnutls_priority_protocol_list)
        speaksTLS13 = versions.contains(GNUTLS_TLS1_3.rawValue)
        ciphers = unsafe Self.list(made, gnutls_priority_cipher_list).compactMap { number in
            KernelCipher.allCases.first { $0.libraryNumber == number }
        }
        groups = unsafe Self.groups(made)
        signatures = unsafe Self.signatures(made)
    }

    /// Names what a handshake needs but the string and our own priorities do not have in common; `nil` if nothing is
    /// missing.
    func lack(beside own: Priorities, _ kernel: KernelTLSCapabilities, needsSignatures: Bool) -> String? {
        if !speaksTLS13 { return "TLS 1.3" }
        if !ciphers.contains(where: { own.cipherSuites.contains($0.suite) }) { return "cipher of the kernel's TLS" }
        if common(groups, unsafe Self.groups(own.certificates)).isEmpty { return "group that the crypto policy allows" }
        if needsSignatures, common(signatures, unsafe Self.signatures(own.certificates)).isEmpty {
            return "signature that the crypto policy allows"
        }
        return nil
    }

    /// Suffix for our own priority string.
    func restriction(of own: Priorities) -> String {
        let groups = common(groups, unsafe Self.groups(own.certificates))
        let signatures = common(signatures, unsafe Self.signatures(own.certificates))
        var text = ":-GROUP-ALL" + groups.map { ":+GROUP-" + $0 }.joined()
        if !signatures.isEmpty { text += ":-SIGN-ALL" + signatures.map { ":+SIGN-" + $0 }.joined() }
        return text
    }

    private func common(_ wanted: [String], _ allowed: [String]) -> [String] { wanted.filter(allowed.contains) }

    private static func groups(_ priority: OpaquePointer?) -> [String] {
        unsafe list(priority, gnutls_priority_group_list).compactMap { number in
            unsafe gnutls_group_get_name(gnutls_group_t(number)).map { unsafe String(cString: $0) }
        }
    }

    private static func signatures(_ priority: OpaquePointer?) -> [String] {
        unsafe list(priority, gnutls_priority_sign_list).compactMap { number in
            unsafe gnutls_sign_get_name(gnutls_sign_algorithm_t(number)).map { unsafe String(cString: $0) }
        }
    }

    /// A list of a priority. It lives as long as the priority.
    private static func list(
        _ priority: OpaquePointer?, _ fetch: (OpaquePointer?, UnsafeMutablePointer<UnsafePointer<UInt32>?>?) -> Int32
    ) -> [UInt32] {
        var list: UnsafePointer<UInt32>?
        let count = unsafe fetch(priority, &list)
        guard count > 0, let list = unsafe list else { return [] }
        return unsafe Array(UnsafeBufferPointer(start: list, count: Int(count)))
    }
}
