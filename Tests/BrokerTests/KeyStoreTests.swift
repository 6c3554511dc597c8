import KernelWire
import Keyrings
import Policy
import Settings
import System
import Testing
import Unconfined

@testable import Broker

/// Keyrings whose list is hidden.
private final class UnlistedKeys: KernelKeys {
    private static let hidden = SystemError("read", .success, "/proc/keys: it is empty")

    func establish() throws(SystemError) -> KeySerial {
        guard let serial = KeySerial(1) else { throw Self.hidden }
        return serial
    }
    func takeConsumerKeyring() throws(SystemError) -> KeySerial? { nil }
    func possessing<Value>(_: KeySerial?, _ body: () throws(SystemError) -> Value) throws(SystemError) -> Value {
        try body()
    }
    func refresh(_: inout KeyringSet) throws(SystemError) -> KeyringSet.Change { throw Self.hidden }
    func findPSK(
        _: [UInt8], consumer: KeySerial?, scope: KeyringScope, in _: inout KeyringSet
    ) throws(SystemError) -> KeySerial? { nil }
    func describe(_: KeySerial) throws(SystemError) -> KeyDescription { throw Self.hidden }
    func read(_: KeySerial, into: inout SecretBuffer, limit: Int) throws(SystemError) -> Int { throw Self.hidden }
}

@Suite("Keyrings that are named")
struct KeyStoreTests {
    @Test("where the list of keys is hidden, that is said once, and only if the settings name a keyring")
    func unlisted() throws {
        var store = try KeyStore.establish(UnlistedKeys(), files: FileThreads())
        func lines(_ text: String) throws -> [String] {
            let settings = try DaemonSettings.read(Array(text.utf8), file: "a")
            return store.refresh(settings: settings, force: false, patience: 0).map(\.text)
        }
        #expect(try lines("").isEmpty && lines("[authenticate]\nkeyrings=4711\n").isEmpty)
        #expect(store.problem.isEmpty)
        let named = "[authenticate]\nkeyrings=rig\n"
        let problem = "keyrings are not found by name: read /proc/keys: it is empty"
        #expect(try lines(named) == [problem])
        #expect(store.problem == problem)
        #expect(try lines(named).isEmpty)
        #expect(try lines("").isEmpty)
        #expect(store.problem.isEmpty)
    }
}
