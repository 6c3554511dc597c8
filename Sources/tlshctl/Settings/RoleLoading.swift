internal import Broker
internal import Handshake
internal import System
internal import TLS
internal import Wire

/// A role's files on their way into GnuTLS: opened as the broker does, read as a worker does, in one process.
enum RoleLoading {
    enum Problem: Error {
        /// It cannot be opened or copied.
        case file(CredentialFile, SystemError)
        /// It, or what the files make together, cannot be used.
        case content(CredentialsError)

        var description: String {
            switch self {
            case .file(_, let error): error.description
            case .content(let error): error.description
            }
        }
    }

    /// - Parameters:
    ///   - files: in rising order of kind.
    ///   - rules: what is asked of peers; digests among them do without a trust store.
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
        do throws(CredentialsError) {
            var loader = try CredentialsLoader(specification)
            for (file, copy) in copies { try loader.load(file, copy.descriptor) }
            return try loader.finish()
        } catch {
            throw .content(error)
        }
    }
}
