/// Which of the linked keyrings may serve a request, besides the consumer's own.
package enum KeyringScope: Sendable, Equatable {
    /// All, and by its serial every key that the daemon may read.
    case everything
    /// Those of these names; a key that is named by its serial must be in one of them or in the consumer's own.
    case only([String])

    func allows(_ name: String) -> Bool {
        switch self {
        case .everything: true
        case .only(let names): names.contains(name)
        }
    }
}
