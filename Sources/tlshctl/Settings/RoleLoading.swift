internal import Broker
internal import Handshake
internal import Inspect
internal import System
internal import TLS
internal import Unconfined
internal import Wire
internal import X509

/// Loads a role's files into GnuTLS in one process: opened like the broker does, parsed like a worker does.
enum RoleLoading {
    enum Problem: Error {
        /// The file cannot be opened or copied.
        case file(CredentialFile, SystemError)
        /// The file, or the combination of files, is invalid.
        case content(TextError)

        var description: String {
            switch self {
            case .file(_, let error): error.description
            case .content(let error): error.description
            }
        }
    }

    /// - Parameters:
    ///   - files: in ascending order of kind.
    ///   - rules: rules for peers. With digests no trust store is needed.
    static func load(
        _ files: [CredentialFile], as role: Role, rules: PeerRules
    ) throws(Problem) -> Credentials {
        var copies: [(file: CredentialFile, copy: SealedCopy)] = []
        for file in files {
            do throws(SystemError) {
                copies.append((file, try SealedCopy(of: file)))
            } catch {
                throw .file(file, error)
            }
        }
        let specification = RoleCredentials(role: role, generation: 1, files: files, rules: rules)
        do throws(TextError) {
            var loader = try CredentialsLoader(specification)
            for (file, copy) in copies { try loader.load(file, copy.descriptor) }
            return try loader.finish()
        } catch {
            throw .content(error)
        }
    }
}

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
