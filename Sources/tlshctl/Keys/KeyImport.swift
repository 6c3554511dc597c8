internal import ArgumentParser

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
