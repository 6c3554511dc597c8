extension Unicode.Scalar {
    /// True for characters that a terminal or a line reader may interpret instead of displaying: control characters,
    /// invisible characters and those that change the direction of text (Unicode category Cf), line and paragraph
    /// separators, and private use characters.
    package var isControlling: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .surrogate: true
        default: false
        }
    }
}

extension LogLine {
    /// Makes text from peers (names, identities, subjects) safe for the log and the terminal: characters that are not
    /// displayed become `\u{202e}`, their number in hexadecimal.
    package static func printable(_ text: String) -> String {
        // Fast path: nearly every text is plain ASCII, and classifying each character took a tenth of the broker's
        // time.
        guard text.utf8.contains(where: { !(0x20..<0x7F).contains($0) }) else { return text }
        var printable = ""
        for scalar in text.unicodeScalars {
            if scalar.isControlling {
                printable += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                printable.unicodeScalars.append(scalar)
            }
        }
        return printable
    }
}
