internal import Policy
internal import System
internal import Unconfined

/// Contents of /proc/keys: the keys and keyrings that this process may view (proc_keys(5)).
struct KeyringDirectory: Sendable {
    /// Live keyrings of root or of our own user, by name. Names without a leading dot can be used by anyone, so other
    /// users' keyrings are ignored. Names with a leading dot are reserved for the kernel.
    let keyrings: [String: KeySerial]

    /// Reads the current list.
    init() throws(SystemError) {
        let listing = try ProcessTable.contents(of: "/proc/keys")
        self.init(listing: listing.span, owners: [0, ThisProcess.user])
    }

    /// Parses a listing and keeps the keyrings of `owners`. Line format:
    /// `serial flags usage timeout permissions uid gid type description`.
    ///
    /// It works on bytes for speed, because it runs before requests, and other programs can fill the listing with keys.
    init(listing: Span<UInt8>, owners: [UInt32]) {
        var found: [String: KeySerial] = [:]
        var start = 0
        while start < listing.count {
            let end = Self.index(of: UInt8(ascii: "\n"), from: start, in: listing)
            if let (name, serial) = Self.keyring(start..<end, of: listing, owners), found[name] == nil {
                found[name] = serial
            }
            start = end + 1
        }
        keyrings = found
    }

    /// The live keyring of one of `owners` in the line, if there is one.
    private static func keyring(
        _ line: Range<Int>, of bytes: Span<UInt8>, _ owners: [UInt32]
    ) -> (name: String, serial: KeySerial)? {
        var start = line.lowerBound
        var fields: [Range<Int>] = []
        while fields.count < 8 {
            while start < line.upperBound, bytes[start] == blank { start += 1 }
            let end = min(index(of: blank, from: start, in: bytes), line.upperBound)
            guard start < end else { return nil }
            fields.append(start..<end)
            start = end
        }
        // The type column is nine characters wide, followed by a blank.
        let name = min(fields[7].lowerBound + 10, line.upperBound)..<line.upperBound
        guard text(fields[7], of: bytes) == "keyring", isUsable(flags: fields[1], timeout: fields[3], of: bytes),
            let owner = UInt32(text(fields[5], of: bytes)), owners.contains(owner),
            let number = UInt32(text(fields[0], of: bytes), radix: 16),
            let serial = KeySerial(Int32(bitPattern: number)),
            let end = endOfName(in: name, of: bytes)
        else { return nil }
        return (text(name.lowerBound..<end, of: bytes), serial)
    }

    /// End of a keyring's name, which is followed by `: ` and the number of its members.
    private static func endOfName(in range: Range<Int>, of bytes: Span<UInt8>) -> Int? {
        guard range.count > 2 else { return nil }
        return range.dropLast().last { bytes[$0] == UInt8(ascii: ":") && bytes[$0 + 1] == blank }
    }

    /// Returns `true` if a key is instantiated, not expired, and not revoked, dead, negative or invalidated.
    private static func isUsable(flags: Range<Int>, timeout: Range<Int>, of bytes: Span<UInt8>) -> Bool {
        guard bytes[flags.lowerBound] == UInt8(ascii: "I"), text(timeout, of: bytes) != "expd" else { return false }
        return !flags.contains { index in "RDNi".utf8.contains(bytes[index]) }
    }

    private static let blank = UInt8(ascii: " ")

    private static func index(of byte: UInt8, from start: Int, in bytes: Span<UInt8>) -> Int {
        var index = start
        while index < bytes.count, bytes[index] != byte { index += 1 }
        return index
    }

    private static func text(_ range: Range<Int>, of bytes: Span<UInt8>) -> String {
        String(decoding: range.map { bytes[$0] }, as: UTF8.self)
    }
}
