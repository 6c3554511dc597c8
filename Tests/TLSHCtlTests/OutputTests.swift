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

    @Test("The last column is cut where the terminal ends")
    func width() {
        var table = Table()
        table.add(["ab", "0123456789abcdef"])
        #expect(table.text(on: Terminal(isStyled: false, width: 14)) == "ab  012345678…\n")
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

    @Test("JSON has sorted keys and plain slashes")
    func json() throws {
        let text = try Output.document(["b": "/etc", "a": "x"])
        #expect(text == "{\n  \"a\" : \"x\",\n  \"b\" : \"/etc\"\n}")
    }
}
