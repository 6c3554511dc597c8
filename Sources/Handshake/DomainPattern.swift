/// DNS names in rules.
package enum DomainPattern {
    /// Compares names case-insensitively (RFC 4343). A leading `*.` stands for one label (RFC 6125 §6.4.3).
    package static func matches(_ pattern: String, _ name: String) -> Bool {
        let wanted = folded(pattern)
        let given = folded(name)
        guard wanted.starts(with: "*.".utf8) else { return given == wanted }
        guard let dot = given.firstIndex(of: UInt8(ascii: ".")), dot > given.startIndex else { return false }
        return given[dot...] == wanted.dropFirst()
    }

    /// Folds ASCII letters only: DNS has no case for other letters, and Unicode folding would map some of them to
    /// ASCII.
    private static func folded(_ text: String) -> [UInt8] {
        text.utf8.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
    }
}
