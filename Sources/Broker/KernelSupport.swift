internal import Handshake
internal import System
internal import Unconfined

/// What the daemon needs of the kernel's TLS, and how it says what is missing.
enum KernelSupport {
    /// Tries the kernel's TLS out and logs what it lacks.
    ///
    /// - Throws: `StartFailure` when it can do nothing, naming the option or module.
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
