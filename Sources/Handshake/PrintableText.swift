extension Unicode.Scalar {
    /// Whether a terminal, or a reader of lines, may do something else with it than show it: control characters, those
    /// that change the direction of text or are not seen (Unicode's Cf), separators of lines and paragraphs, and what
    /// no standard says the looks of.
    package var isControlling: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .surrogate: true
        default: false
        }
    }
}

extension LogLine {
    /// What strangers chose (names, identities, subjects) must not break the line or the terminal, nor look like what
    /// it is not: characters that are not shown become `\u{202e}`, their number in hexadecimal.
    package static func printable(_ text: String) -> String {
        // Nearly every text is plain ASCII, and asking Unicode about each character was a tenth of the broker's time.
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
