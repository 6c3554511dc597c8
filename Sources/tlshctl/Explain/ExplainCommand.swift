internal import ArgumentParser
internal import Handshake
internal import Settings

/// `tlshctl explain`: each setting in force with the file and line that sets it.
struct ExplainCommand: PrintsFacts {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Show each setting in force, and the file and line it comes from.",
        discussion: "Names of sections or keys, or parts of them, narrow the list.")

    @OptionGroup var settings: ConfigurationOptions
    @OptionGroup var link: DaemonLink
    @OptionGroup var output: OutputOptions

    @Flag(name: .long, help: "Omit built-in defaults.")
    var written = false

    @Argument(help: ArgumentHelp("Sections or keys, such as limits or x509.crl.", valueName: "name"))
    var names: [String] = []

    func run() throws {
        let loaded = try settings.require(running: try RunningSettings(link))
        for name in names where !loaded.settings.effective.contains(where: { "\($0.section) \($0.key)".contains(name) })
        {
            throw CommandError(
                "no setting is called \(name); remedy: \(Self.suggestion(name, loaded.settings.effective))")
        }
        let shown = loaded.settings.effective.filter { setting in
            let name = "\(setting.section) \(setting.key)"
            let isWanted = names.isEmpty || names.contains { name.contains($0) }
            return isWanted && !(written && setting.origin == .builtIn)
        }
        try finish(
            SettingsReport(
                files: loaded.files, settings: shown.map(SettingReport.init),
                notices: loaded.settings.notices.map(\.description)))
    }
}

extension ExplainCommand {
    /// The most similar name, or all sections.
    private static func suggestion(_ name: String, _ settings: [EffectiveSetting]) -> String {
        let sections = Set(settings.map(\.section)).sorted()
        let nearest = Spelling.nearest(to: name, in: sections + settings.map(\.key), within: 3)
        return nearest.map { "write \($0)" }
            ?? "name one of the sections \(sections.joined(separator: ", ")), or a key that tlshd.conf(5) lists"
    }
}

extension LoadedConfiguration {
    /// All files that were read, in reading order.
    var files: [String] {
        switch source {
        case .file(let path): [path] + dropIns
        case .defaults: dropIns
        }
    }

    /// The same as text.
    var listing: String { files.isEmpty ? "\(source)" : files.joined(separator: ", ") }
}

/// A setting in the output.
private struct SettingReport: Encodable {
    /// A line of a file.
    struct Place: Encodable {
        let file: String
        let line: Int

        init?(_ origin: SettingOrigin) {
            switch origin {
            case .builtIn: return nil
            case .line(let file, let line): (self.file, self.line) = (file, line)
            }
        }

        var text: String { "\(file):\(line)" }
    }

    let section: String
    let key: String
    /// `nil` if it is not set; `text` has then what this means.
    @OrNull var value: String?
    let text: String
    /// `nil` for built-in defaults.
    @OrNull var origin: Place?
    /// Other lines that set it and have no effect.
    let replaced: [Place]

    init(_ setting: EffectiveSetting) {
        section = setting.section
        key = setting.key
        value = setting.isSet ? setting.value : nil
        text = setting.value
        origin = Place(setting.origin)
        replaced = setting.replaced.compactMap(Place.init)
    }
}

private struct SettingsReport: Report {
    let files: [String]
    let settings: [SettingReport]
    let notices: [String]

    var status: Status { notices.isEmpty ? .ok : .note }

    var summary: String {
        files.isEmpty
            ? "no configuration file: all settings are built-in defaults" : "from \(files.joined(separator: ", "))"
    }

    func text(on terminal: Terminal) -> String {
        var text = Table.printable(summary) + "\n"
        var sections: [String] = []
        for setting in settings where !sections.contains(setting.section) { sections.append(setting.section) }
        for section in sections {
            text += "\n" + terminal.styled("[\(section)]", .bold) + "\n"
            var table = Table(indent: 2)
            for setting in settings where setting.section == section {
                let more = setting.replaced.count - 3
                let others =
                    setting.replaced.prefix(3).map(\.text).joined(separator: ", ")
                    + (more > 0 ? " and \(more.counted("more line"))" : "")
                let replaced = setting.replaced.isEmpty ? "" : " (instead of \(others))"
                table.add([
                    Table.Cell(setting.key), Table.Cell(setting.text),
                    setting.origin.map { Table.Cell($0.text + replaced) } ?? Table.Cell("built in", .dim),
                ])
            }
            text += table.text(on: terminal)
        }
        if !notices.isEmpty { text += "\n" + notices.map { Table.printable($0) + "\n" }.joined() }
        return text
    }
}
