package import KernelWire
package import Keyrings
package import Policy
package import System

/// The kernel's keys, as the broker finds and reads them.
package protocol KernelKeys: AnyObject {
    /// Makes the process's own keyrings, and the key whose serial stands for a peer whose certificate verified.
    func establish() throws(KeyError) -> KeySerial
    /// The keyring that the preceding ACCEPT linked to the process keyring; it is unlinked.
    func takeConsumerKeyring() throws(KeyError) -> KeySerial?
    /// Runs `body` while this thread possesses the keys in a keyring.
    func possessing<Value>(
        _ keyring: KeySerial?, _ body: () throws(KeyError) -> Value
    ) throws(KeyError) -> Value
    /// Links the keyrings of a set that exist now.
    func refresh(_ keyrings: inout KeyringSet) throws(KeyError) -> KeyringSet.Change
    /// The PSK whose whole description is `identity`; `nil` if there is none.
    func findPSK(
        _ identity: [UInt8], consumer: KeySerial?, scope: KeyringScope, in keyrings: inout KeyringSet
    ) throws(KeyError) -> KeySerial?
    func describe(_ serial: KeySerial) throws(KeyError) -> KeyDescription
    /// Reads a key's payload to the start of `buffer`.
    ///
    /// - Returns: its length, 1 to `limit`.
    func read(_ serial: KeySerial, into buffer: inout SecretBuffer, limit: Int) throws(KeyError) -> Int
}

/// Those of the kernel that this process runs on.
final class LinuxKeys: KernelKeys {
    func establish() throws(KeyError) -> KeySerial {
        try Keyring.establish()
        return try RemoteIdentity().serial
    }

    func takeConsumerKeyring() throws(KeyError) -> KeySerial? { try ConsumerKeyring.take() }

    func possessing<Value>(
        _ keyring: KeySerial?, _ body: () throws(KeyError) -> Value
    ) throws(KeyError) -> Value {
        try ConsumerKeyring.possessing(keyring, body)
    }

    func refresh(_ keyrings: inout KeyringSet) throws(KeyError) -> KeyringSet.Change { try keyrings.refresh() }

    func findPSK(
        _ identity: [UInt8], consumer: KeySerial?, scope: KeyringScope, in keyrings: inout KeyringSet
    ) throws(KeyError) -> KeySerial? {
        try keyrings.findPSK(identity, consumer: consumer, scope: scope)
    }

    func describe(_ serial: KeySerial) throws(KeyError) -> KeyDescription { try Key(serial).describe() }

    func read(_ serial: KeySerial, into buffer: inout SecretBuffer, limit: Int) throws(KeyError) -> Int {
        try Key(serial).read(into: &buffer, limit: limit)
    }
}
