/// Text for messages.
package enum MessageText {
    /// At most as long as a message allows, and without control characters, which strangers' names may hold.
    package static func fit(_ text: String) -> String {
        var result = ""
        var count = 0
        for scalar in text.unicodeScalars {
            let shown = scalar.properties.generalCategory == .control ? "?" : scalar
            count += UTF8.width(shown)
            if count > MessageLimit.text { break }
            result.unicodeScalars.append(shown)
        }
        return result
    }
}
