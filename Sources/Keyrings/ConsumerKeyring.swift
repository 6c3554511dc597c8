package import Policy
package import System

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
