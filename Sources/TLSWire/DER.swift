/// The scope of a revocation list (RFC 5280 §5.2.5), if it is less than all certificates of its issuer.
package struct IssuingDistributionPoint: Sendable, Equatable {
    /// Reason why the list cannot show that a certificate is not revoked; `nil` if only the distribution point limits
    /// its scope.
    package let problem: String?
    /// URIs of the distribution point. If there are any, the list covers certificates that name one of them in
    /// cRLDistributionPoints.
    package let locations: [[UInt8]]

    /// Parses the value of the extension.
    ///
    /// - Returns: `nil` if it is malformed.
    package init?(der bytes: Span<UInt8>) {
        guard let whole = DERElement(in: bytes, at: 0, to: bytes.count), whole.tag == 0x30, whole.end == bytes.count,
            let parts = DERElement.all(in: bytes, whole.contents)
        else { return nil }
        var problems: [String] = []
        var locations: [[UInt8]] = []
        for part in parts {
            switch part.tag {
            case 0xA0:
                guard let names = Self.locations(in: bytes, part.contents) else { return nil }
                locations = names
                if names.isEmpty { problems.append("it is for a distribution point without a URI") }
            case 0x83: problems.append("it covers only some reasons")
            case 0x81, 0x82, 0x84, 0x85:
                guard part.contents.count == 1 else { return nil }
                let isSet = bytes[part.contents.lowerBound] != 0
                if isSet, let text = Self.texts[part.tag] { problems.append(text) }
            default: return nil
            }
        }
        problem = problems.first
        self.locations = locations
    }

    private static let texts: [UInt8: String] = [
        0x81: "it covers only certificates of users", 0x82: "it covers only certificates of authorities",
        0x84: "it is an indirect list", 0x85: "it covers only attribute certificates",
    ]

    /// URIs of a DistributionPointName; empty for a name relative to the issuer's.
    private static func locations(in bytes: Span<UInt8>, _ range: Range<Int>) -> [[UInt8]]? {
        guard let name = DERElement(in: bytes, at: range.lowerBound, to: range.upperBound),
            name.end == range.upperBound, let names = DERElement.all(in: bytes, name.contents)
        else { return nil }
        guard name.tag == 0xA0 else { return [] }
        return names.filter { $0.tag == 0x86 }.map { name in name.contents.map { bytes[$0] } }
    }
}

/// An element with a one-byte tag, its length and its content (X.690 §8.1).
private struct DERElement {
    let tag: UInt8
    let contents: Range<Int>

    var end: Int { contents.upperBound }

    init?(in bytes: Span<UInt8>, at start: Int, to end: Int) {
        guard end - start >= 2 else { return nil }
        tag = bytes[start]
        var length = Int(bytes[start + 1])
        var first = start + 2
        if length & 0x80 != 0 {
            let octets = length & 0x7F
            guard (1...3).contains(octets), end - first >= octets else { return nil }
            length = (first..<(first + octets)).reduce(0) { $0 << 8 | Int(bytes[$1]) }
            first += octets
        }
        guard length <= end - first else { return nil }
        contents = first..<(first + length)
    }

    /// All elements of a range; `nil` if they do not fill it.
    static func all(in bytes: Span<UInt8>, _ range: Range<Int>) -> [DERElement]? {
        var found: [DERElement] = []
        var offset = range.lowerBound
        while offset < range.upperBound {
            guard let element = DERElement(in: bytes, at: offset, to: range.upperBound) else { return nil }
            found.append(element)
            offset = element.end
        }
        return found
    }
}

/// Number of ASN.1 elements in DER. The memory that a library needs to parse a certificate grows with this number, not
/// with the number of bytes.
package enum DERElements {
    /// Length of the shortest element in bytes.
    private static let shortest = 2
    /// Maximum depth of nested elements.
    private static let deepest = 32

    /// Counts the elements, including those inside OCTET STRINGs that contain DER, as in extensions. Never less than a
    /// parser finds: bytes that are no element are counted as elements of minimum length.
    package static func count(in bytes: Span<UInt8>) -> Int {
        var count = 0
        var position = 0
        // Ends of the elements that enclose the position, innermost last.
        var ends = [bytes.count]
        while let end = ends.last {
            guard position < end else {
                ends.removeLast()
                continue
            }
            guard let content = content(at: position, end: end, in: bytes), ends.count < deepest else {
                count += (end - position + shortest - 1) / shortest
                position = end
                continue
            }
            count += 1
            let isConstructed = bytes[position] & 0x20 != 0
            if isConstructed || bytes[position] == 0x04 && content.first.map({ bytes[$0] & 0x20 != 0 }) == true {
                position = content.lowerBound
                ends.append(content.upperBound)
            } else {
                position = content.upperBound
            }
        }
        return count
    }

    /// The content of the element at a position (X.690 §8.1); `nil` if no element there ends before the end of the
    /// data.
    private static func content(at start: Int, end: Int, in bytes: Span<UInt8>) -> Range<Int>? {
        var position = start + 1
        // A tag of several bytes: all but the last have the highest bit set.
        if bytes[start] & 0x1F == 0x1F {
            while position < end, bytes[position] & 0x80 != 0 { position += 1 }
            position += 1
        }
        guard position < end else { return nil }
        var length = Int(bytes[position])
        position += 1
        if length & 0x80 != 0 {
            let octets = length & 0x7F
            guard (1...4).contains(octets), octets <= end - position else { return nil }
            length = 0
            for index in position..<(position + octets) { length = length << 8 | Int(bytes[index]) }
            position += octets
        }
        return length <= end - position ? position..<(position + length) : nil
    }
}
