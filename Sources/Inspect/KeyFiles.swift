package import Handshake
internal import PrivateKeys
package import TLS
package import Wire

extension CredentialsLoader {
    /// Loads credentials whose files contain the private keys themselves. For inspection, tests and measurements: a
    /// worker never sees such a file.
    package init(_ specification: RoleCredentials) throws(TextError) {
        try unsafe self.init(specification) { (file, bytes) throws(TextError) in
            do throws(KeyOpeningError) {
                // The signer opens it the same way.
                return try unsafe SigningKey(pem: bytes).key
            } catch {
                throw .unusable(key: file.path, error.problem)
            }
        }
    }
}
