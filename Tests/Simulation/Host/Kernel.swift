internal import Broker
internal import CLinux
internal import Glibc
internal import Handshake
internal import KernelWire
internal import Keyrings
internal import Policy
internal import Settings
internal import System
internal import Unconfined
internal import Upcall
internal import Wire

/// A descriptor whose readability is set.
final class Bell {
    private let descriptor: OwnedDescriptor
    private(set) var rings = false

    init() throws(SystemError) {
        let number = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
        guard number >= 0 else { throw SystemError("eventfd", errno) }
        descriptor = OwnedDescriptor(adopting: number)
    }

    var number: Int32 { descriptor.number }

    func ring() {
        rings = true
        eventfd_write(descriptor.number, 1)
    }

    func silence() {
        rings = false
        var count: eventfd_t = 0
        _ = unsafe eventfd_read(descriptor.number, &count)
    }
}

/// The handshake upcall of a simulated network namespace.
final class MadeUpUpcall: Upcall {
    let namespace: Int
    let transport: Transport
    /// Pending requests, and whether READY was sent for them.
    var pending: [Consumer] = []
    /// Turns of the loop since READY for pending requests.
    var neglect = 0
    private var bell: Bell?
    private(set) var isBehind = false
    private unowned let world: World

    init(_ world: World, namespace: Int, transport: Transport) throws(SystemError) {
        self.world = world
        self.namespace = namespace
        self.transport = transport
        bell = try Bell()
    }

    var isOpen: Bool { bell != nil }
    var isTold: Bool { bell?.rings == true || isBehind }
    var descriptors: [Int32] { bell.map { [$0.number] } ?? [] }
    var takesTags: Bool { false }

    /// Sends READY, or ENOBUFS instead.
    func notify() { bell?.ring() }

    func drain(_ body: (AcceptedHandshake) -> Void) -> [UpcallError] {
        guard let bell else { return [] }
        bell.silence()
        neglect = 0
        let batch = world.random.within(1...8)
        let taken = Array(pending.prefix(batch))
        pending.removeFirst(taken.count)
        isBehind = !pending.isEmpty
        for consumer in taken {
            world.note("the broker accepts \(consumer.number)")
            guard let accepted = world.accept(consumer) else { continue }
            body(accepted)
        }
        // The kernel could not install a descriptor, so that request has failed already.
        return world.random.happens(3) ? [.rejected(command: "ACCEPT", number: .emfile, text: nil)] : []
    }

    func retire() {
        world.check(pending.isEmpty || isBehind, "the broker leaves \(pending.count) requests behind")
        world.note("upcall of namespace \(namespace) is closed")
        isBehind = false
        bell = nil
    }

    func answer(_ accepted: AcceptedHandshake, status: Status, remoteIdentity: KeySerial?) throws(UpcallError) {
        world.answer(accepted, status, remoteIdentity)
        if world.random.happens(20) { throw .rejected(command: "DONE", number: .ebusy, text: nil) }
    }
}

/// Simulated network namespaces. 0 is the one that the daemon was started in.
final class MadeUpNamespaces: NetworkNamespaces {
    var present: Set<Int> = [0]
    /// The current namespace of the thread.
    private(set) var current = 0
    private let bell: Bell
    private unowned let world: World

    init(_ world: World) throws(SystemError) {
        self.world = world
        bell = try Bell()
    }

    var number: Int32 { bell.number }
    var home: NamespaceIdentity { Self.identity(0) }

    static func identity(_ number: Int) -> NamespaceIdentity {
        NamespaceIdentity(device: 4, inode: 4_026_531_840 + UInt64(number))
    }

    /// Reports that a named namespace was added or removed.
    func toggle(_ number: Int) {
        if present.remove(number) == nil { present.insert(number) }
        bell.ring()
    }

    func drain(watching isWanted: Bool) { bell.silence() }

    func take(_ settings: NamespaceSettings, besides own: Set<Int32>) -> NamespaceScan.Result {
        var result = NamespaceScan.Result()
        for number in present.sorted() where number == 0 ? settings.initial : settings.named {
            let name = number == 0 ? nil : NamespaceName("ns\(number)")
            result.places[Self.identity(number)] = NamespaceScan.Place(name: name, path: "/run/netns/ns\(number)")
        }
        return result
    }

    func visit<Value>(
        _ path: String, _ expected: NamespaceIdentity, _ body: () -> Value
    ) throws(SystemError) -> Value {
        let number = Int(expected.inode - Self.identity(0).inode)
        guard present.contains(number), !world.random.happens(30) else { throw SystemError("setns", ESTALE, path) }
        current = number
        defer { current = 0 }
        return body()
    }
}

/// Simulated keyrings.
final class MadeUpKeys: KernelKeys {
    struct Entry {
        let description: [UInt8]
        let payload: [UInt8]
    }

    /// Keys by serial.
    var entries: [Int32: Entry] = [:]
    /// The keyring that ACCEPT has linked.
    var linked: KeySerial?
    private unowned let world: World

    static let marker: Int32 = 7001
    static let preSharedKeys: [Int32] = [101, 102, 103, 104]
    static let certificate: Int32 = 201
    static let privateKey: Int32 = 301
    static let keyring: Int32 = 401
    /// Bytes that every private key contains, in files and in keyrings.
    static let secret = Array("PRIVATE KEY".utf8)

    init(_ world: World) {
        self.world = world
        for serial in Self.preSharedKeys {
            entries[serial] = Entry(
                description: Self.identity(serial), payload: Array(repeating: UInt8(serial), count: 32))
        }
        entries[Self.certificate] = Entry(description: Array("cert".utf8), payload: Array(repeating: 0x30, count: 600))
        entries[Self.privateKey] = Entry(
            description: Array("key".utf8), payload: Self.secret + Array(repeating: 0x31, count: 100))
    }

    static func identity(_ serial: Int32) -> [UInt8] { Array("NVMe1R01 host-\(serial) target".utf8) }

    private static func gone(_ call: String, _ serial: KeySerial) -> SystemError {
        SystemError(call, ENOKEY, "of key \(serial.number)")
    }

    func establish() throws(SystemError) -> KeySerial {
        guard let serial = KeySerial(Self.marker) else { throw SystemError("add_key", EINVAL) }
        return serial
    }

    func takeConsumerKeyring() throws(SystemError) -> KeySerial? {
        defer { linked = nil }
        if world.random.happens(5) { throw SystemError("keyctl_read", EACCES) }
        return linked
    }

    func possessing<Value>(_ keyring: KeySerial?, _ body: () throws(SystemError) -> Value) throws(SystemError) -> Value
    {
        if let keyring, world.random.happens(20) { throw Self.gone("keyctl_link", keyring) }
        return try body()
    }

    func refresh(_ keyrings: inout KeyringSet) throws(SystemError) -> KeyringSet.Change { KeyringSet.Change() }

    func findPSK(
        _ identity: [UInt8], consumer: KeySerial?, scope: KeyringScope, in keyrings: inout KeyringSet
    ) throws(SystemError) -> KeySerial? {
        entries.keys.sorted().first { entries[$0]?.description == identity }.flatMap { KeySerial($0) }
    }

    func describe(_ serial: KeySerial) throws(SystemError) -> KeyDescription {
        guard let entry = entries[serial.number] else { throw Self.gone("keyctl_describe", serial) }
        return KeyDescription(type: "psk", user: 0, group: 0, permissions: 0, description: entry.description)
    }

    func read(_ serial: KeySerial, into buffer: inout SecretBuffer, limit: Int) throws(SystemError) -> Int {
        guard let entry = entries[serial.number], entry.payload.count <= limit, !world.random.happens(5) else {
            throw Self.gone("keyctl_read", serial)
        }
        buffer.withMutableSpan { span in for (index, byte) in entry.payload.enumerated() { span[index] = byte } }
        return entry.payload.count
    }
}
