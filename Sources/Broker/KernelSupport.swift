internal import Handshake
internal import System
internal import Unconfined

/// Requirements for the kernel's TLS.
enum KernelSupport {
    /// Probes the kernel's TLS and logs missing features.
    ///
    /// - Throws: `TextError` with the option or module, if no cipher works.
    static func probe(log: DaemonLog) throws(TextError) -> KernelTLSCapabilities {
        let probe = try TextError.of(
            "the kernel's TLS cannot be tried out", remedy: "ip link set lo up", try KernelTLSProbe.run())
        guard !probe.capabilities.ciphers.isEmpty else {
            throw TextError(
                "\(probe.problems.joined(separator: "; ")); remedy: modprobe tls, or a kernel with CONFIG_TLS")
        }
        for problem in probe.problems { log.notice(problem) }
        return probe.capabilities
    }
}
