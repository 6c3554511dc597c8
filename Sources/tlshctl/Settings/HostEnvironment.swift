internal import Handshake
internal import TLS
internal import Unconfined
internal import X509

/// State that all handshakes of this host share: crypto policy and capabilities of kernel TLS.
struct HostEnvironment {
    let tls: TLSEnvironment
    /// True if kernel TLS could be probed. If not, every cipher of kernel TLS is assumed.
    let knowsKernel: Bool

    /// - Throws: If nothing can be negotiated.
    init() throws(GnuTLSError) {
        let capabilities = (try? KernelTLSProbe.run())?.capabilities
        knowsKernel = capabilities.map { !$0.ciphers.isEmpty } ?? false
        let all = KernelTLSCapabilities(ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: true)
        tls = try TLSEnvironment(knowsKernel ? capabilities ?? all : all)
    }
}
