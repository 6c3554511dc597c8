internal import Glibc
internal import Handshake

/// What /proc/keys lists: the keys and keyrings that this process may view (proc_keys(5)).
struct KeyringDirectory: Sendable {
    /// Live keyrings of root or of ourselves, by name. A name that does not begin with a dot is anybody's to take, so
    /// other users' keyrings do not count; names with a dot are the kernel's.
    let keyrings: [String: KeySerial]

    /// Reads the list as it is now.
    init() throws(SystemError) {
        self.init(listing: try Self.contents(of: "/proc/keys"), owners: [0, geteuid()])
    }

    /// Takes the keyrings of `owners` from a listing: `serial flags usage timeout permissions uid gid type
    /// description`.
    init(listing: String, owners: Set<UInt32>) {
        var found: [String: KeySerial] = [:]
        for line in listing.split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 8, omittingEmptySubsequences: true)
            guard words.count == 9, words[7] == "keyring", Self.isUsable(flags: words[1], timeout: words[3]),
                let number = UInt32(words[0], radix: 16), let serial = KeySerial(Int32(bitPattern: number)),
                let owner = UInt32(words[5]), owners.contains(owner),
                let description = words[8].afterPadding, let end = description.range(ofLast: ": ")
            else { continue }
            let name = String(description[..<end])
            if found[name] == nil { found[name] = serial }
        }
        keyrings = found
    }

    /// Instantiated, and not revoked, dead, negative or invalidated; not expired.
    private static func isUsable(flags: Substring, timeout: Substring) -> Bool {
        flags.hasPrefix("I") && !flags.contains { "RDNi".contains($0) } && timeout != "expd"
    }

    private static func contents(of path: String) throws(SystemError) -> String {
        let number = retrying { unsafe open(path, O_RDONLY | O_CLOEXEC) }
        guard number >= 0 else { throw .last("open", path) }
        let file = OwnedDescriptor(adopting: number)
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = retrying { unsafe read(file.number, &block, block.count) }
            guard count >= 0 else { throw .last("read", path) }
            guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
            bytes += block.prefix(count)
        }
    }
}

extension Substring {
    /// What follows the type `keyring`, which is padded to nine columns.
    fileprivate var afterPadding: Substring? {
        hasPrefix("  ") ? dropFirst(2) : nil
    }

    /// Where the last occurrence of two characters begins.
    fileprivate func range(ofLast pair: String) -> Index? {
        var place: Index?
        var index = startIndex
        while index < endIndex {
            if self[index...].hasPrefix(pair) { place = index }
            index = self.index(after: index)
        }
        return place
    }
}
