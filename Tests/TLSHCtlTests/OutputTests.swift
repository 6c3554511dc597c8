import Foundation
import Handshake
import Policy
import TestSupport
import Testing

@testable import tlshctl

@Suite struct OutputTests {
    private static let plain = Terminal(isStyled: false, width: nil)

    @Test("Columns are as wide as their widest cell, and no line ends in blanks")
    func columns() {
        var table = Table(["NAME", "STATE"])
        table.add(["a", "up"])
        table.add(["longer", Table.Cell("down", .bad)])
        #expect(table.text(on: Self.plain) == "NAME    STATE\na       up\nlonger  down\n")
    }

    @Test("Styles appear only where they show")
    func styles() {
        var table = Table()
        table.add([Table.Cell("down", .bad)])
        #expect(table.text(on: Self.plain) == "down\n")
        #expect(table.text(on: Terminal(isStyled: true, width: nil)) == "\u{1B}[1;31mdown\u{1B}[0m\n")
    }

    @Test("The last column goes on below itself where the terminal ends, and loses nothing")
    func width() {
        var table = Table()
        table.add(["ab", "the peer's certificate has expired; remedy: renew it"])
        let narrow = Terminal(isStyled: false, width: 24)
        #expect(
            table.text(on: narrow)
                == "ab  the peer's\n    certificate has\n    expired; remedy:\n    renew it\n")
        #expect(table.text(on: Terminal(isStyled: false, width: 10)).split(separator: "\n").count == 1)
        var long = Table()
        long.add(["ab", "0123456789abcdefghijklmnopqrstuvwxyz"])
        #expect(long.text(on: narrow) == "ab  0123456789abcdefghijklmnopqrstuvwxyz\n")
    }

    @Test("What names hold cannot move the cursor")
    func escapes() {
        var table = Table()
        table.add(["a\u{1B}[2Jb\nc"])
        #expect(table.text(on: Self.plain) == "a\u{FFFD}[2Jb\u{FFFD}c\n")
    }

    @Test("A table without rows prints nothing, not even headings")
    func empty() {
        #expect(Table(["NAME"]).text(on: Self.plain).isEmpty)
    }

    @Test(
        "Where a document is expected, there is one, whatever went wrong",
        arguments: [
            ["explain", "-c", "/none/config"], ["keys", "list", "-c", "/none/config"],
            ["probe", "nfs://127.0.0.1:1", "-c", "/none/config"],
            ["check", "--peer", "a", "--certificate", "/none/file"], ["keys", "import", "/none/key"],
        ])
    func complaints(arguments: [String]) throws {
        let run = try Tool.run(arguments + ["--json"])
        #expect(run.status == 1, "\(run.output)\(run.errors)")
        let document = try run.document()
        let error = document.summary
        #expect(document.status == "failed" && document.data.isEmpty)
        #expect(error.contains("/none/") && run.errors == "tlshctl: \(error)\n", "\(run.errors)")
        let text = try Tool.run(arguments)
        #expect(text.status == 1 && text.output.isEmpty && text.errors == run.errors)
    }

    @Test(
        "Output that nobody gets is not a verdict",
        arguments: ["check --only policy", "keys gen-tls", "keys gen-tls --json"],
        [(">/dev/full", "No space left"), (">&-", "Bad file descriptor")])
    func unwritten(question: String, _ end: (redirection: String, why: String)) throws {
        let (redirection, why) = end
        let command = try Command("sh", "-c", "'\(Tool.path)' \(question) 2>&1 \(redirection); echo $?")
        #expect(command.text.contains("4\n"), "\(command.text)")
        let told = try Command("sh", "-c", "exec 3>&1; '\(Tool.path)' \(question) 2>&3 \(redirection)")
        #expect(told.text.contains("standard output: \(why)"), "\(told.text)")
    }

    @Test("A document has no character that moves the cursor, and still says which it was")
    func escapedDocument() throws {
        let name = "a\u{9B}2J\u{202E}b\u{7F}\u{E0001}\n"
        let text = try Output.document([name: name])
        #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || !$0.isControlling }, "\(text)")
        #expect(try JSONDecoder().decode([String: String].self, from: Data(text.utf8)) == [name: name])
    }

    @Test("JSON has sorted keys and plain slashes")
    func json() throws {
        let text = try Output.document(["b": "/etc", "a": "x"])
        #expect(text == "{\n  \"a\" : \"x\",\n  \"b\" : \"/etc\"\n}")
    }
}
