/// A keyring as settings name it: by its description, or by its serial number.
package enum KeyringReference: Hashable, Sendable, CustomStringConvertible {
    case name(String)
    case serial(Int32)

    /// The keyrings that kernel consumers look keys up in. They are linked whatever the settings say.
    package static let standard: [KeyringReference] = [.name(".nvme"), .name(".nfs"), .name(".nfsd")]

    /// Decimal digits without leading zeros that a serial can have are a serial, everything else is a name.
    /// Nil for the empty text, which names nothing.
    package init?(_ text: String) {
        guard !text.isEmpty else { return nil }
        if let serial = Int32(text), serial > 0, String(serial) == text {
            self = .serial(serial)
        } else {
            self = .name(text)
        }
    }

    /// As it is written in the settings. A keyring that is *called* like a number can be found by this text.
    package var description: String {
        switch self {
        case .name(let name): name
        case .serial(let serial): String(serial)
        }
    }
}
