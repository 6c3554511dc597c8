internal import Handshake
internal import System
internal import TLS

/// What all handshakes of this host have in common: its crypto policy and what its kernel's TLS carries.
struct HostEnvironment {
    let tls: TLSEnvironment
    /// Whether the kernel's TLS could be tried out; where not, it is taken to carry every cipher that kTLS can have.
    let knowsKernel: Bool

    /// - Throws: when that leaves nothing to negotiate.
    init() throws(GnuTLSError) {
        let capabilities = (try? KernelTLSProbe.run())?.capabilities
        knowsKernel = capabilities.map { !$0.ciphers.isEmpty } ?? false
        let all = KernelTLSCapabilities(ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: true)
        tls = try TLSEnvironment(knowsKernel ? capabilities ?? all : all)
    }
}
