package import Handshake
package import System

/// The keyrings that the daemon searches: those that the kernel's consumers make when their modules are loaded, and
/// those that the settings name. They are linked to our session keyring, so that we possess the keys in them.
///
/// To be used by one thread, the one that called `Keyring.establish()`.
package struct KeyringSet: ~Copyable {
    /// The name, or `0x` and a serial, as the settings gave it.
    package private(set) var names: [String]
    private var linked: [String: KeySerial] = [:]
    private var failures: [String: KeyError] = [:]
    private var inserted: [InsertedKey] = []
    private var index = DescriptionIndex()

    /// A key that we added and shall remove.
    private struct InsertedKey {
        let keyring: String
        let description: String
        let serial: KeySerial
    }

    /// What `refresh()` found.
    package struct Change: Sendable, Equatable {
        /// Names of keyrings that are linked from now on.
        package var linked: [String] = []
        /// Names of keyrings that have gone, with their modules.
        package var gone: [String] = []
        /// Why a keyring that exists cannot be linked; told once for each cause.
        package var failed: [(name: String, error: KeyError)] = []

        package static func == (left: Change, right: Change) -> Bool {
            left.linked == right.linked && left.gone == right.gone
                && left.failed.elementsEqual(right.failed) { $0.name == $1.name && $0.error == $1.error }
        }

        package var isEmpty: Bool { linked.isEmpty && gone.isEmpty && failed.isEmpty }
    }

    /// The keyrings of the kernel's own consumers (drivers/nvme/common/keyring.c, fs/nfs/inode.c).
    package static let kernelNames = [".nvme", ".nfs", ".nfsd"]

    /// - Parameter names: those of the settings, besides the kernel's: names, or serials in decimal or with `0x`.
    package init(configured names: [String] = []) {
        self.names = Self.all(with: names)
    }

    /// Replaces the settings' keyrings. The next `refresh` links the new ones; those that are no longer named are
    /// unlinked, best effort, since one that cannot be unlinked has gone.
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

    /// The serial of a keyring that is linked now.
    package func serial(of name: String) -> KeySerial? { linked[name] }

    /// Links the keyrings that exist by now and are not linked yet. Cheap enough to be called before every request: a
    /// system call for each that is linked, and one reading of /proc/keys if any is not.
    ///
    /// - Throws: `.other` where /proc/keys cannot be read.
    @discardableResult
    package mutating func refresh() throws(KeyError) -> Change {
        var change = Change()
        for name in names {
            guard let serial = linked[name], !Key(serial).isAlive else { continue }
            linked[name] = nil
            // A revoked keyring would stay as long as we link to it.
            try? Keyring.session.unlink(serial)
            inserted.removeAll { $0.keyring == name }
            change.gone.append(name)
        }
        guard linked.count < names.count else { return change }
        let directory: KeyringDirectory
        do throws(SystemError) {
            directory = try KeyringDirectory()
        } catch {
            throw KeyError(error)
        }
        for name in names where linked[name] == nil {
            guard let serial = directory.keyrings[name] ?? Self.number(name) else { continue }
            do throws(KeyError) {
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

    /// The `psk` key whose whole description is `identity`: first in the consumer's own keyring, then in the linked
    /// ones that `scope` allows, in their order. Never in another consumer's.
    ///
    /// - Returns: `nil` where no keyring has it.
    /// - Throws: the first reason for which a keyring could not be searched, if the others do not have the key.
    package mutating func findPSK(
        _ identity: [UInt8], consumer keyring: KeySerial? = nil, scope: KeyringScope = .everything, type: String = "psk"
    ) throws(KeyError) -> KeySerial? {
        var problem: KeyError?
        for keyring in keyrings(consumer: keyring, scope) {
            do throws(KeyError) {
                if let serial = try keyring.search(type: type, description: identity, index: &index) { return serial }
            } catch {
                problem = problem ?? error
            }
        }
        if let problem { throw problem }
        return nil
    }

    /// Whether a key that a request names by its serial may serve it.
    package func reaches(_ serial: KeySerial, consumer: KeySerial?, scope: KeyringScope) -> Bool {
        guard case .only = scope else { return true }
        return keyrings(consumer: consumer, scope).contains { $0.holds(serial) }
    }

    /// The consumer's keyring if it counts as its own: consumers of every namespace name the kernel's global keyrings,
    /// and one that is linked for others' sake is theirs.
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

    /// Puts a key of the settings into the keyring named, and remembers it. A key that is there already, of the same
    /// type, whole description and bytes, is left alone: the kernel's consumers refer to keys by their serials. One
    /// with other bytes is replaced.
    ///
    /// - Throws: `.gone` while that keyring is not linked.
    @discardableResult
    package mutating func insert(
        _ description: String, payload: Range<Int>, of buffer: borrowing SecretBuffer, into name: String,
        type: String = "psk"
    ) throws(KeyError) -> KeySerial {
        guard let keyring = linked[name] else {
            throw .gone(SystemError("add_key", SystemError.noKey, "to keyring \(name)"))
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

    /// Whether the key is there because `insert` put it there, and neither expired nor was revoked.
    package func holds(_ description: String, in name: String) -> Bool {
        inserted.contains { $0.keyring == name && $0.description == description && Key($0.serial).isAlive }
    }

    /// Removes a key that `insert` put there. Keys that others added under the same description stay.
    package mutating func remove(_ description: String, from name: String) throws(KeyError) {
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
