internal import Handshake
internal import Policy

/// A table with headings and columns of minimum width. The last column wraps at the width of the terminal.
struct Table {
    /// A cell with its style.
    struct Cell: ExpressibleByStringInterpolation {
        let text: String
        let style: Style?

        init(_ text: String, _ style: Style? = nil) {
            self.text = Table.printable(text)
            self.style = style
        }

        init(stringLiteral text: String) { self.init(text) }
    }

    private let headings: [String]
    private var rows: [[Cell]] = []
    private let indent: Int

    /// - Parameters:
    ///   - headings: one per column; empty for a table without headings.
    ///   - indent: number of blanks before each line.
    init(_ headings: [String] = [], indent: Int = 0) {
        self.headings = headings
        self.indent = indent
    }

    var isEmpty: Bool { rows.isEmpty }

    mutating func add(_ cells: [Cell]) { rows.append(cells) }

    /// All lines, each with a line feed; empty if there are no rows.
    func text(on terminal: Terminal) -> String {
        guard !rows.isEmpty else { return "" }
        let head = headings.isEmpty ? [] : [headings.map { Cell($0, .dim) }]
        let all = head + rows
        let count = all.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in
            all.compactMap { $0.indices.contains(column) ? $0[column].text.count : nil }.max() ?? 0
        }
        return all.map { line($0, widths, terminal) + "\n" }.joined()
    }

    private func line(_ cells: [Cell], _ widths: [Int], _ terminal: Terminal) -> String {
        var text = String(repeating: " ", count: indent)
        var used = indent
        for (column, cell) in cells.enumerated() {
            let isLast = column == cells.count - 1
            let room = isLast ? terminal.width.map { $0 - used } : nil
            let lines = room.map { Self.wrapped(cell.text, to: $0) } ?? [cell.text]
            let shown = lines.map { line in cell.style.map { terminal.styled(line, $0) } ?? line }
            text += shown.joined(separator: "\n" + String(repeating: " ", count: used))
            guard !isLast else { break }
            text += String(repeating: " ", count: widths[column] - cell.text.count + 2)
            used += widths[column] + 2
        }
        return text
    }

    /// Wraps at blanks; returns the text unchanged if there is too little room or no blank.
    private static func wrapped(_ text: String, to room: Int) -> [String] {
        guard text.count > room, room >= leastRoom else { return [text] }
        var lines: [String] = []
        for word in text.split(separator: " ", omittingEmptySubsequences: false) {
            if let last = lines.last, last.count + 1 + word.count <= room {
                lines[lines.count - 1] = "\(last) \(word)"
            } else {
                lines.append(String(word))
            }
        }
        return lines
    }

    private static let leastRoom = 16

    /// Replaces control characters: names come from peers and files, and must not control the terminal.
    static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { $0.isControlling ? "\u{FFFD}" : $0 }))
    }
}
