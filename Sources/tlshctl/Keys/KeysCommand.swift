internal import ArgumentParser
internal import Broker
internal import Keyrings
internal import Settings
internal import System

/// `tlshctl keys`: PSKs and keyrings.
struct KeysCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Show the PSKs that tlshd can see; make and import NVMe TLS keys.",
        subcommands: [List.self, KeyOffer.self, KeyMaking.self, KeyImport.self], defaultSubcommand: List.self)

    /// `tlshctl keys list`.
    struct List: PrintsFacts {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Show keyrings and what is in them; never a key.")

        @OptionGroup var settings: ConfigurationOptions
        @OptionGroup var output: OutputOptions

        func run() throws {
            let loaded = try settings.require().settings
            let view = try KeyringView.open(loaded.keyringNames + loaded.profileKeyringNames)
            try output.output.show(KeyringReport(view)) { KeyringReport(view).text(on: $0) }
            try (view.problems.isEmpty ? ExitStatus.success : .unavailable).finish()
        }
    }
}

extension KeyringView {
    /// Opens the view, or ends the command with an error.
    static func open(_ names: [String]) throws -> KeyringView {
        do {
            return try KeyringView(names)
        } catch {
            throw CommandError("keyrings cannot be read: \(error)", .unavailable)
        }
    }
}

private struct KeyringReport: Encodable {
    let keyrings: [KeyringView.Ring]
    let missing: [String]
    let problems: [String]

    init(_ view: KeyringView) {
        keyrings = view.keyrings
        missing = view.missing
        problems = view.problems
    }

    private var headline: String {
        let count = keyrings.reduce(0) { $0 + $1.keys.count { $0.type == "psk" } }
        guard let problem = problems.first else {
            return keyrings.isEmpty
                ? "there is none of the keyrings \(missing.joined(separator: ", "))"
                : "\(count) PSKs in \(keyrings.map(\.name).joined(separator: ", "))"
        }
        return "UNKNOWN: keyring \(problem)" + (ThisProcess.user == 0 ? "" : "; remedy: run this as root")
    }

    func text(on terminal: Terminal) -> String {
        var text = terminal.styled(Table.printable(headline), problems.isEmpty ? .bold : .warning) + "\n"
        var table = Table(["KEYRING", "SERIAL", "TYPE", "DESCRIPTION"])
        for ring in keyrings {
            for key in ring.keys {
                let note = key.isReadable ? "" : " (cannot be read)"
                table.add([
                    Table.Cell(ring.name), Table.Cell("0x" + String(key.serial, radix: 16)), Table.Cell(key.type),
                    Table.Cell(key.description + note),
                ])
            }
        }
        if !table.isEmpty { text += "\n" + table.text(on: terminal) }
        if !missing.isEmpty, !keyrings.isEmpty { text += "\nnot there: \(missing.joined(separator: ", "))\n" }
        return text
    }
}
