/// A notice about a file. The daemon runs, but the administrator should read it.
package struct SettingsNotice: Equatable, Sendable, CustomStringConvertible {
    package let file: String
    /// Counted from 1.
    package let line: Int
    package let text: String

    package init(file: String, line: Int, text: String) {
        self.file = file
        self.line = line
        self.text = text
    }

    /// `file:line: text`, one line.
    package var description: String {
        "\(file):\(line): \(text)"
    }
}
