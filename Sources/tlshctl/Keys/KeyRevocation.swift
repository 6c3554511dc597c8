internal import ArgumentParser
internal import Broker
internal import Handshake
internal import Keyrings
internal import Policy
internal import Settings
internal import System

/// `tlshctl keys revoke`: makes a PSK unusable, and removes it.
struct KeyRevocation: PrintsFacts {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "Revoke a PSK, and remove it from the keyring.",
        discussion: """
            A connection that uses the PSK goes on, and cannot reconnect with it. With --psk-file the PSK is removed from \
            that file as well.
            """)

    @OptionGroup var settings: ConfigurationOptions
    @OptionGroup var output: OutputOptions

    @Option(
        name: .long,
        help: ArgumentHelp("The identity of the PSK, as tlshctl keys list shows it.", valueName: "text"))
    var identity: String

    @Option(name: .long, help: ArgumentHelp("The keyring, by name or serial number.", valueName: "name"))
    var keyring = ".nvme"

    @Option(
        name: .long, help: ArgumentHelp("Remove the PSK from this file.", valueName: "file"), completion: .file())
    var pskFile: String?

    func run() throws {
        let outcome: Outcome
        do {
            // The file first: tlshd would insert the key again.
            let file = try pskFile.flatMap { try PSKFileWriter.remove(identity, from: $0) ? $0 : nil }
            let serial = try revoke(isRequired: file == nil)
            outcome = Outcome(
                identity: identity, serial: serial.map(serialText), keyring: serial.map { _ in keyring }, pskFile: file,
                warnings: [remaining()].compactMap(\.self))
        } catch {
            throw CommandError("\(error)")
        }
        try finish(outcome)
    }

    var commandName: String { "keys revoke" }

    /// - Parameter isRequired: true if a missing keyring or key is an error.
    /// - Returns: `nil` if the keyring does not have it.
    private func revoke(isRequired: Bool) throws(TextError) -> Int32? {
        let serial: Int32?
        let isThere: Bool
        do throws(SystemError) {
            try Keyring.establish()
            var set = KeyringSet(configured: [keyring])
            let change = try set.refresh()
            if let failed = change.failed.first(where: { $0.name == keyring }) { throw failed.error }
            isThere = set.serial(of: keyring) != nil
            serial = isThere ? try set.revoke(identity, in: keyring)?.number : nil
        } catch {
            throw TextError("the PSK cannot be revoked in keyring \(keyring): \(error)")
        }
        guard serial == nil, isRequired else { return serial }
        guard isThere else {
            guard let pskFile else { throw KeyringView.missing(keyring) }
            throw TextError(
                "\(pskFile) has no PSK with the identity \"\(identity)\", and there is no keyring \(keyring) that this user may "
                    + "use; remedy: give an identity of the file, which is the part of a line before the key")
        }
        throw TextError(
            "keyring \(keyring) has no PSK with the identity \"\(identity)\"; remedy: give one of those that tlshctl keys list shows"
        )
    }

    /// The file of the settings from which tlshd would insert the PSK again.
    private func remaining() -> String? {
        guard let path = (try? settings.load())?.settings.psk?.file.value,
            let identities = try? PSKFileWriter.identities(in: path), identities.contains(identity)
        else { return nil }
        return
            "\(path), which psk.file names, has the PSK as well, and tlshd inserts it again; remedy: repeat this with "
            + "--psk-file \(path)"
    }

    private struct Outcome: Report {
        let identity: String
        /// `nil` if the keyring did not have it.
        @OrNull var serial: String?
        @OrNull var keyring: String?
        @OrNull var pskFile: String?
        let warnings: [String]

        var status: Status { warnings.isEmpty ? .ok : .warning }
        var summary: String { warnings.first ?? actions }

        private var actions: String {
            var actions: [String] = []
            if let keyring, let serial {
                actions.append("revoked and removed from keyring \(keyring) (key \(serial))")
            }
            if let pskFile { actions.append("removed from \(pskFile)") }
            return "\(identity) is \(actions.joined(separator: ", and "))"
        }

        func text(on terminal: Terminal) -> String {
            ([actions] + warnings.map { "\(Status.warning.label): \($0)" }).map { Table.printable($0) + "\n" }.joined()
        }
    }
}
