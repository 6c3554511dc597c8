internal import PrivateKeys
package import TLS
package import Wire

extension CredentialsLoader {
    /// Loads credentials whose files contain the private keys themselves. For inspection, tests and measurements: a
    /// worker never sees such a file.
    package init(_ specification: RoleCredentials) throws(CredentialsError) {
        try unsafe self.init(specification) { (file, bytes) throws(CredentialsError) in
            do throws(KeyOpeningError) {
                // The signer opens it the same way.
                return try unsafe SigningKey(pem: bytes).key
            } catch {
                throw .privateKeyUnusable(path: file.path, problem: error.text)
            }
        }
    }
}
