internal import Wire

/// The part of files with certificates and revocation lists that a worker gets: their blocks, at their lines, and of
/// everything else only the ends of lines. A private key that is in the same file stays in the broker.
package struct PublicPEM: Sendable {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// Adds the blocks of a file. A revocation list in DER is given its BEGIN and END lines.
    ///
    /// - Parameter name: stands before them, where several files are put one behind the other; on one line.
    package mutating func add(_ file: Span<UInt8>, named name: String? = nil, mayBeDER: Bool = false) {
        if let name {
            bytes += PEMBlock.fileMark
            bytes += name.utf8.map { $0 < 0x20 ? 0x3F : $0 }
            bytes.append(0x0A)
        }
        if mayBeDER, Self.isSequenceOfSequence(file) {
            addEncoded(file)
        } else {
            addBlocks(of: file)
        }
    }

    private mutating func addBlocks(of file: Span<UInt8>) {
        var offset = 0
        for block in PEMBlock.all(in: file) where block.kind != .other {
            addLineEnds(of: file, in: offset..<block.range.lowerBound)
            // What follows an END line that is missing may be anything.
            offset = block.isComplete ? block.range.upperBound : Self.endOfLine(file, from: block.range.lowerBound)
            for index in block.range.lowerBound..<offset { bytes.append(file[index]) }
        }
        addLineEnds(of: file, in: offset..<file.count)
        if let last = bytes.last, last != 0x0A { bytes.append(0x0A) }
    }

    private mutating func addLineEnds(of file: Span<UInt8>, in range: Range<Int>) {
        for index in range where file[index] == 0x0A { bytes.append(0x0A) }
    }

    private static func endOfLine(_ file: Span<UInt8>, from start: Int) -> Int {
        var end = start
        while end < file.count, file[end] != 0x0A { end += 1 }
        return end
    }

    /// Returns `true` if it begins as a signed object in DER does: a SEQUENCE whose first part is one. The first part
    /// of a private key is a number.
    private static func isSequenceOfSequence(_ file: Span<UInt8>) -> Bool {
        guard file.count >= 2, file[0] == 0x30, file[1] & 0x80 != 0 else { return false }
        let first = 2 + Int(file[1] & 0x7F)
        return first < file.count && file[first] == 0x30
    }

    private mutating func addEncoded(_ file: Span<UInt8>) {
        bytes += Array("-----BEGIN X509 CRL-----\n".utf8)
        // 48 bytes make a line of 64 characters.
        for start in stride(from: 0, to: file.count, by: 48) {
            addBase64(file.extracting(start..<min(start + 48, file.count)))
            bytes.append(0x0A)
        }
        bytes += Array("-----END X509 CRL-----\n".utf8)
    }

    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// RFC 4648 §4.
    private mutating func addBase64(_ part: Span<UInt8>) {
        for start in stride(from: 0, to: part.count, by: 3) {
            let count = min(3, part.count - start)
            let word = (0..<3).reduce(UInt32(0)) { $0 << 8 | ($1 < count ? UInt32(part[start + $1]) : 0) }
            for place in 0..<4 {
                bytes.append(place > count ? 0x3D : Self.alphabet[Int(word >> UInt32(18 - 6 * place) & 63)])
            }
        }
    }
}
