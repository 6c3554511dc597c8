/// A text with wildcards that another must match whole, case and all: `*` stands for any number of characters, `?` for
/// one.
package struct TextPattern: Sendable, Hashable {
    package let text: String

    package init(_ text: String) {
        self.text = text
    }

    package static func isWildcard(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "*") || byte == UInt8(ascii: "?") }

    /// How many wildcards it has.
    package var wildcards: Int { text.utf8.count(where: Self.isWildcard) }

    package func matches(_ candidate: String) -> Bool {
        PatternElement.match(
            text.unicodeScalars.map(PatternElement.init(pattern:)), candidate.unicodeScalars.map { .character($0) })
    }

    /// Matches the RFC 4514 text of a name. A backslash and the character behind it are one character there, so that a
    /// comma of the pattern, which stands between two parts, never matches an escaped comma of a value.
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

/// One element of a pattern, or of the text that it is compared with, which has no wildcards.
enum PatternElement: Sendable, Hashable {
    /// `*`.
    case any
    /// `?`.
    case one
    case character(Unicode.Scalar)
    /// A backslash and the character behind it.
    case escaped(Unicode.Scalar)

    init(pattern scalar: Unicode.Scalar) {
        self = scalar == "*" ? .any : scalar == "?" ? .one : .character(scalar)
    }

    /// Whether a pattern matches the whole subject.
    static func match(_ pattern: [PatternElement], _ subject: [PatternElement]) -> Bool {
        var place = 0
        var index = 0
        // Where to go on when what follows the last `*` does not fit: only the last one ever needs another try.
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
