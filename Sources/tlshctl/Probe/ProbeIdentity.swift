internal import ArgumentParser
internal import Broker
internal import Handshake
internal import Keyrings
internal import Policy
internal import Settings
internal import System
internal import Unconfined
internal import Wire

/// The PSK that a probe offers.
struct ProbeIdentity: ~Copyable {
    let identity: [UInt8]
    /// Starts with the key.
    let key: SecretBuffer
    let length: Int
    /// Origin of the key; `nil` for a made-up key, which only tests if the peer speaks TLS.
    let origin: String?
    /// Reason why there is no real key.
    let lack: String?

    var text: String { String(decoding: identity, as: UTF8.self) }
}

/// Options for finding the PSK.
struct ProbeKeyOptions: ParsableArguments {
    @OptionGroup var names: NVMeNames

    @Option(name: .long, help: ArgumentHelp("Offer exactly this identity.", valueName: "text"))
    var identity: String?

    @Option(name: .long, help: ArgumentHelp("The keyring with the PSK, by name or serial number.", valueName: "name"))
    var keyring = ".nvme"

    @Option(
        name: .long,
        help: ArgumentHelp("Read the PSK from a file in psktool's format instead of a keyring.", valueName: "file"),
        completion: .file())
    var pskFile: String?

    /// A text for each name that is not an NQN. Ends the command if the name of this host is not known.
    func problemsWithNames() throws -> [String] {
        guard identity == nil else { return [] }
        return NVMeName.problems(of: NVMeNames.Pair(host: try names.hostName(), subsystem: names.subsystemName))
    }

    /// Finds the PSK as the kernel's host would, or makes one up.
    func find() throws -> ProbeIdentity {
        let host = identity == nil ? try names.hostName() : ""
        do {
            if let pskFile { return try fromFile(pskFile, host) }
            return try fromKeyring(host)
        } catch {
            return try madeUp(host, "\(error)")
        }
    }

    private func wanted(_ host: String) -> String {
        identity.map { "called \"\($0)\"" } ?? "of host \(host) for \(names.subsystemName)"
    }

    private func fromKeyring(_ host: String) throws -> ProbeIdentity {
        let problem = "the PSK cannot be read from keyring \(keyring)"
        let view = try TextError.of(problem, try KeyringView([keyring]))
        guard let ring = view.keyrings.first(where: { $0.name == keyring }) else {
            throw TextError("there is no keyring \(keyring) that this user may see")
        }
        let choice = choose(ring, host)
        guard let choice, let serial = KeySerial(choice.serial) else {
            throw TextError("keyring \(keyring) holds no PSK \(wanted(host))")
        }
        var buffer = try SecretBuffer(capacity: MessageLimit.preSharedKey)
        let length = try TextError.of(
            problem, try Key(serial).read(into: &buffer, limit: MessageLimit.preSharedKey))
        return ProbeIdentity(
            identity: Array(choice.description.utf8), key: buffer, length: length, origin: "keyring \(keyring)",
            lack: nil)
    }

    private func choose(_ ring: KeyringView.Ring, _ host: String) -> (serial: Int32, description: String)? {
        if let identity {
            return ring.keys.first { $0.type == "psk" && $0.description == identity }.map {
                ($0.serial, $0.description)
            }
        }
        let offer = OfferedIdentity(in: ring, host: host, subsystem: names.subsystemName)
        return offer.map { ($0.serial, $0.description) }
    }

    private func fromFile(_ path: String, _ host: String) throws -> ProbeIdentity {
        let contents = try SealedContents(of: SealedFile(copying: path).takeDescriptor())
        let entries = try contents.withSpan { span in try PSKFile.parse(span, file: path) }
        guard let entry = choose(entries, path, host) else { throw TextError("\(path) holds no PSK \(wanted(host))") }
        var key = try SecretBuffer(capacity: entry.keyLength)
        try contents.withSpan { span in
            try key.withMutableSpan { target in try entry.decodeKey(from: span, into: &target) }
        }
        return ProbeIdentity(identity: entry.identity, key: key, length: entry.keyLength, origin: path, lack: nil)
    }

    /// The entry that the kernel would choose if the file were a keyring.
    private func choose(_ entries: [PSKFileEntry], _ path: String, _ host: String) -> PSKFileEntry? {
        let keys = entries.map { entry in
            KeyringView.Entry(
                serial: 0, type: "psk", description: String(decoding: entry.identity, as: UTF8.self), owner: 0,
                permissions: "", isReadable: true)
        }
        let choice = choose(KeyringView.Ring(name: path, serial: 0, keys: keys), host)
        return choice.flatMap { choice in entries.first { $0.identity == Array(choice.description.utf8) } }
    }

    /// A random key under the wanted identity. The peer's answer shows if it speaks TLS.
    private func madeUp(_ host: String, _ lack: String) throws -> ProbeIdentity {
        let name = identity ?? "NVMe1R01 \(host) \(names.subsystemName)"
        var key = try SecretBuffer(capacity: MessageLimit.preSharedKey)
        try KeyMaterial.fill(&key, 32)
        return ProbeIdentity(identity: Array(name.utf8), key: key, length: 32, origin: nil, lack: lack)
    }
}
