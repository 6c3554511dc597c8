internal import Handshake
internal import System

/// What the daemon needs of the kernel, and how it says what is missing.
enum KernelSupport {
    /// Tries the kernel's TLS out and logs what it can do.
    ///
    /// - Throws: `StartFailure` when it can do nothing, naming the option or module.
    static func probe(log: DaemonLog) throws(StartFailure) -> KernelTLSCapabilities {
        let result: KernelTLSProbe.Result
        do {
            result = try KernelTLSProbe.run()
        } catch {
            throw StartFailure(error.description)
        }
        return result.capabilities
    }
}
