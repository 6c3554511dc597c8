internal import ArgumentParser
internal import Broker
internal import Settings

/// `tlshctl keys offer`: the identity that a host would offer to a subsystem.
struct KeyOffer: PrintsFacts {
    static let configuration = CommandConfiguration(
        commandName: "offer", abstract: "Show which identity this host would offer to an NVMe subsystem.")

    @OptionGroup var settings: ConfigurationOptions
    @OptionGroup var names: NVMeNames
    @OptionGroup var output: OutputOptions

    @Option(
        name: .long, help: ArgumentHelp("The keyring that nvme connect names, or its serial number.", valueName: "name")
    )
    var keyring = ".nvme"

    func run() throws {
        let host = try names.hostName()
        let view = try KeyringView.open([keyring])
        let ring = view.keyrings.first { $0.name == keyring }
        let offer = ring.flatMap { OfferedIdentity(in: $0, host: host, subsystem: names.subsystemName) }
        let report = OfferReport(host: host, subsystem: names.subsystemName, keyring: keyring, ring: ring, offer: offer)
        try output.output.show(report) { report.text(on: $0) }
        try report.status.finish()
    }
}

private struct OfferReport: Encodable {
    let host: String
    let subsystem: String
    let keyring: String
    /// `nil` if no key matches.
    let identity: String?
    let serial: Int32?
    let problem: String?
    let status: ExitStatus

    private enum CodingKeys: String, CodingKey {
        case host, subsystem, keyring, identity, serial, problem
    }

    init(host: String, subsystem: String, keyring: String, ring: KeyringView.Ring?, offer: OfferedIdentity?) {
        self.host = host
        self.subsystem = subsystem
        self.keyring = keyring
        identity = offer?.description
        serial = offer?.serial
        if ring == nil {
            status = .failure
            problem =
                "there is no keyring \(keyring) that this user may see; remedy: \(KeyringView.remedy(forMissing: keyring))"
        } else if let offer, offer.isOtherSubsystem {
            status = .failure
            problem =
                "the kernel would offer the key of another subsystem, whose name starts with \(subsystem): \(offer.description); "
                + "remedy: tlshctl keys import a key of its own"
        } else if let offer, !offer.rivals.isEmpty {
            status = .warning
            problem =
                "\(offer.rivals.count + 1) keys match, and the kernel may use any of them: "
                + ([offer.description] + offer.rivals).joined(separator: "; ")
        } else {
            status = offer == nil ? .failure : .success
            problem =
                offer == nil
                ? "keyring \(keyring) holds no PSK of host \(host) for \(subsystem), so that nvme connect fails with ENOKEY; "
                    + "remedy: tlshctl keys import" : nil
        }
    }

    func text(on terminal: Terminal) -> String {
        switch status {
        case .success: "\(Table.printable(identity ?? "")) (key 0x\(String(serial ?? 0, radix: 16)) of \(keyring))\n"
        case .warning: terminal.styled(Table.printable("WARNING: \(problem ?? "")"), .warning) + "\n"
        case .failure, .usage, .unavailable: terminal.styled(Table.printable("FAILED: \(problem ?? "")"), .bad) + "\n"
        }
    }
}
