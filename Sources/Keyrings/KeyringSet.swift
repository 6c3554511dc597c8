package import Policy
package import System

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
    /// - Throws: An error if /proc/keys cannot be read.
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
        let directory = try KeyringDirectory()
        for name in names where linked[name] == nil {
            guard let serial = directory.keyrings[name] ?? Self.number(name) else { continue }
            do throws(SystemError) {
                try Keyring.session.link(Keyring(serial))
                linked[name] = serial
                failures[name] = nil
                change.linked.append(name)
            } catch {
                if failures.updateValue(error, forKey: name) != error { change.failed.append((name, error)) }
            }
        }
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

    private static func number(_ name: String) -> KeySerial? {
        let number = name.hasPrefix("0x") ? Int32(name.dropFirst(2), radix: 16) : Int32(name)
        guard let number, number > 0 else { return nil }
        return KeySerial(number)
    }
}
