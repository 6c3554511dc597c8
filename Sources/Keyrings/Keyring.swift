internal import CKeyutils
internal import Glibc
package import Handshake
package import System
internal import Wire

/// A keyring of the kernel, by its serial or by one of the special numbers (keyrings(7)).
package struct Keyring: Sendable, Hashable {
    /// Negative for the special ones.
    package let number: Int32

    /// The calling thread's session keyring, which children inherit.
    package static let session = Keyring(number: KEY_SPEC_SESSION_KEYRING)
    /// The process's own keyring. ACCEPT links a consumer's keyring here (net/handshake/tlshd.c).
    package static let process = Keyring(number: KEY_SPEC_PROCESS_KEYRING)

    private init(number: Int32) {
        self.number = number
    }

    package init(_ serial: KeySerial) {
        number = serial.number
    }

    package var name: String {
        switch self {
        case .session: "the session keyring"
        case .process: "the process keyring"
        default: "keyring 0x" + String(UInt32(bitPattern: number), radix: 16)
        }
    }

    /// Gives this process a session keyring and a process keyring of its own. To be called before any other thread
    /// exists and before the first ACCEPT: threads that are older than the process keyring do not possess what is
    /// linked there.
    package static func establish() throws(KeyError) {
        guard keyctl_join_session_keyring(nil) > 0 else {
            throw KeyError(.last("keyctl_join_session_keyring"))
        }
        try establishProcessKeyring()
    }

    /// Gives this process a process keyring where it has none, as after a fork (copy_creds in kernel/cred.c).
    package static func establishProcessKeyring() throws(KeyError) {
        guard keyctl_get_keyring_ID(KEY_SPEC_PROCESS_KEYRING, 1) > 0 else {
            throw KeyError(.last("keyctl_get_keyring_ID", "of the process keyring"))
        }
    }

    /// Links `child` into this keyring; needs the right to link the child and to write here. Linking again changes
    /// nothing.
    package func link(_ child: Keyring) throws(KeyError) {
        guard keyctl_link(child.number, number) == 0 else {
            throw KeyError(.last("keyctl_link", "of \(child.name) to \(name)"))
        }
    }

    /// Removes the link to a key or keyring; that there is none is no error.
    package func unlink(_ serial: KeySerial) throws(KeyError) {
        guard keyctl_unlink(serial.number, number) == 0 || errno == ENOENT else {
            throw KeyError(.last("keyctl_unlink", "of \(Key(serial).name) from \(name)"))
        }
    }

    /// Serials of all keys and keyrings that it links to.
    package func members() throws(KeyError) -> [KeySerial] {
        var room = 256
        while true {
            var serials = [Int32](repeating: 0, count: room)
            let length = unsafe serials.withUnsafeMutableBytes { raw in
                unsafe keyctl_read(number, raw.baseAddress?.assumingMemoryBound(to: CChar.self), raw.count)
            }
            guard length >= 0 else { throw KeyError(.last("keyctl_read", "of \(name)")) }
            let count = length / MemoryLayout<Int32>.size
            // It may have grown since; the kernel copies nothing, or less, where the room does not suffice.
            guard count > room else { return serials.prefix(count).compactMap { KeySerial($0) } }
            room = count + 64
        }
    }

    /// Adds a key, or replaces the one of the same type and description.
    ///
    /// - Parameters:
    ///   - type: `psk`, or `user`.
    ///   - payload: the bytes of `buffer` that are the key.
    /// - Throws: `.wrongType` with ENODEV where the kernel does not know the type (yet: `psk` comes with the module
    ///   nvme-keyring).
    package func add(
        type: String, description: String, payload: Range<Int>, of buffer: borrowing SecretBuffer
    ) throws(KeyError) -> KeySerial {
        precondition(payload.lowerBound >= 0 && payload.upperBound <= buffer.capacity)
        let serial = unsafe buffer.withUnsafeBytes { raw in
            // Inside the buffer, as the precondition says; the kernel copies it.
            unsafe add_key(type, description, raw.baseAddress?.advanced(by: payload.lowerBound), payload.count, number)
        }
        guard serial > 0, let key = KeySerial(serial) else {
            throw KeyError(.last("add_key", "of type \(type) to \(name)"))
        }
        return key
    }

    /// The key of this type whose *whole* description equals the one given.
    ///
    /// The kernel's own search compares the descriptions of `psk` keys only as far as the one sought goes
    /// (drivers/nvme/common/keyring.c, nvme_tls_psk_match), so what it finds is compared here, and when it is another
    /// key, the one sought is looked up in `index`.
    ///
    /// - Returns: `nil` where there is none.
    /// - Throws: `.gone` where a key that matches has expired or was revoked and no other fits, or where the keyring
    ///   itself has gone.
    func search(
        type: String, description: [UInt8], index: inout DescriptionIndex
    ) throws(KeyError) -> KeySerial? {
        guard !description.isEmpty, !description.contains(0) else { return nil }
        let text = description + [0]
        let found = unsafe text.withUnsafeBytes { raw in
            unsafe keyctl_search(number, type, raw.baseAddress?.assumingMemoryBound(to: CChar.self), 0)
        }
        if found > 0, let serial = KeySerial(Int32(truncatingIfNeeded: found)) {
            if Self.matches(serial, type, description) { return serial }
            return KeySerial(number).flatMap { index.key(type: type, description: description, in: $0) }
        }
        let error = SystemError.last("keyctl_search", "in \(name)")
        if error.number == ENOKEY, isAlive { return nil }
        if error.number == EKEYEXPIRED || error.number == EKEYREVOKED,
            let other = KeySerial(number).flatMap({ index.key(type: type, description: description, in: $0) })
        {
            return other
        }
        throw KeyError(error)
    }

    /// The member of this type, description and payload.
    ///
    /// - Returns: `nil` where there is none, or where it cannot be read: `add` then replaces it.
    func member(
        type: String, description: String, payload: Range<Int>, of buffer: borrowing SecretBuffer,
        index: inout DescriptionIndex
    ) -> KeySerial? {
        guard !payload.isEmpty,
            let found = try? search(type: type, description: Array(description.utf8), index: &index),
            let members = try? members(), members.contains(found),
            var present = try? SecretBuffer(capacity: payload.count),
            let length = try? Key(found).read(into: &present, limit: payload.count), length == payload.count,
            present.equals(payload, of: buffer)
        else { return nil }
        return found
    }

    /// Whether the key is a member, or one of a keyring among the members.
    func holds(_ serial: KeySerial, depth: Int = 4) -> Bool {
        // A keyring that cannot be read is one whose keys cannot be used.
        guard let serials = try? members() else { return false }
        if serials.contains(serial) { return true }
        guard depth > 1 else { return false }
        return serials.contains { member in
            guard let about = try? Key(member).describe(), about.type == "keyring" else { return false }
            return Keyring(member).holds(serial, depth: depth - 1)
        }
    }

    /// Whether it exists and is neither expired nor revoked.
    package var isAlive: Bool {
        keyctl_describe(number, nil, 0) > 0
    }

    static func matches(_ serial: KeySerial, _ type: String, _ description: [UInt8]) -> Bool {
        guard let about = try? Key(serial).describe() else { return false }
        return about.type == type && about.description == description
    }
}
