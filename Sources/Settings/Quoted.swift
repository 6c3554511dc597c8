internal import Handshake
internal import Policy

/// Formats text from a file or command line for a log line: in single quotes, control characters and quotes as `\u{…}`,
/// truncated after 64 characters, so that input can neither forge nor flood a line.
func quoted(_ text: String) -> String {
    var result = "'"
    for (index, scalar) in text.unicodeScalars.enumerated() {
        guard index < 64 else {
            result += "…"
            break
        }
        if isPlain(scalar) {
            result.unicodeScalars.append(scalar)
        } else {
            result += "\\u{\(String(scalar.value, radix: 16))}"
        }
    }
    return result + "'"
}

private func isPlain(_ scalar: Unicode.Scalar) -> Bool {
    guard scalar != "'", scalar != "\\" else { return false }
    return !scalar.isControlling && scalar.properties.generalCategory != .unassigned
}
