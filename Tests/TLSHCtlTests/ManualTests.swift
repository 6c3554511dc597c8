import Foundation
import TestSupport
import Testing

@Suite struct ManualTests {
    private static let commands = [
        ["check"], ["probe"], ["certs", "init"], ["explain"], ["keys", "list"], ["keys", "offer"], ["keys", "gen-tls"],
        ["keys", "insert"], ["keys", "revoke"],
        ["status"], ["handshakes"], ["metrics"],
    ]

    private static func document(_ name: String) throws -> String {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("docs")
        return try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
    }

    /// The options that a text names.
    private static func options(in text: String) throws -> Set<String> {
        Set(text.matches(of: try Regex("--[a-z][a-z-]+")).map { String($0.output[0].substring ?? "") })
    }

    private static func help(_ command: [String]) throws -> String {
        let help = try Tool.run(["help"] + command)
        #expect(help.status == 0)
        return help.output
    }

    /// Commands by their names, from the help.
    private static func listed(_ parent: [String] = []) throws -> [[String]] {
        let lines = try help(parent).split(separator: "\n", omittingEmptySubsequences: false)
        guard let start = lines.firstIndex(of: "SUBCOMMANDS:") else { return [parent] }
        let names = try lines[(start + 1)...].prefix { !$0.isEmpty }
            .compactMap { try Regex("^  ([a-z-]+)").firstMatch(in: $0)?.output[1].substring }
        return try names.flatMap { try listed(parent + [String($0)]) }
    }

    @Test("The manual page has every command and each of its options, and no others")
    func manual() throws {
        let manual = try Self.document("man/tlshctl.8").replacing("\\", with: "")
        let commands = try Self.listed()
        #expect(Set(commands) == Set(Self.commands))
        // The last two are options of nvme(1).
        var known: Set = ["--help", "--version", "--export", "--keyfile"]
        for command in commands {
            let name = command.joined(separator: " ")
            let isNamed = manual.contains(name) || command.allSatisfy { manual.contains($0) }
            #expect(isNamed, "\(name)")
            let options = try Self.options(in: try Self.help(command))
            #expect(options.count > 2, "\(name)")
            for option in options { #expect(manual.contains(option), "\(option) of \(name)") }
            known.formUnion(options)
        }
        #expect(try Self.options(in: manual).subtracting(known).isEmpty)
    }

    @Test("The schema has every command that prints JSON, and tlshctl-json(5) has each key of the schema")
    func schema() throws {
        let schema = try #require(
            try JSONSerialization.jsonObject(with: Data(try Self.document("tlshctl.schema.json").utf8))
                as? [String: Any])
        let properties = schema["properties"] as? [String: [String: Any]]
        let commands = Set(properties?["command"]?["enum"] as? [String] ?? [])
        let printing = try Self.commands.filter { try Self.help($0).contains("\n  --json ") }
        #expect(commands == Set(printing.map { $0.joined(separator: " ") } + ["check --peer"]))
        let page = try Self.document("man/tlshctl-json.5").replacing("\\", with: "")
        for command in commands { #expect(page.contains(".SS \(command)\n"), "\(command)") }
        #expect(Self.commands.filter { !printing.contains($0) } == [["metrics"]])
        #expect(page.contains("except\n.B metrics\n"))
        for key in Self.keys(of: schema) {
            #expect(page.contains(try Regex("\\b\(key)\\b")), "\(key)")
        }
    }

    /// The names of all properties in a schema.
    private static func keys(of schema: Any) -> Set<String> {
        if let list = schema as? [Any] { return list.reduce(into: []) { $0.formUnion(keys(of: $1)) } }
        guard let object = schema as? [String: Any] else { return [] }
        let own = Set((object["properties"] as? [String: Any] ?? [:]).keys)
        return object.values.reduce(into: own) { $0.formUnion(keys(of: $1)) }
    }

    @Test("Completions are made for each shell, and bash can read its own", arguments: ["bash", "zsh", "fish"])
    func completions(shell: String) throws {
        let run = try Tool.run("--generate-completion-script", shell)
        #expect(run.status == 0)
        for word in ["check", "probe", "explain", "keys", "psk-file", "status"] {
            #expect(run.output.contains(word), "\(word)")
        }
        guard shell == "bash" else { return }
        let scratch = TemporaryDirectory()
        scratch.write(run.output, to: "completion")
        #expect(try Command("bash", "-n", scratch.path("completion")).status == 0)
    }
}
