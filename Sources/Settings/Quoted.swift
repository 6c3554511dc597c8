internal import Handshake

/// Text from a file or a command line as it may stand in a log line: in single quotes, control characters and
/// quotes written as `\u{…}`, and cut after 64 characters, so that no input can forge a second line or flood one.
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
