internal import Handshake
internal import Wire

/// Remembers what keys are called, so that a key whose description is known to the last byte is found without asking
/// the kernel about each member of a keyring: strangers choose how often that is wanted. A key never changes its type
/// or description (security/keys/key.c).
struct DescriptionIndex: Sendable {
    private struct Contents: Sendable {
        var serials: [KeySerial] = []
        /// By type and description.
        var keys: [Name: KeySerial] = [:]
        var keyrings: [KeySerial] = []
        /// Whether some member could not be described, so that it is asked for again.
        var isPartial = false
    }

    private struct Name: Hashable, Sendable {
        let type: String
        let description: [UInt8]
    }

    private var keyrings: [KeySerial: Contents] = [:]
    private var names: [KeySerial: Name] = [:]
    /// How often the kernel was asked what a key is called; for tests.
    private(set) var questions = 0

    /// Keys that are remembered, in all keyrings; a keyring with more is looked through each time.
    static let limit = 65_536

    /// The key of this type and whole description in the keyring, or in keyrings among its members.
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

    /// A keyring that cannot be read is one that cannot be searched.
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
            // The first of several is what a walk through the members would find.
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
