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
