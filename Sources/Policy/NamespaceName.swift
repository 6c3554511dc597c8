/// Name of a network namespace other than the one that tlshd was started in. The latter has no name and is represented
/// by `nil`.
package enum NamespaceName: Sendable, Hashable, CustomStringConvertible {
    /// A file in /run/netns, as created by `ip netns add`.
    case named(String)
    /// Another file that the namespace is mounted on; an absolute path.
    case path(String)
    /// No file: the inode number in the link /proc/PID/ns/net.
    case unnamed(inode: UInt64)

    package static let folder = "/run/netns"

    /// Parses a name in the settings: a name in /run/netns, an absolute path, or `net:[INODE]`.
    ///
    /// - Returns: `nil` for any other text.
    package init?(_ text: String) {
        guard !text.isEmpty, !text.utf8.contains(0) else { return nil }
        if let inode = Self.inode(ofLink: text) {
            self = .unnamed(inode: inode)
            return
        }
        if text.utf8.first == UInt8(ascii: "/") {
            let prefix = Self.folder + "/"
            let rest = text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : ""
            self = Self.isFileName(rest) ? .named(rest) : .path(text)
            return
        }
        guard Self.isFileName(text) else { return nil }
        self = .named(text)
    }

    /// File that the namespace is mounted on; `nil` if it has none.
    package var path: String? {
        switch self {
        case .named(let name): "\(Self.folder)/\(name)"
        case .path(let path): path
        case .unnamed: nil
        }
    }

    package var description: String {
        switch self {
        case .named(let name): name
        case .path(let path): path
        case .unnamed(let inode): "net:[\(inode)]"
        }
    }

    /// Inode number in the text of a link such as `net:[4026531840]` (fs/nsfs.c); `nil` for other texts.
    package static func inode(ofLink text: String) -> UInt64? {
        guard text.hasPrefix("net:["), text.hasSuffix("]") else { return nil }
        let digits = text.dropFirst(5).dropLast()
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return UInt64(digits)
    }

    private static func isFileName(_ text: String) -> Bool {
        !text.isEmpty && text != "." && text != ".." && !text.utf8.contains(UInt8(ascii: "/"))
    }
}
