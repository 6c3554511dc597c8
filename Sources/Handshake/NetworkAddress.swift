/// An IPv4 or IPv6 address in binary form, without zone or port. An IPv4-mapped IPv6 address becomes the IPv4 address.
package struct NetworkAddress: Sendable, Hashable {
    /// 4 or 16 bytes, the most significant first.
    package let bytes: [UInt8]

    private init(bytes: [UInt8]) {
        let isMapped = bytes.count == 16 && bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 255 && bytes[11] == 255
        self.bytes = isMapped ? Array(bytes[12...]) : bytes
    }

    package var isIPv4: Bool { bytes.count == 4 }

    /// The address as 16 bytes; IPv4 addresses are mapped into IPv6 (RFC 4291 §2.5.5.2).
    package var mapped: [UInt8] { isIPv4 ? [UInt8](repeating: 0, count: 10) + [255, 255] + bytes : bytes }

    /// Reads the binary form in certificates; `nil` unless the length is 4 or 16.
    package init?(binary bytes: [UInt8]) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        self.init(bytes: bytes)
    }

    /// Parses the usual texts (RFC 4291 §2.2, dotted decimal). A zone after `%` is ignored.
    package init?(_ text: String) {
        let address = text.prefix { $0 != "%" }
        guard let bytes = address.utf8.contains(UInt8(ascii: ":")) ? Self.six(address) : Self.four(address) else {
            return nil
        }
        self.init(bytes: bytes)
    }

    /// Parses a socket address as in the log: `192.0.2.1:2049` or `[2001:db8::1]:4420`.
    package init?(ofSocketAddress text: String) {
        if text.hasPrefix("[") {
            self.init(String(text.dropFirst().prefix { $0 != "]" }))
        } else {
            self.init(String(text.prefix { $0 != ":" }))
        }
    }

    private static func four(_ text: Substring) -> [UInt8]? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        let bytes = parts.compactMap { part -> UInt8? in
            let isNumber = (1...3).contains(part.utf8.count) && part.utf8.allSatisfy { (0x30...0x39).contains($0) }
            // Rejected, because some parsers read a leading zero as octal and others as decimal.
            guard isNumber, part.utf8.count == 1 || part.utf8.first != 0x30 else { return nil }
            return UInt8(part)
        }
        return bytes.count == 4 ? bytes : nil
    }

    private static func six(_ text: Substring) -> [UInt8]? {
        let halves = parts(of: text)
        guard let head = halves.first.flatMap(groups) else { return nil }
        if halves.count == 1 { return head.count == 16 ? head : nil }
        // Dotted decimal is allowed at the end only.
        guard !halves[0].utf8.contains(UInt8(ascii: ".")), let tail = groups(halves[1]), head.count + tail.count <= 14
        else { return nil }
        return head + [UInt8](repeating: 0, count: 16 - head.count - tail.count) + tail
    }

    /// The texts before and after `::`, or the whole text if it has none.
    private static func parts(of text: Substring) -> [Substring] {
        var index = text.startIndex
        while index < text.endIndex {
            let next = text.index(after: index)
            if text[index] == ":", next < text.endIndex, text[next] == ":" {
                return [text[..<index], text[text.index(after: next)...]]
            }
            index = next
        }
        return [text]
    }

    private static func groups(_ text: Substring) -> [UInt8]? {
        guard !text.isEmpty else { return [] }
        var bytes: [UInt8] = []
        let groups = text.split(separator: ":", omittingEmptySubsequences: false)
        for (index, group) in groups.enumerated() {
            if index == groups.count - 1, group.utf8.contains(UInt8(ascii: ".")) {
                guard let last = four(group) else { return nil }
                bytes += last
            } else {
                guard (1...4).contains(group.utf8.count), group.allSatisfy(\.isHexDigit),
                    let value = UInt16(group, radix: 16)
                else { return nil }
                bytes += [UInt8(value >> 8), UInt8(value & 255)]
            }
        }
        return bytes.count <= 16 ? bytes : nil
    }
}

extension NetworkAddress: CustomStringConvertible {
    /// Text in the form of RFC 5952 §4: lower case, the longest run of zero groups omitted.
    package var description: String {
        guard bytes.count == 16 else { return bytes.map { String($0) }.joined(separator: ".") }
        let groups = stride(from: 0, to: 16, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
        var gap = 0..<0
        var start = 0
        while start < groups.count {
            let end: Int = groups[start...].firstIndex { $0 != 0 } ?? groups.count
            if end - start > max(gap.count, 1) { gap = start..<end }
            start = end + 1
        }
        func text(_ part: ArraySlice<UInt16>) -> String { part.map { String($0, radix: 16) }.joined(separator: ":") }
        return gap.isEmpty
            ? text(groups[...]) : "\(text(groups[..<gap.lowerBound]))::\(text(groups[gap.upperBound...]))"
    }
}

/// An address, or a prefix.
package struct NetworkPrefix: Sendable, Hashable, CustomStringConvertible {
    private let text: String
    private let address: NetworkAddress
    /// Length of the prefix, out of 32 or 128.
    private let bits: Int

    /// Parses `ADDRESS` or `ADDRESS/BITS`. `nil` for other texts, and if host bits are set: either part may be the
    /// mistake.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), !text.utf8.contains(UInt8(ascii: "%")),
            let address = NetworkAddress(String(parts[0]))
        else { return nil }
        let whole = address.bytes.count * 8
        var bits = whole
        if parts.count == 2 {
            guard (1...3).contains(parts[1].utf8.count), parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                let number = Int(parts[1])
            else { return nil }
            // The prefix length of a mapped address includes the 96 bits of the mapping.
            bits = parts[0].utf8.contains(UInt8(ascii: ":")) && whole == 32 ? number - 96 : number
        }
        guard (0...whole).contains(bits) else { return nil }
        self.text = text
        self.address = address
        self.bits = bits
        guard (bits..<whole).allSatisfy({ !Self.bit($0, of: address) }) else { return nil }
    }

    package func contains(_ other: NetworkAddress) -> Bool {
        guard other.bytes.count == address.bytes.count else { return false }
        return (0..<bits).allSatisfy { Self.bit($0, of: address) == Self.bit($0, of: other) }
    }

    /// True if every address of `other` is in this network.
    package func contains(_ other: NetworkPrefix) -> Bool { bits <= other.bits && contains(other.address) }

    /// The text that was parsed.
    package var description: String { text }

    private static func bit(_ index: Int, of address: NetworkAddress) -> Bool {
        address.bytes[index / 8] >> UInt8(7 - index % 8) & 1 == 1
    }
}
