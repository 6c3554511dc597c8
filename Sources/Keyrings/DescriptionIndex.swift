internal import KernelWire
internal import Policy
internal import Wire

/// Index of key descriptions, so that a key with a given description is found without describing each member of a
/// keyring: peers choose how often that is needed. A key never changes its type or description (security/keys/key.c).
struct DescriptionIndex: Sendable {
    private struct Contents: Sendable {
        var serials: [KeySerial] = []
        /// Keyed by type and description.
        var keys: [Name: KeySerial] = [:]
        var keyrings: [KeySerial] = []
        /// True if a member could not be described, so that it must be tried again.
        var isPartial = false
    }

    private struct Name: Hashable, Sendable {
        let type: String
        let description: [UInt8]
    }

    private var keyrings: [KeySerial: Contents] = [:]
    private var names: [KeySerial: Name] = [:]
    /// Number of keys that the kernel was asked to describe; for tests.
    private(set) var questions = 0

    /// Maximum number of keys in the index. Larger keyrings are searched each time.
    static let limit = 65_536

    /// The key with this type and complete description in the keyring, or in keyrings among its members.
    mutating func key(type: String, description: [UInt8], in keyring: KeySerial, depth: Int = 4) -> KeySerial? {
        let contents = contents(of: keyring)
        if let serial = contents.keys[Name(type: type, description: description)],
            Keyring.matches(serial, type, description)
        {
            return serial
        }
        guard depth > 1 else { return nil }
        for inner in contents.keyrings {
            if let serial = key(type: type, description: description, in: inner, depth: depth - 1) { return serial }
        }
        return nil
    }

    /// Members of a keyring; empty if it cannot be read, because it cannot be searched either.
    private mutating func contents(of keyring: KeySerial) -> Contents {
        guard let serials = try? Keyring(keyring).members() else {
            keyrings[keyring] = nil
            return Contents()
        }
        if let known = keyrings[keyring], known.serials == serials, !known.isPartial { return known }
        var contents = Contents()
        contents.serials = serials
        for serial in serials {
            guard let name = name(of: serial) else {
                contents.isPartial = true
                continue
            }
            if name.type == "keyring" { contents.keyrings.append(serial) }
            // The first of several equal keys, as a search through the members would find.
            if contents.keys[name] == nil { contents.keys[name] = serial }
        }
        let gone = Set(keyrings[keyring]?.serials ?? []).subtracting(serials)
        for serial in gone { names[serial] = nil }
        if names.count > Self.limit {
            names = [:]
            keyrings = [:]
        }
        keyrings[keyring] = contents
        return contents
    }

    private mutating func name(of serial: KeySerial) -> Name? {
        if let known = names[serial] { return known }
        questions += 1
        guard let about = try? Key(serial).describe() else { return nil }
        let name = Name(type: about.type, description: about.description)
        names[serial] = name
        return name
    }
}
