internal import ArgumentParser
internal import Broker
internal import Handshake
internal import Inspect
internal import KernelWire
internal import Keyrings
internal import Policy
internal import Settings
internal import System
internal import Wire

/// `tlshctl keys`: PSKs and keyrings.
struct KeysCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Show the PSKs that tlshd can see; make, insert and revoke NVMe TLS keys.",
        subcommands: [List.self, KeyOffer.self, KeyMaking.self, KeyInsertion.self, KeyRevocation.self],
        defaultSubcommand: List.self)

    /// `tlshctl keys list`.
    struct List: PrintsFacts {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Show keyrings and what is in them; never a key.")

        @OptionGroup var settings: ConfigurationOptions
        @OptionGroup var output: OutputOptions

        var commandName: String { "keys list" }

        @Flag(
            name: .long,
            help: "Show the first 16 digits of each PSK's SHA-256 digest, to compare the PSKs of both ends.")
        var digest = false

        func run() throws {
            let loaded = try settings.require().settings
            if digest {
                KeyMaterial.harden()
                try GnuTLSStart.run()
            }
            let view = try KeyringView.open(loaded.keyringNames + loaded.profileKeyringNames, hasDigests: digest)
            try finish(KeyringReport(view, hasDigests: digest))
        }
    }
}

extension KeyringView {
    /// Opens the view, or ends the command with an error.
    static func open(_ names: [String], hasDigests: Bool = false) throws -> KeyringView {
        do {
            return try KeyringView(names, hasDigests: hasDigests)
        } catch {
            throw CommandError("keyrings cannot be read: \(error)", .unknown)
        }
    }
}

private struct KeyringReport: Report {
    let keyrings: [KeyringView.Ring]
    let missing: [String]
    let problems: [String]
    private let hasDigests: Bool

    private enum CodingKeys: CodingKey {
        case keyrings, missing, problems
    }

    init(_ view: KeyringView, hasDigests: Bool) {
        self.hasDigests = hasDigests
        keyrings = view.keyrings
        missing = view.missing
        problems = view.problems
    }

    var status: Status { problems.isEmpty ? .ok : .unknown }

    var summary: String {
        let count = keyrings.reduce(0) { $0 + $1.keys.count { $0.type == "psk" } }
        guard let problem = problems.first else {
            return keyrings.isEmpty
                ? "there is none of the keyrings \(missing.joined(separator: ", "))"
                : "\(count.counted("PSK")) in \(keyrings.map(\.name).joined(separator: ", "))"
        }
        return "keyring \(problem)" + (ThisProcess.user == 0 ? "" : "; remedy: run this as root")
    }

    func text(on terminal: Terminal) -> String {
        let head = problems.isEmpty ? terminal.styled(Table.printable(summary), .bold) : headline(terminal)
        var text = head + "\n"
        var table = Table(["KEYRING", "SERIAL", "TYPE"] + (hasDigests ? ["DIGEST"] : []) + ["DESCRIPTION"])
        for ring in keyrings {
            for key in ring.keys {
                let note = key.isReadable ? "" : " (cannot be read)"
                let digest = hasDigests ? [Table.Cell(key.digest ?? "-")] : []
                table.add(
                    [Table.Cell(ring.name), Table.Cell(serialText(key.serial)), Table.Cell(key.type)]
                        + digest + [Table.Cell(key.description + note)])
            }
        }
        if !table.isEmpty { text += "\n" + table.text(on: terminal) }
        if !missing.isEmpty, !keyrings.isEmpty { text += "\nnot there: \(missing.joined(separator: ", "))\n" }
        return text
    }
}

/// A key's serial number: hexadecimal in text and JSON, as keyctl(1) takes it.
func serialText(_ serial: Int32) -> String { "0x" + String(serial, radix: 16) }

@propertyWrapper struct SerialText: Encodable, Equatable, Sendable {
    var wrappedValue: Int32

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(serialText(wrappedValue))
    }
}

/// The keyrings that tlshd searches, and descriptions of their contents; never a key.
struct KeyringView {
    struct Entry: Sendable, Equatable, Encodable {
        @SerialText var serial: Int32
        let type: String
        /// The TLS identity for a `psk`.
        let description: String
        let owner: Int32
        /// Permission mask as in keyctl(1), in hexadecimal.
        let permissions: String
        /// True if tlshd can read it by possession.
        let isReadable: Bool
        /// The first digits of the SHA-256 digest of a PSK, if asked for.
        @OrNull var digest: String? = nil
    }

    struct Ring: Sendable, Equatable, Encodable {
        let name: String
        @SerialText var serial: Int32
        let keys: [Entry]
    }

    let keyrings: [Ring]
    /// Names of keyrings that do not exist or are not visible to this user.
    let missing: [String]
    /// Errors of keyrings that cannot be searched.
    let problems: [String]

    /// Searches as tlshd does, with a session keyring of our own.
    ///
    /// - Parameters:
    ///   - names: keyrings in the settings, besides the kernel's.
    ///   - hasDigests: true to read the PSKs and compute their digests.
    init(_ names: [String], hasDigests: Bool = false) throws(SystemError) {
        try Keyring.establish()
        var set = KeyringSet(configured: names)
        let change = try set.refresh()
        var problems = change.failed.map { "\($0.name) cannot be searched: \($0.error.description)" }
        var keyrings: [Ring] = []
        for name in set.names {
            guard let serial = set.serial(of: name) else { continue }
            do throws(SystemError) {
                keyrings.append(try Self.ring(name, serial, hasDigests))
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

    /// The error of a command that needs a keyring.
    static func missing(_ name: String) -> TextError {
        TextError("there is no keyring \(name) that this user may use; remedy: \(remedy(forMissing: name))")
    }

    private static func ring(
        _ name: String, _ serial: KeySerial, _ hasDigests: Bool
    ) throws(SystemError) -> Ring {
        let members = try Keyring(serial).members()
        var keys: [Entry] = []
        for member in members {
            guard var entry = entry(member) else { continue }
            if hasDigests, entry.type == "psk" { entry.digest = digest(of: member) }
            keys.append(entry)
        }
        return Ring(name: name, serial: serial.number, keys: keys.sorted { $0.description < $1.description })
    }

    /// `nil` for a key that cannot be read.
    private static func digest(of serial: KeySerial) -> String? {
        guard var key = try? SecretBuffer(capacity: MessageLimit.preSharedKey),
            let length = try? Key(serial).read(into: &key, limit: MessageLimit.preSharedKey)
        else { return nil }
        return try? NVMeKeyDerivation.fingerprint(of: key, first: length)
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
