package import Handshake

/// The keyring that a consumer brings with its request. ACCEPT links it to our process keyring and never takes it away
/// again (net/handshake/tlshd.c, tls_handshake_private_keyring), so that left alone every consumer's keys would serve
/// all others.
package enum ConsumerKeyring {
    /// Empties the process keyring of what the ACCEPT just before has linked there. To be called after every ACCEPT.
    ///
    /// - Returns: the keyring that it was: kernels before 6.17 do not tell it in any other way.
    package static func take() throws(KeyError) -> KeySerial? {
        let members = try Keyring.process.members()
        for serial in members { try Keyring.process.unlink(serial) }
        // One ACCEPT links at most one; of more nobody could say whose they are.
        return members.count == 1 ? members.first : nil
    }

    /// Possesses the keyring, and through it the keys in it, while `body` runs.
    ///
    /// - Throws: what `body` throws, or why the keyring cannot be linked.
    package static func possessing<Value>(
        _ serial: KeySerial?, _ body: () throws(KeyError) -> Value
    ) throws(KeyError) -> Value {
        guard let serial else { return try body() }
        try Keyring.process.link(Keyring(serial))
        // Best effort: a keyring that cannot be unlinked has gone, and `take` looks again at the next request.
        defer { try? Keyring.process.unlink(serial) }
        return try body()
    }
}
