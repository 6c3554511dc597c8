internal import ArgumentParser
internal import Handshake
internal import Inspect
internal import InspectWire
internal import Keyrings
internal import Policy
internal import System
internal import TLSWire
internal import Wire

/// `tlshctl keys make`: generates a key, prints it in interchange format for the other end, and stores the PSK for this
/// end.
struct KeyMaking: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "make", abstract: "Make a new NVMe TLS key and print it in interchange form.",
        discussion: """
            The key goes to standard output, or to --output. With --insert or --psk-file it is derived for the host and the subsystem \
            as well, as import does it.
            """)

    enum Hash: String, ExpressibleByArgument, CaseIterable {
        case sha256
        case sha384

        var value: PSKHash {
            switch self {
            case .sha256: .sha256
            case .sha384: .sha384
            }
        }
    }

    @OptionGroup var targets: KeyTargets

    @Option(name: .long, help: "The hash that the key is for: sha256 or sha384.")
    var hash = Hash.sha256

    @Flag(name: .long, help: "Both ends use the key itself, instead of one that each host derives from it.")
    var retained = false

    @Option(
        name: [.short, .long], help: ArgumentHelp("Write the key to this new file.", valueName: "file"),
        completion: .file())
    var output: String?

    func run() throws {
        KeyMaterial.harden()
        try GnuTLSStart.run()
        do {
            let transform: NVMeInterchangeKey.Transform =
                retained ? .none : hash == .sha256 ? .sha256 : .sha384
            let material = try KeyMaterial.random(hash.value, transform: transform)
            if targets.insert || targets.pskFile != nil {
                let outcome = try targets.store(material, intoKeyring: targets.insert)
                Output.printError("tlshctl: \(outcome.text.dropLast())")
            }
            try hand(over: material)
        } catch let error as SystemError {
            throw CommandError(error.description)
        }
    }

    private func hand(over material: borrowing KeyMaterial) throws {
        var text = try SecretBuffer(capacity: NVMeInterchangeKey.textLimit + 1)
        let length = try material.encode(into: &text)
        guard let output else {
            return try PSKFileWriter.write(text, length, to: StandardStreams.output, "standard output")
        }
        let file = try PSKFileWriter.create(output)
        try PSKFileWriter.write(text, length, to: file.number, output)
    }
}

/// `tlshctl keys import`: derives the PSK for a host and a subsystem from a key in interchange format.
struct KeyImport: PrintsFacts {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Import an NVMe TLS key (NVMeTLSkey-1:…) from a file or from standard input.",
        discussion: """
            The key is derived for the host and the subsystem, and put into the keyring; with --psk-file into that file, and with \
            --insert besides into the keyring. It is never taken from the command line.
            """)

    @OptionGroup var targets: KeyTargets
    @OptionGroup var output: OutputOptions

    @Argument(
        help: ArgumentHelp("The file with the key; without it, standard input.", valueName: "file"), completion: .file()
    )
    var file: String?

    func validate() throws {
        if let file, file.hasPrefix("NVMeTLSkey-") {
            throw ValidationError(
                "a key on the command line can be seen by everybody: give it by file or standard input")
        }
    }

    func run() throws {
        KeyMaterial.harden()
        try GnuTLSStart.run()
        let material: KeyMaterial
        do {
            material = try read()
        } catch {
            throw CommandError("\(error)")
        }
        let outcome = try targets.store(material, intoKeyring: targets.insert || targets.pskFile == nil)
        try output.output.show(outcome) { _ in outcome.text }
        try outcome.status.finish()
    }

    private func read() throws -> KeyMaterial {
        guard let file, file != "-" else {
            return try KeyMaterial.reading(StandardStreams.input, named: "standard input")
        }
        return try KeyMaterial.reading(file)
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

    @Option(name: .long, help: ArgumentHelp("Version of the identity, 0 or 1.", valueName: "number"))
    var identityVersion: UInt8 = 1

    @Flag(name: .long, help: "Derive the key as older nvme-cli does (2.13), where the other end uses that.")
    var legacy = false

    func validate() throws {
        guard identityVersion <= 1 else { throw ValidationError("--identity-version must be 0 or 1") }
    }

    /// Result of storing a key.
    struct Outcome: Encodable {
        let identity: String
        /// `nil` if it was not added to a keyring.
        var serial: Int32?
        var keyring: String?
        var pskFile: String?
        /// Other keys for the same host and subsystem. It is undefined which of them the kernel uses.
        var rivals: [String] = []

        var status: ExitStatus { rivals.isEmpty ? .success : .warning }

        var text: String {
            var places: [String] = []
            if let keyring, let serial { places.append("keyring \(keyring) (key 0x\(String(serial, radix: 16)))") }
            if let pskFile { places.append(pskFile) }
            let text = "\(identity) is in \(places.joined(separator: " and "))\n"
            guard !rivals.isEmpty else { return text }
            return text
                + "WARNING: so is \(rivals.joined(separator: ", ")), and the kernel may use any of them; remedy: once both ends "
                + "have the new key, remove the old one from the file, and keyctl unlink it from the keyring\n"
        }
    }

    /// Derives the PSK and stores it.
    ///
    /// - Parameter intoKeyring: true to add it to the keyring.
    func store(_ material: borrowing KeyMaterial, intoKeyring: Bool) throws -> Outcome {
        let host = try names.hostName()
        do {
            return try store(material, host: host, intoKeyring: intoKeyring)
        } catch {
            throw CommandError("\(error)")
        }
    }

    private func store(
        _ material: borrowing KeyMaterial, host: String, intoKeyring: Bool
    ) throws -> Outcome {
        var psk = try SecretBuffer(capacity: 48)
        let request = NVMeKeyDerivation.Request(
            hostName: host, subsystemName: names.subsystemName, version: identityVersion, isLegacy: legacy)
        let identity = try TextError.of(
            "the key cannot be derived",
            try NVMeKeyDerivation.derive(request, from: material.key, material.decoded, into: &psk))
        var outcome = Outcome(identity: identity.text)
        // The file first, because it persists across a reboot.
        if let pskFile {
            try PSKFileWriter.put(psk, identity, into: pskFile)
            outcome.pskFile = pskFile
            outcome.rivals = Self.rivals(of: identity, in: try PSKFileWriter.identities(in: pskFile))
        }
        if intoKeyring {
            outcome.serial = try insertKey(psk, identity)
            outcome.keyring = keyring
            let ring = (try? KeyringView([keyring]))?.keyrings.first { $0.name == keyring }
            let found = Self.rivals(of: identity, in: ring?.keys.map(\.description) ?? [])
            outcome.rivals += found.filter { !outcome.rivals.contains($0) }
        }
        return outcome
    }

    /// Identities with the same version, hash, host and subsystem, but another digest.
    private static func rivals(of identity: NVMeIdentity, in all: [String]) -> [String] {
        let words = identity.text.split(separator: " ").prefix(3)
        return all.filter { $0 != identity.text && $0.split(separator: " ").prefix(3) == words }
    }

    private func insertKey(_ psk: borrowing SecretBuffer, _ identity: NVMeIdentity) throws -> Int32 {
        let serial: Int32?
        do throws(SystemError) {
            try Keyring.establish()
            var set = KeyringSet(configured: [keyring])
            let change = try set.refresh()
            if let failed = change.failed.first(where: { $0.name == keyring }) { throw failed.error }
            serial =
                set.serial(of: keyring) == nil
                ? nil : try set.insert(identity.text, payload: 0..<identity.keyLength, of: psk, into: keyring).number
        } catch {
            throw TextError("the key cannot be put into keyring \(keyring): \(error)")
        }
        guard let serial else {
            throw TextError(
                "there is no keyring \(keyring) that this user may use; remedy: \(KeyringView.remedy(forMissing: keyring))"
            )
        }
        return serial
    }
}
