internal import CGnuTLS
package import Handshake
package import TLSWire
internal import Wire
package import X509

/// Algorithms that may be negotiated: the system's crypto policy, reduced to TLS 1.3 and to the ciphers of kernel TLS.
/// Built once.
@safe package final class Priorities {
    /// For certificates, in either role.
    package let certificates: OpaquePointer
    /// For PSKs, keyed by the hash of their binder: the hash of the suite must be that of the PSK (RFC 8446 §4.2.11).
    /// `nil` if the policy leaves no suite for that hash.
    private let preSharedKeys: [PSKHash: OpaquePointer]
    /// Suites for certificates by their names in RFC 8446, in order of preference.
    package let cipherSuites: [String]
    /// Groups that the policy allows, by GnuTLS name: those in `certificates`, and the finite field groups that are
    /// used only if the settings name them.
    package let allowedGroups: [String]

    /// The hash functions and the ciphers that form suites with them (RFC 8446 §B.4). The suite that NVMe/TCP
    /// prescribes for each hash comes first, whatever the system prefers.
    private static let ciphers: [PSKHash: [KernelCipher]] = [
        .sha256: [.aes128GCM, .chacha20Poly1305, .aes128CCM], .sha384: [.aes256GCM],
    ]

    /// - Parameter restriction: appended to every priority string; tests narrow the groups with it.
    /// - Throws: `GnuTLSError` if the system's policy and the kernel have no cipher in common, or the policy cannot be
    ///   read.
    package init(_ kernel: KernelTLSCapabilities, restriction: String = "") throws(GnuTLSError) {
        let order = try Self.systemCiphers().filter(kernel.ciphers.contains)
        guard !order.isEmpty else { throw GnuTLSError(code: GNUTLS_E_NO_CIPHER_SUITES, call: "crypto policy") }
        var finiteFields: [String] = []
        let certificates = try unsafe Self.make(order, extra: restriction, leavingOut: &finiteFields)
        var keys = unsafe [PSKHash: OpaquePointer]()
        for hash in PSKHash.allCases {
            let fitting = (Self.ciphers[hash] ?? []).filter(order.contains)
            guard !fitting.isEmpty else { continue }
            // (EC)DHE only: psk_ke has no forward secrecy. Finite fields are allowed only if nothing else is left:
            // GnuTLS uses them if it may use both, and they cost forty times as much.
            var leftOut: [String] = []
            unsafe keys[hash] =
                (try? unsafe Self.make(fitting, extra: ":-KX-ALL:+ECDHE-PSK" + restriction, leavingOut: &leftOut))
                ?? (try? unsafe Self.make(
                    fitting, extra: ":-KX-ALL:+DHE-PSK" + restriction, keepsFiniteFields: true, leavingOut: &leftOut))
        }
        unsafe self.certificates = certificates
        allowedGroups = unsafe Self.groups(of: certificates) + finiteFields
        unsafe preSharedKeys = keys
        cipherSuites = order.map(\.suite)
    }

    deinit {
        unsafe gnutls_priority_deinit(certificates)
        unsafe preSharedKeys.values.forEach { unsafe gnutls_priority_deinit($0) }
    }

    /// The priorities for a PSK; `nil` if the policy or the kernel leave no suite for its hash.
    package func preSharedKey(_ hash: PSKHash) -> OpaquePointer? { unsafe preSharedKeys[hash] }

    /// The kTLS ciphers of the system's default priority, in its order.
    private static func systemCiphers() throws(GnuTLSError) -> [KernelCipher] {
        var priority: OpaquePointer?
        try GnuTLS.check(unsafe gnutls_priority_init(&priority, nil, nil), "gnutls_priority_init")
        defer { unsafe gnutls_priority_deinit(priority) }
        var list: UnsafePointer<UInt32>?
        let count = unsafe gnutls_priority_cipher_list(priority, &list)
        guard count > 0, let list = unsafe list else { return [] }
        // The list lives as long as the priority.
        return unsafe UnsafeBufferPointer(start: list, count: Int(count)).compactMap { number in
            KernelCipher.allCases.first { $0.libraryNumber == number }
        }
    }

    /// The system's priority followed by our changes.
    ///
    /// - Parameter finiteFields: receives the allowed finite field groups that are left out. A server computes with the
    ///   client's key share before the client is authenticated: a quarter of a second for FFDHE8192, a millisecond for
    ///   elliptic curves. They are kept if the policy allows nothing else.
    private static func make(
        _ ciphers: [KernelCipher], extra: String, keepsFiniteFields: Bool = false,
        leavingOut finiteFields: inout [String]
    ) throws(GnuTLSError) -> OpaquePointer {
        let base =
            "-VERS-ALL:+VERS-TLS1.3:%NO_TICKETS:-CIPHER-ALL" + ciphers.map { ":+" + $0.libraryName }.joined() + extra
        var priority: OpaquePointer?
        try unsafe initialize(&priority, base)
        guard let plain = unsafe priority else { throw GnuTLSError(code: GNUTLS_E_INTERNAL_ERROR, call: "priority") }
        // A restriction that replaces the groups lists all of them, in its own order.
        guard !extra.split(separator: ":").contains("-GROUP-ALL") else { return unsafe plain }
        let present = unsafe groups(of: plain)
        let curves = present.filter { !isFiniteField($0) }
        let keepsAll = keepsFiniteFields || curves.isEmpty
        finiteFields = keepsAll ? [] : present.filter(isFiniteField)
        let order = preferringX25519(keepsAll ? present : curves)
        let missing = GnuTLS.hybridGroups.filter { !present.contains($0) }
        guard !missing.isEmpty || order != present else { return unsafe plain }
        let ordered = order == present ? "" : ":-GROUP-ALL" + order.map { ":+GROUP-" + $0 }.joined()
        // The policy may forbid one of the added groups; then none is added.
        for addition in [missing, []] {
            var changed: OpaquePointer?
            do throws(GnuTLSError) {
                try unsafe initialize(&changed, base + ordered + addition.map { ":+GROUP-" + $0 }.joined())
            } catch {
                continue
            }
            guard let result = unsafe changed else { continue }
            unsafe gnutls_priority_deinit(plain)
            return unsafe result
        }
        return unsafe plain
    }

    /// Returns `true` if the group, by its GnuTLS name, is a finite field group (RFC 7919).
    package static func isFiniteField(_ group: String) -> Bool { group.hasPrefix("FFDHE") }

    /// The same groups with X25519 before the first NIST curve, because it takes less time on both sides. Hybrid groups
    /// keep their place. A client sends key shares for the first two kinds, so that a server with NIST curves only
    /// needs no HelloRetryRequest (RFC 8446 §4.1.4).
    static func preferringX25519(_ groups: [String]) -> [String] {
        guard let place = groups.firstIndex(of: "X25519"),
            let first = groups.firstIndex(where: { $0.hasPrefix("SECP") && !GnuTLS.isHybrid($0) }), first < place
        else { return groups }
        var order = groups
        order.insert(order.remove(at: place), at: first)
        return order
    }

    private static func initialize(_ priority: inout OpaquePointer?, _ text: String) throws(GnuTLSError) {
        let flags = UInt32(GNUTLS_PRIORITY_INIT_DEF_APPEND)
        try GnuTLS.check(unsafe gnutls_priority_init2(&priority, text, nil, flags), "gnutls_priority_init2 \(text)")
    }

    /// GnuTLS names of the groups that a priority allows, in its order.
    package static func groups(of priority: OpaquePointer) -> [String] {
        var list: UnsafePointer<UInt32>?
        let count = unsafe gnutls_priority_group_list(priority, &list)
        guard count > 0, let list = unsafe list else { return [] }
        // The list lives as long as the priority; names are string constants.
        return unsafe UnsafeBufferPointer(start: list, count: Int(count)).compactMap { number in
            unsafe gnutls_group_get_name(gnutls_group_t(number)).map { unsafe String(cString: $0) }
        }
    }
}

extension KernelCipher {
    /// GNUTLS_CIPHER_*.
    var libraryNumber: UInt32 {
        switch self {
        case .aes128GCM: GNUTLS_CIPHER_AES_128_GCM.rawValue
        case .aes256GCM: GNUTLS_CIPHER_AES_256_GCM.rawValue
        case .aes128CCM: GNUTLS_CIPHER_AES_128_CCM.rawValue
        case .chacha20Poly1305: GNUTLS_CIPHER_CHACHA20_POLY1305.rawValue
        }
    }

    /// The name in priority strings.
    fileprivate var libraryName: String {
        switch self {
        case .aes128GCM: "AES-128-GCM"
        case .aes256GCM: "AES-256-GCM"
        case .aes128CCM: "AES-128-CCM"
        case .chacha20Poly1305: "CHACHA20-POLY1305"
        }
    }
}

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
