internal import ArgumentParser
internal import FoundationEssentials
internal import Wire

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
