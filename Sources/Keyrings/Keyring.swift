internal import CKeyutils
package import KernelWire
package import Policy
package import System
internal import Unconfined
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

/// A key in the kernel's keyrings. This value grants no access: permissions and possession by the calling thread decide
/// (security/keys/process_keys.c).
package struct Key: Sendable, Hashable {
    package let serial: KeySerial

    package init(_ serial: KeySerial) {
        self.serial = serial
    }

    /// Name such as `key 0x12ab34cd`, as in keyctl(1) and /proc/keys.
    package var name: String {
        "key 0x" + String(UInt32(bitPattern: serial.number), radix: 16)
    }

    /// Reads type, owner, permissions and description. Requires View permission.
    package func describe() throws(SystemError) -> KeyDescription {
        // A description is at most one page, preceded by a short text (security/keys/keyctl.c).
        var text = [UInt8](repeating: 0, count: 4096 + 128)
        let length = unsafe text.withUnsafeMutableBytes { raw in
            unsafe keyctl_describe(serial.number, raw.baseAddress?.assumingMemoryBound(to: CChar.self), raw.count)
        }
        guard length > 0 else { throw .last("keyctl_describe", "of \(name)") }
        guard length <= text.count else {
            throw .wrongSize(of: "description of \(name)", bytes: length, limit: text.count)
        }
        do throws(WireError) {
            // The length includes the NUL.
            return try KeyDescription(from: text.span.extracting(first: length - 1))
        } catch {
            throw SystemError("description of the key:", 0, error.description)
        }
    }

    /// True if the key exists and is neither expired nor revoked.
    package var isAlive: Bool {
        keyctl_describe(serial.number, nil, 0) > 0
    }

    /// Makes the key unusable for everybody. Requires Write or SetAttr permission.
    func revoke() throws(SystemError) {
        guard keyctl_revoke(serial.number) == 0 else { throw .last("keyctl_revoke", "of \(name)") }
    }

    /// Copies the payload to `offset` of `buffer`. Requires Read permission, or possession.
    ///
    /// - Parameter limit: maximum length; `buffer` must have room for it.
    /// - Returns: The length, 1 to `limit`. After an error `buffer` contains nothing of the payload.
    package func read(
        into buffer: inout SecretBuffer, at offset: Int = 0, limit: Int
    ) throws(SystemError) -> Int {
        precondition(offset >= 0 && limit > 0 && limit <= buffer.capacity - offset)
        let number = serial.number
        let length = unsafe buffer.withUnsafeMutableBytes { raw in
            // Within the buffer by the precondition.
            let start = unsafe raw.baseAddress?.advanced(by: offset).assumingMemoryBound(to: CChar.self)
            return unsafe keyctl_read(number, start, limit)
        }
        guard length >= 0 else { throw .last("keyctl_read", "of \(name)") }
        guard length > 0, length <= limit else {
            if length > 0 { buffer.wipe(offset..<(offset + limit)) }
            throw .wrongSize(of: name, bytes: length, limit: limit)
        }
        return length
    }
}

extension SystemError {
    /// A key or its description is empty or too long.
    package static func wrongSize(of key: String, bytes: Int, limit: Int) -> SystemError {
        SystemError(key, 0, "has \(bytes) bytes, where 1 to \(limit) are allowed")
    }

    /// True if the key does not exist, has expired, or was revoked.
    package var isOfGoneKey: Bool { [.enokey, .ekeyexpired, .ekeyrevoked].contains(number) }
}

/// Contents of /proc/keys: the keys and keyrings that this process may view (proc_keys(5)).
struct KeyringDirectory: Sendable {
    /// Live keyrings of root or of our own user, by name. Names without a leading dot can be used by anyone, so other
    /// users' keyrings are ignored. Names with a leading dot are reserved for the kernel.
    let keyrings: [String: KeySerial]

    /// Reads the current list.
    init() throws(SystemError) {
        let listing = try ProcessTable.contents(of: "/proc/keys")
        try self.init(listing: listing.span, owners: [0, ThisProcess.user])
    }

    /// Parses a listing and keeps the keyrings of `owners`. Line format:
    /// `serial flags usage timeout permissions uid gid type description`.
    ///
    /// It works on bytes for speed, because it runs before requests, and other programs can fill the listing with keys.
    ///
    /// - Throws: An error if it is empty. A process can view its own keyrings, so the list of the kernel never is.
    init(listing: Span<UInt8>, owners: [UInt32]) throws(SystemError) {
        guard !listing.isEmpty else {
            throw SystemError(
                "read", .success,
                "/proc/keys: it is empty, because the container's runtime hides it; remedy: insert PSKs with tlshctl keys on "
                    + "the host, or run the container as privileged")
        }
        var found: [String: KeySerial] = [:]
        var start = 0
        while start < listing.count {
            let end = Self.index(of: UInt8(ascii: "\n"), from: start, in: listing)
            if let (name, serial) = Self.keyring(start..<end, of: listing, owners), found[name] == nil {
                found[name] = serial
            }
            start = end + 1
        }
        keyrings = found
    }

    /// The live keyring of one of `owners` in the line, if there is one.
    private static func keyring(
        _ line: Range<Int>, of bytes: Span<UInt8>, _ owners: [UInt32]
    ) -> (name: String, serial: KeySerial)? {
        var start = line.lowerBound
        var fields: [Range<Int>] = []
        while fields.count < 8 {
            while start < line.upperBound, bytes[start] == blank { start += 1 }
            let end = min(index(of: blank, from: start, in: bytes), line.upperBound)
            guard start < end else { return nil }
            fields.append(start..<end)
            start = end
        }
        // The type column is nine characters wide, followed by a blank.
        let name = min(fields[7].lowerBound + 10, line.upperBound)..<line.upperBound
        guard text(fields[7], of: bytes) == "keyring", isUsable(flags: fields[1], timeout: fields[3], of: bytes),
            let owner = UInt32(text(fields[5], of: bytes)), owners.contains(owner),
            let number = UInt32(text(fields[0], of: bytes), radix: 16),
            let serial = KeySerial(Int32(bitPattern: number)),
            let end = endOfName(in: name, of: bytes)
        else { return nil }
        return (text(name.lowerBound..<end, of: bytes), serial)
    }

    /// End of a keyring's name, which is followed by `: ` and the number of its members.
    private static func endOfName(in range: Range<Int>, of bytes: Span<UInt8>) -> Int? {
        guard range.count > 2 else { return nil }
        return range.dropLast().last { bytes[$0] == UInt8(ascii: ":") && bytes[$0 + 1] == blank }
    }

    /// Returns `true` if a key is instantiated, not expired, and not revoked, dead, negative or invalidated.
    private static func isUsable(flags: Range<Int>, timeout: Range<Int>, of bytes: Span<UInt8>) -> Bool {
        guard bytes[flags.lowerBound] == UInt8(ascii: "I"), text(timeout, of: bytes) != "expd" else { return false }
        return !flags.contains { index in "RDNi".utf8.contains(bytes[index]) }
    }

    private static let blank = UInt8(ascii: " ")

    private static func index(of byte: UInt8, from start: Int, in bytes: Span<UInt8>) -> Int {
        var index = start
        while index < bytes.count, bytes[index] != byte { index += 1 }
        return index
    }

    private static func text(_ range: Range<Int>, of bytes: Span<UInt8>) -> String {
        String(decoding: range.map { bytes[$0] }, as: UTF8.self)
    }
}

/// The remote identity in DONE for a peer whose certificate was verified. NFS only checks that there is one
/// (net/sunrpc/svcsock.c, svc_tcp_handshake_done). NVMe gets the serial of the PSK instead.
///
/// One key serves all peers: a key per peer would accumulate, and a key with the same description would replace the
/// previous one.
package struct RemoteIdentity: Sendable {
    /// Never 0, and constant for the lifetime of this process.
    package let serial: KeySerial

    /// Creates the key in the session keyring. Call it once, after `Keyring.establish()`.
    package init() throws(SystemError) {
        // The kernel requires a payload of at least one byte; it is not used.
        let payload = try SecretBuffer(capacity: 1)
        serial = try Keyring.session.add(
            type: "user", description: "tlshd:verified-peer", payload: 0..<1, of: payload)
    }
}
