/// A text with wildcards that another must match whole, case and all: `*` stands for any number of characters, `?` for
/// one.
package struct TextPattern: Sendable, Hashable {
    package let text: String
    /// In names like `CN=a,O=b` a wildcard keeps within one part: no certificate's common name can pretend to be an
    /// organisation.
    package let keepsToParts: Bool

    package init(_ text: String, keepsToParts: Bool = false) {
        self.text = text
        self.keepsToParts = keepsToParts
    }

    package static func isWildcard(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "*") || byte == UInt8(ascii: "?") }

    /// How many wildcards it has.
    package var wildcards: Int { text.utf8.count(where: Self.isWildcard) }

    package func matches(_ candidate: String) -> Bool {
        let pattern = Array(text.unicodeScalars)
        let subject = Array(candidate.unicodeScalars)
        let ends = keepsToParts ? Self.separators(in: subject) : []
        var place = 0
        var index = 0
        // Where to go on when what follows the last `*` does not fit: only the last one ever needs another try.
        var retry: (place: Int, index: Int)?
        while index < subject.count {
            if place < pattern.count, pattern[place] == "*" {
                retry = (place, index)
                place += 1
            } else if place < pattern.count, fits(pattern[place], subject[index], isEnd: ends.contains(index)) {
                place += 1
                index += 1
            } else if let last = retry, !ends.contains(last.index) {
                retry = (last.place, last.index + 1)
                place = last.place + 1
                index = last.index + 1
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == "*" }
    }

    private func fits(_ wanted: Unicode.Scalar, _ given: Unicode.Scalar, isEnd: Bool) -> Bool {
        wanted == "?" ? !isEnd : wanted == given
    }

    /// The commas and plus signs of an RFC 4514 text that end a part, being not escaped.
    private static func separators(in text: [Unicode.Scalar]) -> Set<Int> {
        var found: Set<Int> = []
        var index = 0
        while index < text.count {
            if text[index] == "\\" {
                index += 2
                continue
            }
            if text[index] == "," || text[index] == "+" { found.insert(index) }
            index += 1
        }
        return found
    }
}
