internal import KernelWire
internal import Keyrings
internal import Policy
internal import System
internal import Wire

/// The keyrings that tlshd searches, and descriptions of their contents; never a key.
struct KeyringView {
    struct Entry: Sendable, Equatable, Encodable {
        let serial: Int32
        let type: String
        /// The TLS identity for a `psk`.
        let description: String
        let owner: Int32
        /// Permission mask as in keyctl(1), in hexadecimal.
        let permissions: String
        /// True if tlshd can read it by possession.
        let isReadable: Bool
    }

    struct Ring: Sendable, Equatable, Encodable {
        let name: String
        let serial: Int32
        let keys: [Entry]
    }

    let keyrings: [Ring]
    /// Names of keyrings that do not exist or are not visible to this user.
    let missing: [String]
    /// Errors of keyrings that cannot be searched.
    let problems: [String]

    /// Searches as tlshd does, with a session keyring of our own.
    ///
    /// - Parameter names: keyrings in the settings, besides the kernel's.
    init(_ names: [String]) throws(SystemError) {
        try Keyring.establish()
        var set = KeyringSet(configured: names)
        let change = try set.refresh()
        var problems = change.failed.map { "\($0.name) cannot be searched: \($0.error.description)" }
        var keyrings: [Ring] = []
        for name in set.names {
            guard let serial = set.serial(of: name) else { continue }
            do throws(SystemError) {
                keyrings.append(try Self.ring(name, serial))
            } catch {
                problems.append("\(name) cannot be read: \(error.description)")
            }
        }
        self.keyrings = keyrings
        self.problems = problems
        let failed = change.failed.map(\.name)
        missing = set.names.filter { set.serial(of: $0) == nil && !failed.contains($0) }
    }

    /// Remedy for a missing keyring. The kernel creates `.nvme`; others are created by the administrator.
    static func remedy(forMissing name: String) -> String {
        "\(name == ".nvme" ? "modprobe nvme-tcp" : "make it, with keyctl newring"), or run this as root"
    }

    private static func ring(_ name: String, _ serial: KeySerial) throws(SystemError) -> Ring {
        let members = try Keyring(serial).members()
        return Ring(
            name: name, serial: serial.number,
            keys: members.compactMap(entry).sorted { $0.description < $1.description })
    }

    /// `nil` for a key that is gone or not visible to this user.
    private static func entry(_ serial: KeySerial) -> Entry? {
        guard let about = try? Key(serial).describe() else { return nil }
        // KEY_POS_READ, or KEY_POS_SEARCH, which also allows reading a possessed key (security/keys/keyctl.c,
        // keyctl_read_key).
        let isReadable = about.permissions & 0x0A00_0000 != 0
        return Entry(
            serial: serial.number, type: about.type, description: String(decoding: about.description, as: UTF8.self),
            owner: about.user, permissions: String(about.permissions, radix: 16), isReadable: isReadable)
    }
}
