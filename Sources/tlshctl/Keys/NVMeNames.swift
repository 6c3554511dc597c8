internal import ArgumentParser
internal import FoundationEssentials
internal import Wire

/// The two ends of an NVMe connection, by the options of nvme(1).
struct NVMeNames: ParsableArguments {
    @Option(
        name: .customLong("hostnqn"),
        help: ArgumentHelp("The host; without it, that of /etc/nvme/hostnqn.", valueName: "nqn"))
    var host: String?

    @Option(
        name: .customLong("subsysnqn"),
        help: ArgumentHelp("The subsystem; without it, that of discovery.", valueName: "nqn"))
    var subsystem: String?

    /// The well-known subsystem that lists the others (NVM Express Base Specification, "Discovery").
    static let discovery = "nqn.2014-08.org.nvmexpress.discovery"
    static let hostFile = "/etc/nvme/hostnqn"

    var subsystemName: String { subsystem ?? Self.discovery }

    /// Ends the command where there is none.
    func hostName() throws -> String {
        if let host { return host }
        let text = try? String(contentsOfFile: Self.hostFile, encoding: .utf8)
        guard let name = text?.split(whereSeparator: \.isWhitespace).first else {
            throw Complaint(
                "there is no \(Self.hostFile), so that the host's name is not known; remedy: give --hostnqn")
        }
        return String(name)
    }
}

/// Which PSK the kernel's NVMe host would offer: the first of its wishes that the start of a description fits
/// (drivers/nvme/common/keyring.c, nvme_tls_psk_default and nvme_tls_psk_match).
struct OfferedIdentity {
    let keyring: String
    let serial: Int32
    let description: String
    /// Others that fit the same wish: which of them the kernel takes is not defined.
    let rivals: [String]
    /// The key is another subsystem's, whose name begins like the one asked for.
    let isStranger: Bool

    /// Version, origin and hash, the most wanted first.
    private static let wishes = ["1R02", "1R01", "0R02", "0R01", "1G02", "1G01", "0G02", "0G01"]

    /// - Returns: `nil` where nothing fits.
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
            isStranger = next.map { $0 != UInt8(ascii: " ") } ?? false
            return
        }
        return nil
    }
}
