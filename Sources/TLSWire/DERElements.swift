/// How many ASN.1 elements DER holds. What a library takes to read a certificate grows with them, not with the bytes.
package enum DERElements {
    /// Bytes of the shortest element.
    private static let shortest = 2
    /// Elements within elements that are followed.
    private static let deepest = 32

    /// Counts the elements, and those inside OCTET STRINGs that hold DER, as extensions do. Never less than a parser
    /// finds: bytes that are no element count as the shortest that they could be.
    package static func count(in bytes: Span<UInt8>) -> Int {
        var count = 0
        var position = 0
        // Where the elements end that enclose the position, the innermost last.
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

    /// The content of the element at a position (X.690 §8.1); `nil` where there is none that ends in time.
    private static func content(at start: Int, end: Int, in bytes: Span<UInt8>) -> Range<Int>? {
        var position = start + 1
        // A tag of several bytes, each but the last with its highest bit set.
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
