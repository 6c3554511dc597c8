internal import CKeyutils
internal import KernelWire
package import Policy
package import System
internal import Wire

/// A keyring, by its serial or a special number (keyrings(7)).
package struct Keyring: Sendable, Hashable {
    /// Negative for special keyrings.
    package let number: Int32

    /// The session keyring of the calling thread, which children inherit.
    package static let session = Keyring(number: KEY_SPEC_SESSION_KEYRING)
    /// The process keyring. ACCEPT links a consumer's keyring here (net/handshake/tlshd.c).
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

    /// Creates a session keyring and a process keyring for this process. Call it before any other thread exists and
    /// before the first ACCEPT: threads that are older than the process keyring do not possess keys linked to it.
    package static func establish() throws(SystemError) {
        guard keyctl_join_session_keyring(nil) > 0 else {
            throw .last("keyctl_join_session_keyring")
        }
        try establishProcessKeyring()
    }

    /// Creates a process keyring if there is none, as after a fork (copy_creds in kernel/cred.c).
    package static func establishProcessKeyring() throws(SystemError) {
        guard keyctl_get_keyring_ID(KEY_SPEC_PROCESS_KEYRING, 1) > 0 else {
            throw .last("keyctl_get_keyring_ID", "of the process keyring")
        }
    }

    /// Links `child` to this keyring. Requires Link permission for the child and Write permission here. Linking again
    /// has no effect.
    package func link(_ child: Keyring) throws(SystemError) {
        guard keyctl_link(child.number, number) == 0 else {
            throw .last("keyctl_link", "of \(child.name) to \(name)")
        }
    }

    /// Removes the link to a key or keyring. Succeeds if there is none.
    package func unlink(_ serial: KeySerial) throws(SystemError) {
        guard keyctl_unlink(serial.number, number) != 0 else { return }
        let error = SystemError.last("keyctl_unlink", "of \(Key(serial).name) from \(name)")
        guard error.number == .enoent else { throw error }
    }

    /// Serials of all keys and keyrings linked to it.
    package func members() throws(SystemError) -> [KeySerial] {
        var room = 256
        while true {
            var serials = [Int32](repeating: 0, count: room)
            let length = unsafe serials.withUnsafeMutableBytes { raw in
                unsafe keyctl_read(number, raw.baseAddress?.assumingMemoryBound(to: CChar.self), raw.count)
            }
            guard length >= 0 else { throw .last("keyctl_read", "of \(name)") }
            let count = length / MemoryLayout<Int32>.size
            // The keyring may have grown meanwhile. If the buffer is too small, the kernel copies only a part or
            // nothing.
            guard count > room else { return serials.prefix(count).compactMap { KeySerial($0) } }
            room = count + 64
        }
    }

    /// Adds a key, or replaces the key with the same type and description.
    ///
    /// - Parameters:
    ///   - type: `psk`, or `user`.
    ///   - payload: range of `buffer` that contains the key.
    /// - Throws: ENODEV if the kernel does not know the type; `psk` is defined by the module
    ///   nvme-keyring.
    package func add(
        type: String, description: String, payload: Range<Int>, of buffer: borrowing SecretBuffer
    ) throws(SystemError) -> KeySerial {
        precondition(payload.lowerBound >= 0 && payload.upperBound <= buffer.capacity)
        let serial = unsafe buffer.withUnsafeBytes { raw in
            // Within the buffer by the precondition. The kernel makes a copy.
            unsafe add_key(type, description, raw.baseAddress?.advanced(by: payload.lowerBound), payload.count, number)
        }
        guard serial > 0, let key = KeySerial(serial) else {
            throw .last("add_key", "of type \(type) to \(name)")
        }
        return key
    }

    /// The key with this type and *complete* description.
    ///
    /// The kernel's search compares descriptions of `psk` keys only up to the length of the wanted one
    /// (drivers/nvme/common/keyring.c, nvme_tls_psk_match). So the description of the result is compared here, and if
    /// it differs, `index` is searched.
    ///
    /// - Returns: `nil` if there is none.
    /// - Throws: EKEYEXPIRED or EKEYREVOKED if a matching key has expired or was revoked and there is no other, and
    ///   ENOKEY if the keyring itself is gone.
    func search(
        type: String, description: [UInt8], index: inout DescriptionIndex
    ) throws(SystemError) -> KeySerial? {
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
        if error.number == .enokey, isAlive { return nil }
        if error.number == .ekeyexpired || error.number == .ekeyrevoked,
            let other = KeySerial(number).flatMap({ index.key(type: type, description: description, in: $0) })
        {
            return other
        }
        throw error
    }

    /// The member with this type, description and payload.
    ///
    /// - Returns: `nil` if there is none or it cannot be read; `add` then replaces it.
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

    /// Returns `true` if the key is a member, or a member of a keyring among the members.
    func holds(_ serial: KeySerial, depth: Int = 4) -> Bool {
        // If a keyring cannot be read, its keys cannot be used either.
        guard let serials = try? members() else { return false }
        if serials.contains(serial) { return true }
        guard depth > 1 else { return false }
        return serials.contains { member in
            guard let about = try? Key(member).describe(), about.type == "keyring" else { return false }
            return Keyring(member).holds(serial, depth: depth - 1)
        }
    }

    /// True if the keyring exists and is neither expired nor revoked.
    package var isAlive: Bool {
        keyctl_describe(number, nil, 0) > 0
    }

    static func matches(_ serial: KeySerial, _ type: String, _ description: [UInt8]) -> Bool {
        guard let about = try? Key(serial).describe() else { return false }
        return about.type == type && about.description == description
    }
}
