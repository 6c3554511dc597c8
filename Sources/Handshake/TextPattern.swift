/// A case-sensitive pattern that must match a whole text: `*` matches any number of characters, `?` matches one.
package struct TextPattern: Sendable, Hashable {
    package let text: String

    package init(_ text: String) {
        self.text = text
    }

    package static func isWildcard(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "*") || byte == UInt8(ascii: "?") }

    /// Number of wildcards.
    package var wildcards: Int { text.utf8.count(where: Self.isWildcard) }

    package func matches(_ candidate: String) -> Bool {
        PatternElement.match(
            text.unicodeScalars.map(PatternElement.init(pattern:)), candidate.unicodeScalars.map { .character($0) })
    }

    /// Matches the RFC 4514 text of a name. There a backslash and the following character count as one character, so
    /// that a comma in the pattern, which separates RDNs, never matches an escaped comma in a value.
    package func matches(name: String) -> Bool {
        PatternElement.match(
            Self.elements(of: text, PatternElement.init(pattern:)), Self.elements(of: name) { .character($0) })
    }

    private static func elements(
        of text: String, _ plain: (Unicode.Scalar) -> PatternElement
    ) -> [PatternElement] {
        var elements: [PatternElement] = []
        var isEscaped = false
        for scalar in text.unicodeScalars {
            if isEscaped {
                elements.append(.escaped(scalar))
                isEscaped = false
            } else if scalar == "\\" {
                isEscaped = true
            } else {
                elements.append(plain(scalar))
            }
        }
        return isEscaped ? elements + [.character("\\")] : elements
    }
}

/// An element of a pattern, or of the text to match, which has no wildcards.
enum PatternElement: Sendable, Hashable {
    /// `*`.
    case any
    /// `?`.
    case one
    case character(Unicode.Scalar)
    /// A backslash and the following character.
    case escaped(Unicode.Scalar)

    init(pattern scalar: Unicode.Scalar) {
        self = scalar == "*" ? .any : scalar == "?" ? .one : .character(scalar)
    }

    /// Returns `true` if the pattern matches the whole subject.
    static func match(_ pattern: [PatternElement], _ subject: [PatternElement]) -> Bool {
        var place = 0
        var index = 0
        // Position to resume from if the text after the last `*` does not match. Only the last `*` ever needs another
        // try.
        var retry: (place: Int, index: Int)?
        while index < subject.count {
            if place < pattern.count, pattern[place] == .any {
                retry = (place, index)
                place += 1
            } else if place < pattern.count, pattern[place] == .one || pattern[place] == subject[index] {
                place += 1
                index += 1
            } else if let last = retry {
                retry = (last.place, last.index + 1)
                place = last.place + 1
                index = last.index + 1
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == .any }
    }
}
