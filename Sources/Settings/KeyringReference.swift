/// A keyring in the settings: its description, or its serial number.
package enum KeyringReference: Hashable, Sendable, CustomStringConvertible {
    case name(String)
    case serial(Int32)

    /// Keyrings in which kernel consumers look up keys. They are always linked.
    package static let standard: [KeyringReference] = [.name(".nvme"), .name(".nfs"), .name(".nfsd")]

    /// Parses a reference. Decimal digits without leading zeros that are a valid serial denote a serial, any other text
    /// is a name. `nil` for the empty text.
    package init?(_ text: String) {
        guard !text.isEmpty else { return nil }
        if let serial = Int32(text), serial > 0, String(serial) == text {
            self = .serial(serial)
        } else {
            self = .name(text)
        }
    }

    /// Spelling in the settings. For a serial it can also be the name of a keyring.
    package var description: String {
        switch self {
        case .name(let name): name
        case .serial(let serial): String(serial)
        }
    }
}
