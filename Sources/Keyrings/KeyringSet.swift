internal import KernelWire
package import Policy
package import System
internal import Wire

/// The keyrings that the daemon searches: those of the kernel consumers, which exist while their modules are loaded,
/// and those in the settings. They are linked to our session keyring, so that we possess their keys.
///
/// One thread, the one that called `Keyring.establish()`.
package struct KeyringSet: ~Copyable {
    /// Names, or serials in decimal or with `0x`, as in the settings.
    package private(set) var names: [String]
    private var linked: [String: KeySerial] = [:]
    private var failures: [String: SystemError] = [:]
    private var inserted: [InsertedKey] = []
    private var index = DescriptionIndex()

    /// A key that we added and will remove.
    private struct InsertedKey {
        let keyring: String
        let description: String
        let serial: KeySerial
    }

    /// Result of `refresh()`.
    package struct Change: Sendable, Equatable {
        /// Names of newly linked keyrings.
        package var linked: [String] = []
        /// Names of keyrings that are gone, with their modules.
        package var gone: [String] = []
        /// Existing keyrings that cannot be linked; reported once per error.
        package var failed: [(name: String, error: SystemError)] = []

        package init() {}

        package static func == (left: Change, right: Change) -> Bool {
            left.linked == right.linked && left.gone == right.gone
                && left.failed.elementsEqual(right.failed) { $0.name == $1.name && $0.error == $1.error }
        }

        package var isEmpty: Bool { linked.isEmpty && gone.isEmpty && failed.isEmpty }
    }

    /// Keyrings of the kernel consumers (drivers/nvme/common/keyring.c, fs/nfs/inode.c).
    package static let kernelNames = [".nvme", ".nfs", ".nfsd"]

    /// - Parameter names: keyrings in the settings, besides the kernel's: names, or serials in decimal or with `0x`.
    package init(configured names: [String] = []) {
        self.names = Self.all(with: names)
    }

    /// Replaces the keyrings of the settings. The next `refresh` links new ones. Keyrings that are no longer configured
    /// are unlinked; failures are ignored, because such a keyring is gone.
    package mutating func configure(_ names: [String]) {
        let wanted = Self.all(with: names)
        guard wanted != self.names else { return }
        self.names = wanted
        for (name, serial) in linked where !wanted.contains(name) {
            try? Keyring.session.unlink(serial)
            linked[name] = nil
        }
    }

    private static func all(with names: [String]) -> [String] {
        var all = kernelNames
        for name in names where !all.contains(name) { all.append(name) }
        return all
    }

    /// Serial of a linked keyring.
    package func serial(of name: String) -> KeySerial? { linked[name] }

    /// Links keyrings that now exist and are not linked yet. Cheap enough to call before every request: one system call
    /// per linked keyring, and one read of /proc/keys if any is not linked.
    ///
    /// - Throws: An error if /proc/keys cannot be read. Keyrings that are given by serial are linked all the same.
    @discardableResult
    package mutating func refresh() throws(SystemError) -> Change {
        var change = Change()
        for name in names {
            guard let serial = linked[name], !Key(serial).isAlive else { continue }
            linked[name] = nil
            // A revoked keyring would exist as long as it is linked.
            try? Keyring.session.unlink(serial)
            inserted.removeAll { $0.keyring == name }
            change.gone.append(name)
        }
        guard linked.count < names.count else { return change }
        let directory = Result { () throws(SystemError) in try KeyringDirectory() }
        for name in names where linked[name] == nil {
            guard let serial = (try? directory.get())?.keyrings[name] ?? Self.number(name) else { continue }
            do throws(SystemError) {
                try Keyring.session.link(Keyring(serial))
                linked[name] = serial
                failures[name] = nil
                change.linked.append(name)
            } catch {
                if failures.updateValue(error, forKey: name) != error { change.failed.append((name, error)) }
            }
        }
        _ = try directory.get()
        return change
    }

    /// The `psk` key whose complete description is `identity`: first in the consumer's own keyring, then in the linked
    /// ones that `scope` allows, in order. Keyrings of other consumers are never searched.
    ///
    /// - Returns: `nil` if no keyring contains it.
    /// - Throws: The first error of a search, if the other keyrings do not contain the key.
    package mutating func findPSK(
        _ identity: [UInt8], consumer keyring: KeySerial? = nil, scope: KeyringScope = .everything, type: String = "psk"
    ) throws(SystemError) -> KeySerial? {
        var problem: SystemError?
        for keyring in keyrings(consumer: keyring, scope) {
            do throws(SystemError) {
                if let serial = try keyring.search(type: type, description: identity, index: &index) { return serial }
            } catch {
                problem = problem ?? error
            }
        }
        if let problem { throw problem }
        return nil
    }

    /// Returns `true` if a request may use a key that it names by serial.
    package func reaches(_ serial: KeySerial, consumer: KeySerial?, scope: KeyringScope) -> Bool {
        guard case .only = scope else { return true }
        return keyrings(consumer: consumer, scope).contains { $0.holds(serial) }
    }

    /// The consumer's keyring, if it counts as its own. Consumers of every namespace name the kernel's global keyrings,
    /// and a keyring that is linked but not allowed by `scope` is not their own.
    package func own(_ keyring: KeySerial?, scope: KeyringScope) -> KeySerial? {
        guard let keyring, case .only(let names) = scope else { return keyring }
        let isShared = linked.contains { $0.value == keyring }
        return isShared && !names.contains { linked[$0] == keyring } ? nil : keyring
    }

    private func keyrings(consumer: KeySerial?, _ scope: KeyringScope) -> [Keyring] {
        let own = own(consumer, scope: scope)
        let allowed = names.filter { scope.allows($0) }.compactMap { linked[$0] }.filter { $0 != own }
        return (own.map { [$0] } ?? []).map { Keyring($0) } + allowed.map { Keyring($0) }
    }

    /// Adds a key of the settings to the named keyring, and records it. An existing key with the same type, description
    /// and payload is kept, because kernel consumers refer to keys by serial. A key with another payload is replaced.
    ///
    /// - Throws: ENOKEY if the keyring is not linked.
    @discardableResult
    package mutating func insert(
        _ description: String, payload: Range<Int>, of buffer: borrowing SecretBuffer, into name: String,
        type: String = "psk"
    ) throws(SystemError) -> KeySerial {
        guard let keyring = linked[name] else {
            throw SystemError("add_key", .enokey, "to keyring \(name)")
        }
        let ring = Keyring(keyring)
        let same = ring.member(type: type, description: description, payload: payload, of: buffer, index: &index)
        let serial =
            if let same { same } else {
                try ring.add(type: type, description: description, payload: payload, of: buffer)
            }
        inserted.removeAll { $0.keyring == name && $0.description == description }
        inserted.append(InsertedKey(keyring: name, description: description, serial: serial))
        return serial
    }

    /// Returns `true` if `insert` added the key and it is neither expired nor revoked.
    package func holds(_ description: String, in name: String) -> Bool {
        inserted.contains { $0.keyring == name && $0.description == description && Key($0.serial).isAlive }
    }

    /// Removes a key that `insert` added. Keys that others added with the same description are kept.
    package mutating func remove(_ description: String, from name: String) throws(SystemError) {
        guard let index = inserted.firstIndex(where: { $0.keyring == name && $0.description == description }) else {
            return
        }
        let entry = inserted.remove(at: index)
        guard let keyring = linked[name] else { return }
        try Keyring(keyring).unlink(entry.serial)
    }

    /// Revokes the key with this complete description, so that connections cannot use it again, and removes it from the
    /// named keyring.
    ///
    /// - Returns: `nil` if the keyring does not contain it.
    /// - Throws: ENOKEY if the keyring is not linked.
    package mutating func revoke(
        _ description: String, in name: String, type: String = "psk"
    ) throws(SystemError) -> KeySerial? {
        guard let keyring = linked[name] else { throw SystemError("keyctl_revoke", .enokey, "in keyring \(name)") }
        let ring = Keyring(keyring)
        guard let serial = try ring.search(type: type, description: Array(description.utf8), index: &index) else {
            return nil
        }
        try Key(serial).revoke()
        try ring.unlink(serial)
        return serial
    }

    private static func number(_ name: String) -> KeySerial? {
        let number = name.hasPrefix("0x") ? Int32(name.dropFirst(2), radix: 16) : Int32(name)
        guard let number, number > 0 else { return nil }
        return KeySerial(number)
    }
}

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

/// The keyring in a consumer's request. ACCEPT links it to our process keyring and never unlinks it
/// (net/handshake/tlshd.c, tls_handshake_private_keyring), so without cleanup every consumer's keys would be available
/// to all others.
package enum ConsumerKeyring {
    /// Unlinks the keyring that the preceding ACCEPT has linked. Call it after every ACCEPT.
    ///
    /// - Returns: That keyring; kernels before 6.17 do not report it otherwise.
    package static func take() throws(SystemError) -> KeySerial? {
        let members = try Keyring.process.members()
        for serial in members { try Keyring.process.unlink(serial) }
        // One ACCEPT links at most one keyring. If there are more, their owners are unknown.
        return members.count == 1 ? members.first : nil
    }

    /// Links the keyring while `body` runs, so that this thread possesses the keys in it.
    ///
    /// - Throws: Errors of `body`, or of linking the keyring.
    package static func possessing<Value>(
        _ serial: KeySerial?, _ body: () throws(SystemError) -> Value
    ) throws(SystemError) -> Value {
        guard let serial else { return try body() }
        try Keyring.process.link(Keyring(serial))
        // Best effort: a keyring that cannot be unlinked is gone, and `take` unlinks all at the next request.
        defer { try? Keyring.process.unlink(serial) }
        return try body()
    }
}
