package import KernelWire
package import Keyrings
package import Policy
package import System

/// The kernel's keyrings and keys.
package protocol KernelKeys: AnyObject {
    /// Creates the keyrings of this process, and the key whose serial represents a peer with a verified certificate.
    func establish() throws(SystemError) -> KeySerial
    /// Unlinks and returns the keyring that the last ACCEPT linked to the process keyring.
    func takeConsumerKeyring() throws(SystemError) -> KeySerial?
    /// Runs `body` while this thread possesses the keys in a keyring.
    func possessing<Value>(
        _ keyring: KeySerial?, _ body: () throws(SystemError) -> Value
    ) throws(SystemError) -> Value
    /// Links those keyrings of a set that exist now.
    func refresh(_ keyrings: inout KeyringSet) throws(SystemError) -> KeyringSet.Change
    /// The PSK whose complete description is `identity`; `nil` if there is none.
    func findPSK(
        _ identity: [UInt8], consumer: KeySerial?, scope: KeyringScope, in keyrings: inout KeyringSet
    ) throws(SystemError) -> KeySerial?
    func describe(_ serial: KeySerial) throws(SystemError) -> KeyDescription
    /// Reads the payload of a key to the start of `buffer`.
    ///
    /// - Returns: The length, 1 to `limit`.
    func read(_ serial: KeySerial, into buffer: inout SecretBuffer, limit: Int) throws(SystemError) -> Int
}

/// The keyrings of the running kernel.
final class LinuxKeys: KernelKeys {
    func establish() throws(SystemError) -> KeySerial {
        try Keyring.establish()
        return try RemoteIdentity().serial
    }

    func takeConsumerKeyring() throws(SystemError) -> KeySerial? { try ConsumerKeyring.take() }

    func possessing<Value>(
        _ keyring: KeySerial?, _ body: () throws(SystemError) -> Value
    ) throws(SystemError) -> Value {
        try ConsumerKeyring.possessing(keyring, body)
    }

    func refresh(_ keyrings: inout KeyringSet) throws(SystemError) -> KeyringSet.Change { try keyrings.refresh() }

    func findPSK(
        _ identity: [UInt8], consumer: KeySerial?, scope: KeyringScope, in keyrings: inout KeyringSet
    ) throws(SystemError) -> KeySerial? {
        try keyrings.findPSK(identity, consumer: consumer, scope: scope)
    }

    func describe(_ serial: KeySerial) throws(SystemError) -> KeyDescription { try Key(serial).describe() }

    func read(_ serial: KeySerial, into buffer: inout SecretBuffer, limit: Int) throws(SystemError) -> Int {
        try Key(serial).read(into: &buffer, limit: limit)
    }
}
