internal import ArgumentParser
internal import Handshake
internal import Inspect
internal import Keyrings
internal import Policy
internal import Settings
internal import System
internal import TLSWire
internal import Unconfined
internal import X509

/// `tlshctl keys gen-tls`: generates a key, prints it in interchange format for the other end, and stores the PSK for
/// this end.
struct KeyMaking: PrintsFacts {
    static let configuration = CommandConfiguration(
        commandName: "gen-tls", abstract: "Make a new NVMe TLS key and print it in interchange form.",
        discussion: """
            The key goes to standard output, or to --output. With --insert or --psk-file it is derived for the host and the subsystem \
            as well, as insert does it.
            """,
        aliases: ["make"])

    enum Hash: String, ExpressibleByArgument, CaseIterable {
        case sha256
        case sha384

        /// Accepts the numbers of nvme-cli, 1 and 2, as well.
        init?(argument: String) {
            switch argument {
            case "1", "sha256": self = .sha256
            case "2", "sha384": self = .sha384
            default: return nil
            }
        }

        static var allValueStrings: [String] { ["1", "2", "sha256", "sha384"] }

        var value: PSKHash {
            switch self {
            case .sha256: .sha256
            case .sha384: .sha384
            }
        }
    }

    @OptionGroup var targets: KeyTargets
    @OptionGroup var output: OutputOptions

    @Option(
        name: [.customLong("hmac"), .customLong("hash")],
        help: ArgumentHelp("The hash that the key is for: 1 (SHA-256) or 2 (SHA-384).", valueName: "hash"))
    var hash = Hash.sha256

    @Flag(name: .long, help: "Both ends use the key itself, instead of one that each host derives from it.")
    var retained = false

    @Option(
        name: [.customShort("o"), .customLong("output")],
        help: ArgumentHelp("Write the key to this new file.", valueName: "file"), completion: .file())
    var file: String?

    var commandName: String { "keys gen-tls" }

    func validate() throws {
        if targets.insert || targets.pskFile != nil { try targets.names.requireSubsystem() }
    }

    func run() throws {
        KeyMaterial.harden()
        try GnuTLSStart.run()
        do {
            let transform: NVMeInterchangeKey.Transform =
                retained ? .none : hash == .sha256 ? .sha256 : .sha384
            let material = try KeyMaterial.random(hash.value, transform: transform)
            var text = try SecretBuffer(capacity: NVMeInterchangeKey.textLimit + 1)
            let length = try material.encode(into: &text)
            // The file first: a key is not stored for this end if the other end cannot get it.
            if let file { try Self.write(text, length, to: file) }
            var made = Made(hash: hash.rawValue, file: file)
            do {
                try store(material, in: &made)
            } catch {
                if let file { ReplacedFile.remove(file) }
                throw error
            }
            try show(made, text, length)
            try made.status.exit.finish()
        } catch let error as SystemError {
            throw CommandError(error.description)
        }
    }

    /// A key that was made, without the key.
    private struct Made: Report {
        let hash: String
        let file: String?
        var stored: KeyTargets.Outcome?
        /// Reason why this host cannot use the key, if it was not stored.
        var problem: String?

        private enum CodingKeys: CodingKey {
            case hash, key, file, identity, serial, keyring, pskFile, rivals, warnings
        }

        var warnings: [String] { stored?.allWarnings ?? [problem].compactMap(\.self) }
        var status: Status { warnings.isEmpty ? .ok : .warning }
        var summary: String { warnings.first ?? stored?.place ?? "a key for \(hash) was made" }

        /// Lines for standard error: standard output has the key.
        func text(on terminal: Terminal) -> String {
            let lines = stored?.lines ?? warnings.map { "\(Status.warning.label): \($0)" }
            return lines.joined(separator: "\n")
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(hash, forKey: .hash)
            try container.encode(file == nil ? Output.placeholder : nil, forKey: .key)
            try container.encode(file, forKey: .file)
            try container.encode(stored?.identity, forKey: .identity)
            try container.encode(stored?.serial, forKey: .serial)
            try container.encode(stored?.keyring, forKey: .keyring)
            try container.encode(stored?.pskFile, forKey: .pskFile)
            try container.encode(stored?.rivals ?? [], forKey: .rivals)
            try container.encode(stored?.warnings ?? warnings, forKey: .warnings)
        }
    }

    private static func write(_ text: borrowing SecretBuffer, _ length: Int, to path: String) throws(SystemError) {
        let file = try PSKFileWriter.create(path)
        try PSKFileWriter.write(text, length, to: file.number, path)
    }

    private func store(_ material: borrowing KeyMaterial, in made: inout Made) throws {
        if targets.insert || targets.pskFile != nil {
            made.stored = try targets.store(material, intoKeyring: targets.insert)
        } else {
            made.problem = KeyTargets.problem(with: hash.value)
        }
    }

    private func show(_ made: Made, _ text: borrowing SecretBuffer, _ length: Int) throws {
        guard !output.json else {
            // Without the line feed.
            return try output.output.show(made, of: commandName, with: text, length: length - 1)
        }
        let lines = made.text(on: output.output.terminal)
        if !lines.isEmpty { Output.printError("tlshctl: \(lines)") }
        if file == nil { output.output.write(text, length: length) }
    }
}

/// `tlshctl keys insert`: derives the PSK for a host and a subsystem from a key in interchange format, or takes PSKs
/// that nvme-cli has derived.
struct KeyInsertion: PrintsFacts {
    static let configuration = CommandConfiguration(
        commandName: "insert", abstract: "Insert an NVMe TLS key (NVMeTLSkey-1:…) from a file or from standard input.",
        discussion: """
            The key is derived for the host and the subsystem, and put into the keyring; with --psk-file into that file, and with \
            --insert besides into the keyring. Of a list of nvme-cli (/etc/nvme/tls-keys, nvme keys export), in which each key \
            follows its identity, all are taken as they are. A key is never taken from the command line.
            """,
        aliases: ["insert-tls", "import"])

    @OptionGroup var targets: KeyTargets
    @OptionGroup var output: OutputOptions

    @Argument(
        help: ArgumentHelp("The file with the key; without it, standard input.", valueName: "file"), completion: .file()
    )
    var file: String?

    func validate() throws {
        // A list names the subsystem of each key, and needs no option. At a terminal, one key is typed.
        let isTyped = file == nil && Terminal.isTerminal(StandardStreams.input)
        if isTyped || !targets.names.isEmpty { try targets.names.requireSubsystem() }
    }

    func run() throws {
        KeyMaterial.harden()
        try GnuTLSStart.run()
        let intoKeyring = targets.insert || targets.pskFile == nil
        let text: KeyText
        do {
            text = try KeyText(of: file)
        } catch {
            throw CommandError("\(error)")
        }
        if text.isList {
            try finish(try insert(text, intoKeyring: intoKeyring))
        } else {
            let names = try targets.names.both()
            let material: KeyMaterial
            do {
                material = try text.key()
            } catch {
                throw CommandError("\(error)")
            }
            try finish(List(inserted: [targets.store(material, for: names, intoKeyring: intoKeyring)]))
        }
    }

    var commandName: String { "keys insert" }

    /// PSKs that were stored.
    private struct List: Report {
        var inserted: [KeyTargets.Outcome] = []

        var status: Status { inserted.map(\.status).max() ?? .ok }

        var summary: String {
            if let warning = inserted.flatMap(\.allWarnings).first { return warning }
            return inserted.count == 1 ? inserted[0].place : "\(inserted.count.counted("PSK")) were inserted"
        }

        func text(on terminal: Terminal) -> String {
            inserted.flatMap(\.lines).map { Table.printable($0) + "\n" }.joined()
        }
    }

    private func insert(_ text: borrowing KeyText, intoKeyring: Bool) throws -> List {
        guard targets.names.isEmpty else {
            throw CommandError(
                "the list names host and subsystem of each key; remedy: leave out --hostnqn, --subsysnqn and --discovery"
            )
        }
        do {
            var list = List()
            for entry in try text.entries() {
                guard let identity = String(validating: entry.identity, as: UTF8.self) else {
                    throw TextError("the identity in line \(entry.line) is not text; remedy: write it in UTF-8")
                }
                let psk = try text.decode(entry)
                list.inserted.append(
                    try targets.store(psk, length: entry.keyLength, identity, intoKeyring: intoKeyring))
            }
            return list
        } catch {
            throw CommandError("\(error)")
        }
    }
}

/// Destination of a key, and the names that it is derived for.
struct KeyTargets: ParsableArguments {
    @OptionGroup var names: NVMeNames

    @Flag(name: .long, help: "Put the key into the keyring.")
    var insert = false

    @Option(name: .long, help: ArgumentHelp("The keyring, by name or serial number.", valueName: "name"))
    var keyring = ".nvme"

    @Option(
        name: .long,
        help: ArgumentHelp("Put the key into this file, which psk.file names in the settings.", valueName: "file"),
        completion: .file())
    var pskFile: String?

    @Option(
        name: [.customLong("identity"), .customLong("identity-version")],
        help: ArgumentHelp("Version of the identity, 0 or 1.", valueName: "number"))
    var identityVersion: UInt8 = 1

    @Flag(
        name: [.customLong("compat"), .customLong("legacy")],
        help: "Derive the key as older nvme-cli does (2.13), where the other end uses that.")
    var legacy = false

    func validate() throws {
        guard identityVersion <= 1 else { throw ValidationError("--identity must be 0 or 1") }
    }

    /// Result of storing a key.
    struct Outcome: Encodable {
        let identity: String
        /// `nil` if it was not added to a keyring.
        @OrNull var serial: String? = nil
        @OrNull var keyring: String? = nil
        @OrNull var pskFile: String? = nil
        /// Other keys for the same host and subsystem. It is undefined which of them the kernel uses.
        var rivals: [String] = []
        /// Further reasons why connections may not use the key.
        var warnings: [String] = []

        var status: Status { allWarnings.isEmpty ? .ok : .warning }

        var place: String {
            var places: [String] = []
            if let keyring, let serial { places.append("keyring \(keyring) (key \(serial))") }
            if let pskFile { places.append(pskFile) }
            return "\(identity) is in \(places.joined(separator: " and "))"
        }

        /// The rivals, then the other warnings.
        var allWarnings: [String] {
            guard let rival = rivals.first else { return warnings }
            return [
                "so is \(rivals.joined(separator: ", ")), and the kernel may use any of them; remedy: once both ends have "
                    + "the new key, tlshctl keys revoke --identity \"\(rival)\""
            ] + warnings
        }

        /// Lines of text output.
        var lines: [String] { [place] + allWarnings.map { "\(Status.warning.label): \($0)" } }
    }

    /// Derives the PSK and stores it.
    ///
    /// - Parameters:
    ///   - both: host and subsystem; `nil` for those of the options.
    ///   - intoKeyring: true to add it to the keyring.
    func store(
        _ material: borrowing KeyMaterial, for both: NVMeNames.Pair? = nil, intoKeyring: Bool
    ) throws -> Outcome {
        let both = try both ?? names.both()
        do {
            var psk = try SecretBuffer(capacity: 48)
            let request = NVMeKeyDerivation.Request(
                hostName: both.host, subsystemName: both.subsystem, version: identityVersion, isLegacy: legacy)
            let identity = try TextError.of(
                "the key cannot be derived",
                try NVMeKeyDerivation.derive(request, from: material.key, material.decoded, into: &psk))
            var outcome = try store(psk, length: identity.keyLength, identity.text, intoKeyring: intoKeyring)
            outcome.warnings += NVMeName.problems(of: both)
            return outcome
        } catch {
            throw CommandError("\(error)")
        }
    }

    /// Stores a PSK.
    func store(
        _ psk: borrowing SecretBuffer, length: Int, _ identity: String, intoKeyring: Bool
    ) throws -> Outcome {
        var outcome = Outcome(identity: identity)
        var others: [String] = []
        // The file first, because it persists across a reboot.
        if let pskFile {
            try PSKFileWriter.put(psk, length: length, identity, into: pskFile)
            outcome.pskFile = pskFile
            others = try PSKFileWriter.identities(in: pskFile)
        }
        if intoKeyring {
            outcome.serial = serialText(try insertKey(psk, length, identity))
            outcome.keyring = keyring
            let ring = (try? KeyringView([keyring]))?.keyrings.first { $0.name == keyring }
            for key in ring?.keys ?? [] where !others.contains(key.description) { others.append(key.description) }
        }
        outcome.rivals = Self.rivals(of: identity, in: others)
        let hash = PSKHash.of(identity: Array(identity.utf8), keyLength: length)
        outcome.warnings = [Self.preference(among: others, beside: identity), Self.problem(with: hash)].compactMap(
            \.self)
        return outcome
    }

    /// Identities with the same version, hash, host and subsystem, but another digest.
    private static func rivals(of identity: String, in all: [String]) -> [String] {
        guard identity.hasPrefix("NVMe") else { return [] }
        let words = identity.split(separator: " ").prefix(3)
        return all.filter { $0 != identity && $0.split(separator: " ").prefix(3) == words }
    }

    /// The identities for the same host and subsystem with another version or hash, of which the kernel's host offers
    /// only the first in its order.
    private static func preference(among all: [String], beside identity: String) -> String? {
        guard let own = NVMeIdentity(text: identity), own.origin == .retained else { return nil }
        let others = all.filter { text in
            guard let other = NVMeIdentity(text: text) else { return false }
            return other.origin == own.origin && other.hostName == own.hostName
                && other.subsystemName == own.subsystemName && (other.version, other.hash) != (own.version, own.hash)
        }
        guard !others.isEmpty, let offered = OfferedIdentity.first(of: others + [identity]) else { return nil }
        let unused = (others + [identity]).first { $0 != offered } ?? identity
        return
            "there is \(others.joined(separator: " and ")) for the same host and subsystem; the kernel's NVMe host offers only "
            + "\(offered), which the target must have; remedy: once both ends have it, tlshctl keys revoke --identity "
            + "\"\(unused)\""
    }

    /// The reason why this host cannot use a key with this hash.
    static func problem(with hash: PSKHash) -> String? {
        guard hash == .sha384, !GnuTLS.bindsSHA384 else { return nil }
        return
            "the GnuTLS of this host (\(GnuTLS.version)) cannot use PSKs with SHA-384, so that handshakes with this key fail "
            + "here; remedy: install GnuTLS 3.8.11 or later, or make a key with --hmac 1"
    }

    private func insertKey(_ psk: borrowing SecretBuffer, _ length: Int, _ identity: String) throws -> Int32 {
        let serial: Int32?
        do throws(SystemError) {
            try Keyring.establish()
            var set = KeyringSet(configured: [keyring])
            let change = try set.refresh()
            if let failed = change.failed.first(where: { $0.name == keyring }) { throw failed.error }
            serial =
                set.serial(of: keyring) == nil
                ? nil : try set.insert(identity, payload: 0..<length, of: psk, into: keyring).number
        } catch {
            throw TextError("the key cannot be put into keyring \(keyring): \(error)")
        }
        guard let serial else { throw KeyringView.missing(keyring) }
        return serial
    }
}
