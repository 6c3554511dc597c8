import Foundation
import TestSupport
import Testing

@Suite struct ManualTests {
    private static let commands = [
        ["check"], ["probe"], ["certs", "init"], ["explain"], ["keys", "list"], ["keys", "offer"], ["keys", "gen-tls"],
        ["keys", "insert"], ["keys", "revoke"],
        ["status"], ["handshakes"], ["metrics"],
    ]

    @Test("The manual page has every option of every command", arguments: commands)
    func options(command: [String]) throws {
        let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("docs/man/tlshctl.8")
        let manual = try String(contentsOf: page, encoding: .utf8).replacing("\\", with: "")
        let help = try Tool.run(["help"] + command)
        #expect(help.status == 0)
        let options = Set(
            help.output.matches(of: try Regex("--[a-z][a-z-]+")).map { String($0.output[0].substring ?? "") })
        #expect(options.count > 2, "\(help.output)")
        for option in options { #expect(manual.contains(option), "\(option) of \(command.joined(separator: " "))") }
    }

    @Test("Completions are made for each shell, and bash can read its own", arguments: ["bash", "zsh", "fish"])
    func completions(shell: String) throws {
        let run = try Tool.run("--generate-completion-script", shell)
        #expect(run.status == 0)
        for word in ["check", "probe", "explain", "keys", "psk-file", "status"] {
            #expect(run.output.contains(word), "\(word)")
        }
        guard shell == "bash" else { return }
        let scratch = Scratch()
        scratch.write(run.output, to: "completion")
        #expect(try Command("bash", "-n", scratch.path("completion")).status == 0)
    }
}
