internal import ArgumentParser
internal import InspectWire
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
