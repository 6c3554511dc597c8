import CKeyutils
import Glibc
import Handshake
import KernelWire
import Policy
import TestSupport
import Testing
import Wire

@testable import Keyrings
@testable import System
@testable import Unconfined

/// Whether this kernel lets us make keys; says why not.
private let keysWork: Bool = {
    do throws(SystemError) {
        try Keyring.establish()
        return true
    } catch {
        print("keyring tests skipped: \(error.description)")
        return false
    }
}()

/// `user` keys stand in for `psk` ones, which only a kernel with nvme-keyring has. Their kernel search is exact; the
/// look through the members is tested apart. Possession belongs to the thread, so each test makes its own keyrings.
@Suite("Keyrings", .enabled(if: keysWork, "needs a kernel with CONFIG_KEYS that permits add_key"), .serialized)
struct KeyringTests {
    private func makeKeyring(_ name: String, in parent: Keyring = .process) throws -> KeySerial {
        try Keyring.establish()
        // The kernel takes an empty payload for keyrings only, which `add` never sends; keyctl(1) does it.
        let serial = unsafe add_key("keyring", name, nil, 0, parent.number)
        return try #require(KeySerial(serial))
    }

    private func add(_ description: String, _ payload: [UInt8], to keyring: Keyring) throws -> KeySerial {
        var buffer = try SecretBuffer(capacity: max(payload.count, 1))
        buffer.fill(payload)
        return try keyring.add(type: "user", description: description, payload: 0..<payload.count, of: buffer)
    }

    @Test("a key is described and read as it was added")
    func readBack() throws {
        let ring = Keyring(try makeKeyring("readback"))
        let serial = try add("tls;with;semicolons", [1, 2, 3], to: ring)
        let about = try Key(serial).describe()
        #expect(about.type == "user" && about.description == Array("tls;with;semicolons".utf8))
        var buffer = try SecretBuffer(capacity: 16)
        #expect(try Key(serial).read(into: &buffer, at: 4, limit: 12) == 3)
        #expect(buffer.bytes(8) == [0, 0, 0, 0, 1, 2, 3, 0])
        #expect(try ring.members() == [serial])
    }

    @Test("a payload longer than allowed is refused, and nothing of it stays in the buffer")
    func tooLong() throws {
        let ring = Keyring(try makeKeyring("toolong"))
        let serial = try add("long", [UInt8](repeating: 7, count: 10), to: ring)
        var buffer = try SecretBuffer(capacity: 16)
        let name = Key(serial).name
        #expect(throws: SystemError.wrongSize(of: name, bytes: 10, limit: 9)) {
            _ = try Key(serial).read(into: &buffer, limit: 9)
        }
        #expect(buffer.bytes(16).allSatisfy { $0 == 0 })
    }

    @Test("keys that are gone are told from other errors")
    func errors() throws {
        let parent = try makeKeyring("errors")
        let ring = Keyring(parent)
        var buffer = try SecretBuffer(capacity: 64)
        let revoked = try add("revoked", [1], to: ring)
        #expect(keyctl_revoke(revoked.number) == 0)
        #expect {
            try Key(revoked).read(into: &buffer, limit: 8)
        } throws: { error in
            guard let error = error as? SystemError else { return false }
            return error.isOfGoneKey && error.number == .ekeyrevoked
        }
        #expect {
            try ring.add(type: "no-such-type", description: "x", payload: 0..<1, of: buffer)
        } throws: { error in
            (error as? SystemError)?.number == .enodev
        }
        let never = try #require(KeySerial(0x7fff_fff1))
        #expect {
            try Key(never).describe()
        } throws: { error in
            guard let error = error as? SystemError else { return false }
            return error.isOfGoneKey && error.number == .enokey
        }
        #expect(!Key(never).isAlive && !Key(revoked).isAlive && Key(parent).isAlive)
    }

    @Test("the search takes whole descriptions only, and refuses empty ones and ones with NUL")
    func search() throws {
        let ring = Keyring(try makeKeyring("search"))
        let short = try add("NVMe1R01 nqn.h nqn.s", [1], to: ring)
        let long = try add("NVMe1R01 nqn.h nqn.s2", [2], to: ring)
        var index = DescriptionIndex()
        func found(_ text: String) throws -> KeySerial? {
            try ring.search(type: "user", description: Array(text.utf8), index: &index)
        }
        #expect(try found("NVMe1R01 nqn.h nqn.s") == short)
        #expect(try found("NVMe1R01 nqn.h nqn.s2") == long)
        #expect(try found("NVMe1R01 nqn.h nqn") == nil)
        #expect(try found("") == nil)
        #expect(try found("NVMe1R01 nqn.h nqn.s\0") == nil)
    }

    @Test("whatever identities strangers offer, the kernel is asked once what each key is called")
    func index() throws {
        let ring = try makeKeyring("index")
        for number in 0..<50 { _ = try add("NVMe1R01 nqn.h nqn.s\(number)", [1], to: Keyring(ring)) }
        var index = DescriptionIndex()
        for _ in 0..<20 {
            for text in ["NVMe1R01 nqn.h nqn.s", "N", "NVMe1R01 nqn.h nqn.s7"] {
                _ = index.key(type: "user", description: Array(text.utf8), in: ring)
            }
        }
        #expect(index.questions == 50)
        let new = try add("NVMe1R01 nqn.h new", [1], to: Keyring(ring))
        #expect(index.key(type: "user", description: Array("NVMe1R01 nqn.h new".utf8), in: ring) == new)
        #expect(index.questions == 51)
        try Keyring(ring).unlink(new)
        #expect(index.key(type: "user", description: Array("NVMe1R01 nqn.h new".utf8), in: ring) == nil)
        let again = try add("NVMe1R01 nqn.h new", [2], to: Keyring(ring))
        #expect(index.key(type: "user", description: Array("NVMe1R01 nqn.h new".utf8), in: ring) == again)
        #expect(again != new)
    }

    @Test("the look through the members finds whole descriptions, in nested keyrings too")
    func members() throws {
        let outer = try makeKeyring("outer")
        let parent = Keyring(outer)
        let inner = Keyring(try makeKeyring("inner", in: parent))
        _ = try add("identity", [1], to: parent)
        let deep = try add("identity.2", [2], to: inner)
        var index = DescriptionIndex()
        #expect(index.key(type: "user", description: Array("identity.2".utf8), in: outer) == deep)
        #expect(index.key(type: "user", description: Array("ident".utf8), in: outer) == nil)
        #expect(index.key(type: "psk", description: Array("identity".utf8), in: outer) == nil)
        #expect(index.key(type: "user", description: Array("identity.2".utf8), in: outer, depth: 1) == nil)
        // More members than fit the first reading.
        for index in 0..<120 { _ = try add("filler \(index)", [1], to: parent) }
        #expect(try parent.members().count == 122)
    }

    @Test("a keyring of the settings is linked once it exists, and its loss is noticed")
    func refresh() throws {
        let name = "tlshd-test-\(getpid())"
        var set = KeyringSet(configured: [name])
        let before = try set.refresh()
        #expect(!before.linked.contains(name))
        #expect(throws: SystemError.self) {
            try set.insert("id", payload: 0..<1, of: SecretBuffer(capacity: 1), into: name)
        }
        let serial = try makeKeyring(name)
        #expect(try set.refresh().linked == [name])
        #expect(try set.refresh().isEmpty)
        #expect(set.serial(of: name) == serial)
        #expect(keyctl_revoke(serial.number) == 0)
        #expect(try set.refresh().gone == [name])
        #expect(set.serial(of: name) == nil)
    }

    @Test("a member is the same only with type, whole description and every byte alike, and only where it can be read")
    func same() throws {
        let ring = Keyring(try makeKeyring("same"))
        let inner = Keyring(try makeKeyring("same, inner", in: ring))
        let key = try add("identity", [1, 2, 3], to: ring)
        _ = try add("nested", [1, 2, 3], to: inner)
        var index = DescriptionIndex()
        func member(_ description: String, _ bytes: [UInt8], type: String = "user") throws -> KeySerial? {
            var buffer = try SecretBuffer(capacity: 8)
            buffer.fill([9] + bytes)
            return ring.member(
                type: type, description: description, payload: 1..<(1 + bytes.count), of: buffer, index: &index)
        }
        #expect(try member("identity", [1, 2, 3]) == key)
        for other in [[1, 2, 4], [0, 2, 3], [1, 2], [1, 2, 3, 4], []] as [[UInt8]] {
            #expect(try member("identity", other) == nil, "\(other)")
        }
        #expect(try member("identit", [1, 2, 3]) == nil)
        #expect(try member("nested", [1, 2, 3]) == nil, "add would not replace it")
        #expect(try member("identity", [1, 2, 3], type: "logon") == nil)
        #expect(keyctl_revoke(key.number) == 0)
        #expect(try member("identity", [1, 2, 3]) == nil)
    }

    @Test("a consumer's keyring is taken off the process keyring, and its keys serve nobody else")
    func consumer() throws {
        let first = try makeKeyring("consumer 1", in: .session)
        let second = Keyring(
            try #require(KeySerial(unsafe add_key("keyring", "consumer 2", nil, 0, Keyring.session.number))))
        let key = try add("identity", [1], to: Keyring(first))
        _ = try ConsumerKeyring.take()
        // What ACCEPT does.
        try Keyring.process.link(Keyring(first))
        #expect(try ConsumerKeyring.take() == first)
        #expect(try Keyring.process.members().isEmpty)
        #expect(try ConsumerKeyring.take() == nil)
        var set = KeyringSet()
        let identity = Array("identity".utf8)
        #expect(try set.findPSK(identity, consumer: first, type: "user") == key)
        let another = KeySerial(second.number)
        #expect(try set.findPSK(identity, consumer: another, type: "user") == nil)
        #expect(try set.findPSK(identity, type: "user") == nil)
        let inside = try ConsumerKeyring.possessing(first) { () throws(SystemError) in try Keyring.process.members() }
        #expect(inside == [first])
        #expect(try Keyring.process.members().isEmpty)
    }

    @Test("keys of the settings are inserted, found, replaced and removed again")
    func insert() throws {
        let name = "tlshd-test-insert-\(getpid())"
        let serial = try makeKeyring(name)
        var set = KeyringSet(configured: [String(serial.number)])
        #expect(try set.refresh().linked == [String(serial.number)])
        var payload = try SecretBuffer(capacity: 4)
        payload.fill([9, 8, 7, 6])
        let ring = String(serial.number)
        let key = try set.insert("inserted", payload: 1..<3, of: payload, into: ring, type: "user")
        #expect(set.holds("inserted", in: ring) == true)
        #expect(try set.findPSK(Array("inserted".utf8), type: "user") == key)
        #expect(try set.findPSK(Array("inserted".utf8), consumer: serial, type: "user") == key)
        var read = try SecretBuffer(capacity: 4)
        #expect(try Key(key).read(into: &read, limit: 4) == 2)
        #expect(read.bytes(2) == [8, 7])
        try set.insert("inserted", payload: 0..<1, of: payload, into: ring, type: "user")
        try set.remove("inserted", from: ring)
        #expect(set.holds("inserted", in: ring) == false)
        #expect(try set.findPSK(Array("inserted".utf8), type: "user") == nil)
        #expect(try Keyring(serial).members().isEmpty)
    }

    @Test("a revoked key is unusable and gone, and others are left alone")
    func revoke() throws {
        let serial = try makeKeyring("tlshd-test-revoke-\(getpid())")
        let ring = String(serial.number)
        var set = KeyringSet(configured: [ring])
        try set.refresh()
        let payload = try SecretBuffer(capacity: 4)
        let key = try set.insert("revoked", payload: 0..<4, of: payload, into: ring, type: "user")
        let other = try set.insert("revoked too", payload: 0..<4, of: payload, into: ring, type: "user")
        #expect(try set.revoke("revoke", in: ring, type: "user") == nil)
        #expect(try set.revoke("revoked", in: ring, type: "user") == key)
        #expect(!Key(key).isAlive)
        #expect(try Keyring(serial).members() == [other])
        #expect(throws: SystemError.self) { try set.revoke("revoked", in: "none-such", type: "user") }
    }

    @Test("within a scope only its keyrings serve, by identity and by serial, and a shared one is nobody's own")
    func scope() throws {
        let blue = try makeKeyring("scope-blue"), red = try makeKeyring("scope-red")
        let own = try makeKeyring("scope-own", in: .session)
        let key = try add("blue key", [1], to: Keyring(blue)), other = try add("red key", [2], to: Keyring(red))
        let mine = try add("own key", [3], to: Keyring(own))
        let names = [String(blue.number), String(red.number)]
        var set = KeyringSet(configured: names)
        try set.refresh()
        let scope = KeyringScope.only([names[0]])
        #expect(try set.findPSK(Array("blue key".utf8), scope: scope, type: "user") == key)
        #expect(try set.findPSK(Array("red key".utf8), scope: scope, type: "user") == nil)
        #expect(try set.findPSK(Array("red key".utf8), consumer: red, scope: scope, type: "user") == nil)
        #expect(try set.findPSK(Array("own key".utf8), consumer: own, scope: scope, type: "user") == mine)
        #expect(try set.findPSK(Array("red key".utf8), type: "user") == other)
        let serials = [key, other, mine]
        #expect(serials.map { set.reaches($0, consumer: own, scope: scope) } == [true, false, true])
        #expect(serials.map { set.reaches($0, consumer: red, scope: scope) } == [true, false, false])
        #expect(serials.map { set.reaches($0, consumer: nil, scope: .only([])) } == [false, false, false])
        #expect(serials.map { set.reaches($0, consumer: nil, scope: .everything) } == [true, true, true])
    }

    @Test("the consumer's own keyring is searched before the others")
    func order() throws {
        let first = try makeKeyring("order-first"), second = try makeKeyring("order-second")
        let shared = try add("same", [1], to: Keyring(first))
        let own = try add("same", [2], to: Keyring(second))
        var set = KeyringSet(configured: [String(first.number)])
        try set.refresh()
        #expect(try set.findPSK(Array("same".utf8), consumer: second, type: "user") == own)
        #expect(try set.findPSK(Array("same".utf8), consumer: first, type: "user") == shared)
    }

    @Test("the mark of a verified peer is a live key, and the same each time")
    func remoteIdentity() throws {
        try Keyring.establish()
        let first = try RemoteIdentity()
        #expect(Key(first.serial).isAlive)
        #expect(try Key(first.serial).describe().description == Array("tlshd:verified-peer".utf8))
        #expect(try RemoteIdentity().serial == first.serial)
    }
}

@Suite("Listing of /proc/keys")
struct KeyringDirectoryTests {
    private let listing = """
        094309fa I--Q---     1 perm 0c030000     0 65534 keyring   .user_reg: 2
        1b2c3d4e I------     5 perm 1f1f0000     0     0 keyring   .nvme: 3
        2b2c3d4e IR-----     1 perm 1f1f0000     0     0 keyring   .nfs: 1
        3b2c3d4e I------     1 perm 1f1f0000  1000     0 keyring   tls: 1
        4b2c3d4e I------     1 expd 1f1f0000     0     0 keyring   old: 1
        5b2c3d4e I------     1   2d 1f1f0000     0     0 keyring   a: b: empty
        6b2c3d4e I------     1 perm 1f1f0000     0     0 user      .nvme: 3
        7b2c3d4e I------     1 perm 1f1f0000     0     0 psk       NVMe1R01 nqn.h nqn.s: 32
        garbage
        """

    @Test("a listing that is cut off or has a flipped bit is read without a trap, and cut off it names no others")
    func damaged() throws {
        let whole = Array(listing.utf8)
        let names = try KeyringDirectory(listing: whole.span, owners: [0]).keyrings.keys
        for length in 1..<whole.count {
            let some = try KeyringDirectory(listing: whole.span.extracting(first: length), owners: [0]).keyrings
            #expect(some.keys.allSatisfy { name in names.contains { $0.hasPrefix(name) } }, "\(length) bytes")
        }
        for index in whole.indices {
            for bit in 0..<8 {
                var copy = whole
                copy[index] ^= 1 << bit
                let some = try KeyringDirectory(listing: copy.span, owners: [0])
                #expect(some.keyrings.count <= 9)
            }
        }
    }

    @Test("live keyrings of root count; revoked, expired and other users' ones, and other types, do not")
    func select() throws {
        let directory = try KeyringDirectory(listing: Array(listing.utf8).span, owners: [0])
        #expect(Set(directory.keyrings.keys) == [".user_reg", ".nvme", "a: b"])
        #expect(directory.keyrings[".nvme"]?.number == 0x1b2c_3d4e)
    }

    @Test("an empty one is no list of the kernel: a container runtime has put /dev/null in its place")
    func hidden() {
        let nothing: [UInt8] = []
        #expect(throws: SystemError.self) { _ = try KeyringDirectory(listing: nothing.span, owners: [0]) }
    }
}

@Suite("Probe of the kernel's TLS")
struct KernelTLSProbeTests {
    @Test("what is found agrees with what the kernel says by itself")
    func probe() throws {
        let probe = try KernelTLSProbe.run()
        if unsafe access("/proc/net/tls_stat", F_OK) == 0 {
            #expect(probe.capabilities.ciphers.contains(.aes128GCM))
            #expect(probe.capabilities.ciphers.contains(.aes256GCM))
            #expect(probe.problems.count == KernelCipher.allCases.count - probe.capabilities.ciphers.count)
        } else {
            print("this kernel has no TLS: only its absence is tested")
            #expect(probe.capabilities == KernelTLSCapabilities(ciphers: [], limitsTransmitPayload: false))
            #expect(probe.problems.count == 1 && probe.problems[0].contains("CONFIG_TLS"))
        }
    }
}
