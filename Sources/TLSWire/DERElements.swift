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
