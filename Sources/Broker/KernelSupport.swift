internal import Handshake
internal import System
internal import Unconfined

/// Requirements for the kernel's TLS.
enum KernelSupport {
    /// Probes the kernel's TLS and logs missing features.
    ///
    /// - Throws: `StartFailure` with the option or module, if no cipher works.
    static func probe(log: DaemonLog) throws(StartFailure) -> KernelTLSCapabilities {
        let probe: KernelTLSProbe
        do {
            probe = try KernelTLSProbe.run()
        } catch {
            throw StartFailure("the kernel's TLS cannot be tried out: \(error.description); remedy: ip link set lo up")
        }
        guard !probe.capabilities.ciphers.isEmpty else {
            throw StartFailure(
                "\(probe.problems.joined(separator: "; ")); remedy: modprobe tls, or a kernel with CONFIG_TLS")
        }
        for problem in probe.problems { log.notice(problem) }
        return probe.capabilities
    }
}
