internal import ArgumentParser
internal import Broker
internal import FoundationEssentials
internal import Settings
internal import Wire

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

/// Names of both ends of an NVMe connection, with the options of nvme(1).
struct NVMeNames: ParsableArguments {
    @Option(
        name: .customLong("hostnqn"),
        help: ArgumentHelp("The host; without it, that of /etc/nvme/hostnqn.", valueName: "nqn"))
    var host: String?

    @Option(
        name: .customLong("subsysnqn"),
        help: ArgumentHelp("The subsystem; without it, that of discovery.", valueName: "nqn"))
    var subsystem: String?

    /// Well-known NQN of the discovery subsystem (NVM Express Base Specification, "Discovery").
    static let discovery = "nqn.2014-08.org.nvmexpress.discovery"
    static let hostFile = "/etc/nvme/hostnqn"

    var subsystemName: String { subsystem ?? Self.discovery }

    /// Name of this host. Ends the command if there is none.
    func hostName() throws -> String {
        if let host { return host }
        let text = try? String(contentsOfFile: Self.hostFile, encoding: .utf8)
        guard let name = text?.split(whereSeparator: \.isWhitespace).first else {
            throw CommandError(
                "there is no \(Self.hostFile), so that the host's name is not known; remedy: give --hostnqn")
        }
        return String(name)
    }
}

/// The PSK that the kernel's NVMe host would offer: the first in its order of preference that matches the start of a
/// description (drivers/nvme/common/keyring.c, nvme_tls_psk_default and nvme_tls_psk_match).
struct OfferedIdentity {
    let keyring: String
    let serial: Int32
    let description: String
    /// Other keys that match equally. It is undefined which of them the kernel uses.
    let rivals: [String]
    /// True if the key belongs to another subsystem whose name has the wanted one as prefix.
    let isOtherSubsystem: Bool

    /// Version, origin and hash, in order of preference.
    private static let wishes = ["1R02", "1R01", "0R02", "0R01", "1G02", "1G01", "0G02", "0G01"]

    /// - Returns: `nil` if no key matches.
    init?(in ring: KeyringView.Ring, host: String, subsystem: String) {
        let keys = ring.keys.filter { $0.type == "psk" }
        for wish in Self.wishes {
            let start = "NVMe\(wish) \(host) \(subsystem)"
            let fitting = keys.filter { $0.description.utf8.starts(with: start.utf8) }
            guard let first = fitting.first else { continue }
            keyring = ring.name
            serial = first.serial
            description = first.description
            rivals = fitting.dropFirst().map(\.description)
            let next = first.description.utf8.dropFirst(start.utf8.count).first
            isOtherSubsystem = next.map { $0 != UInt8(ascii: " ") } ?? false
            return
        }
        return nil
    }
}
