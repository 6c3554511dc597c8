internal import ArgumentParser
internal import Broker
internal import FoundationEssentials
internal import Settings
internal import TLSWire
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

    func validate() throws { try names.requireSubsystem() }

    func run() throws {
        let both = try names.both()
        let view = try KeyringView.open([keyring])
        let ring = view.keyrings.first { $0.name == keyring }
        let offer = ring.flatMap { OfferedIdentity(in: $0, host: both.host, subsystem: both.subsystem) }
        let report = OfferReport(both, keyring: keyring, ring: ring, offer: offer)
        try finish(report)
    }

    var commandName: String { "keys offer" }
}

private struct OfferReport: Report {
    let host: String
    let subsystem: String
    let keyring: String
    /// `nil` if no key matches.
    @OrNull var identity: String?
    @OrNull var serial: String?
    @OrNull var problem: String?
    /// Further causes of a failure.
    let notes: [String]
    let status: Status

    private enum CodingKeys: String, CodingKey {
        case host, subsystem, keyring, identity, serial, problem, notes
    }

    init(_ both: NVMeNames.Pair, keyring: String, ring: KeyringView.Ring?, offer: OfferedIdentity?) {
        host = both.host
        subsystem = both.subsystem
        self.keyring = keyring
        identity = offer?.description
        serial = offer.map { serialText($0.serial) }
        var notes = NVMeName.problems(of: both)
        if let others = offer?.others, !others.isEmpty {
            notes.append(
                "the keyring also has \(others.joined(separator: " and ")), which the kernel does not offer: it prefers version 1 "
                    + "to 0, and SHA-384 to SHA-256")
        }
        self.notes = notes
        let unusable = offer.flatMap { offer in
            KeyTargets.problem(with: PSKHash.of(identity: Array(offer.description.utf8), keyLength: 0))
        }
        if ring == nil {
            status = .failed
            problem =
                "there is no keyring \(keyring) that this user may see; remedy: \(KeyringView.remedy(forMissing: keyring))"
        } else if let offer, offer.isOtherSubsystem {
            status = .failed
            problem =
                "the kernel would offer the key of another subsystem, whose name starts with \(subsystem): \(offer.description); "
                + "remedy: tlshctl keys insert a key of its own"
        } else if let offer, let unusable {
            status = .failed
            problem = "the kernel would offer \(offer.description), but \(unusable)"
        } else if let offer, !offer.rivals.isEmpty {
            status = .warning
            problem =
                "\(offer.rivals.count + 1) keys match, and the kernel may use any of them: "
                + ([offer.description] + offer.rivals).joined(separator: "; ")
        } else {
            status = offer == nil ? .failed : .ok
            problem =
                offer == nil
                ? "keyring \(keyring) holds no PSK of host \(host) for \(subsystem), so that nvme connect fails with ENOKEY; "
                    + "remedy: tlshctl keys insert" : nil
        }
    }

    var summary: String { problem ?? "\(identity ?? "") (key \(serial ?? "") of \(keyring))" }

    func text(on terminal: Terminal) -> String {
        let first = problem == nil ? Table.printable(summary) : headline(terminal)
        return ([first] + notes.map { Table.printable("note: \($0)") }).map { $0 + "\n" }.joined()
    }
}

/// Names of both ends of an NVMe connection, with the options of nvme(1).
struct NVMeNames: ParsableArguments {
    @Option(
        name: .customLong("hostnqn"),
        help: ArgumentHelp("The host; without it, that of /etc/nvme/hostnqn.", valueName: "nqn"))
    var host: String?

    @Option(
        name: .customLong("subsysnqn"), help: ArgumentHelp("The subsystem.", valueName: "nqn"))
    var subsystem: String?

    @Flag(name: .long, help: "The discovery subsystem.")
    var discovery = false

    /// Well-known NQN of the discovery subsystem (NVM Express Base Specification, "Discovery").
    static let discoveryName = "nqn.2014-08.org.nvmexpress.discovery"
    static let hostFile = "/etc/nvme/hostnqn"

    /// The subsystem, for a command that takes that of discovery if none is given.
    var subsystemName: String { subsystem ?? Self.discoveryName }

    /// True if no option was given.
    var isEmpty: Bool { host == nil && subsystem == nil && !discovery }

    func validate() throws {
        if subsystem != nil, discovery { throw ValidationError("give either --subsysnqn or --discovery") }
    }

    /// A host and a subsystem.
    struct Pair {
        let host: String
        let subsystem: String
    }

    /// Wrong usage if a command requires the subsystem, and it is not given.
    func requireSubsystem() throws {
        guard subsystem != nil || discovery else {
            throw ValidationError(
                "give the subsystem that the key is for with --subsysnqn, or --discovery for the discovery subsystem")
        }
    }

    /// Both names, for a command that requires them.
    func both() throws -> Pair {
        try requireSubsystem()
        return Pair(host: try hostName(), subsystem: subsystemName)
    }

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

/// Form of an NVMe qualified name (NVM Express Base Specification, "NVMe Qualified Names"). The kernel takes other
/// names, too.
enum NVMeName {
    /// A text for each of the names that has another form.
    static func problems(of pair: NVMeNames.Pair) -> [String] {
        [("host", pair.host), ("subsystem", pair.subsystem)].compactMap { kind, name in
            problem(of: name).map {
                "the name of the \(kind), \(name), is not an NVMe qualified name: \($0); the key is for exactly this name; "
                    + "remedy: if it is wrong, give the one that both ends use (nqn.YYYY-MM.DOMAIN:NAME)"
            }
        }
    }

    /// The difference from the form; `nil` if there is none.
    static func problem(of name: String) -> String? {
        guard name.utf8.count <= NVMeIdentity.nameLimit else {
            return "it has more than \(NVMeIdentity.nameLimit) bytes"
        }
        guard name.hasPrefix("nqn.") else { return "it does not begin with nqn." }
        let date = Array(name.utf8.dropFirst(4).prefix(8))
        func isNumber(_ range: Range<Int>) -> Bool { date[range].allSatisfy { (0x30...0x39).contains($0) } }
        guard date.count == 8, isNumber(0..<4), date[4] == UInt8(ascii: "-"), isNumber(5..<7),
            date[7] == UInt8(ascii: "."), ["0", "1"].contains(String(decoding: date[5..<6], as: UTF8.self))
        else { return "no year and month follow nqn." }
        let rest = name.dropFirst(12)
        let domain = rest.prefix { $0 != ":" }
        guard !domain.isEmpty, domain.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return "it has no domain" }
        guard domain.endIndex == rest.endIndex || rest.last != ":" else { return "no name follows the colon" }
        guard name.hasPrefix(uuidStart) else { return nil }
        let groups = name.dropFirst(uuidStart.count).split(separator: "-", omittingEmptySubsequences: false)
        let isUUID = groups.map(\.count) == [8, 4, 4, 4, 12] && groups.joined().allSatisfy(\.isHexDigit)
        return isUUID ? nil : "what follows \(uuidStart) is not a UUID"
    }

    private static let uuidStart = "nqn.2014-08.org.nvmexpress:uuid:"
}

/// The PSK that the kernel's NVMe host would offer: the first in its order of preference that matches the start of a
/// description (drivers/nvme/common/keyring.c, nvme_tls_psk_default and nvme_tls_psk_match).
struct OfferedIdentity {
    let keyring: String
    let serial: Int32
    let description: String
    /// Other keys that match equally. It is undefined which of them the kernel uses.
    let rivals: [String]
    /// Keys for the same host and subsystem that come later in the order of preference.
    let others: [String]
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
            others = keys.map(\.description).filter { text in
                guard !fitting.contains(where: { $0.description == text }), let other = NVMeIdentity(text: text) else {
                    return false
                }
                return other.hostName == host && other.subsystemName == subsystem
            }
            return
        }
        return nil
    }

    /// The first of some identities for one host and subsystem in the order of preference.
    static func first(of identities: [String]) -> String? {
        for wish in wishes {
            if let first = identities.first(where: { $0.hasPrefix("NVMe\(wish) ") }) { return first }
        }
        return nil
    }
}
