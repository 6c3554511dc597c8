/// What a network namespace other than the one that tlshd was started in is called. The latter has no name: where one
/// may stand, it is `nil`.
package enum NamespaceName: Sendable, Hashable, CustomStringConvertible {
    /// A file in /run/netns, as `ip netns add` makes it.
    case named(String)
    /// Another file that a namespace is mounted on; an absolute path.
    case path(String)
    /// None of its own: the inode of its /proc/PID/ns/net, as the link shows it.
    case unnamed(inode: UInt64)

    package static let folder = "/run/netns"

    /// Reads a name as settings give it: a name in /run/netns, an absolute path, or `net:[INODE]`.
    ///
    /// - Returns: `nil` for what can be none of these.
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

    /// The file that stands for it; `nil` for one without a name.
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

    /// The inode in the text of a link such as `net:[4026531840]` (fs/nsfs.c); `nil` for other texts.
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
