internal import CGnuTLS
package import Handshake
internal import X509

extension TLSEnvironment {
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
        do throws(GnuTLSError) {
            let made = try Priorities(narrowed, restriction: groups)
            limited[limits] = made
            return made
        } catch {
            throw HandshakeFailure(.limitsUnusable, error.description)
        }
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
}
