/// The linked keyrings that a request may use, besides the consumer's own.
package enum KeyringScope: Sendable, Equatable {
    /// All of them, and by serial every key that the daemon may read.
    case everything
    /// Only those with these names. A key given by serial must be in one of them or in the consumer's own keyring.
    case only([String])

    func allows(_ name: String) -> Bool {
        switch self {
        case .everything: true
        case .only(let names): names.contains(name)
        }
    }
}
