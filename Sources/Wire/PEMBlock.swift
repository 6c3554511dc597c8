/// A block of a PEM file (RFC 7468), found by its BEGIN and END lines. What stands between them is not decoded.
package struct PEMBlock: Sendable, Equatable {
    /// Labels of the blocks that the TLS library reads from a PEM file and that hold no secret.
    package enum Kind: Sendable, Equatable {
        case certificate
        case revocationList
        /// Private keys, parameters, and whatever else a label says.
        case other

        init(label: [UInt8]) {
            switch String(decoding: label, as: UTF8.self) {
            case "CERTIFICATE", "X509 CERTIFICATE": self = .certificate
            case "X509 CRL": self = .revocationList
            default: self = .other
            }
        }
    }

    /// Begins the line that names the file that follows; no file's own text has one, since text is left out.
    package static let fileMark = Array("tlshd file: ".utf8)

    package let kind: Kind
    /// The file that it was in, where several are one behind the other (`fileMark`).
    package let file: String?
    /// Number of its BEGIN line in the file, from 1 on.
    package let line: Int
    /// Range of its lines, BEGIN and END included.
    package let range: Range<Int>
    /// True if its END line has the same label and comes before the next BEGIN line.
    package let isComplete: Bool

    /// All blocks of a file, in its order.
    package static func all(in bytes: Span<UInt8>) -> [PEMBlock] {
        var reader = PEMBlockReader()
        var blocks: [PEMBlock] = []
        while let block = reader.next(in: bytes) { blocks.append(block) }
        return blocks
    }
}

/// Walks through the lines of a PEM file. Each call is given the same span.
private struct PEMBlockReader {
    private var offset = 0
    private var line = 0
    private var file: String?
    /// The BEGIN line that ended an incomplete block, and is still to be looked at.
    private var pending: (label: [UInt8], line: Int, start: Int)?

    mutating func next(in bytes: Span<UInt8>) -> PEMBlock? {
        guard let begin = pending ?? nextBegin(in: bytes) else { return nil }
        pending = nil
        func block(_ end: Int, _ isComplete: Bool) -> PEMBlock {
            PEMBlock(
                kind: .init(label: begin.label), file: file, line: begin.line, range: begin.start..<end,
                isComplete: isComplete)
        }
        while let range = nextLine(in: bytes) {
            switch PEMLine(range, in: bytes) {
            case .end(let label): return block(offset, label == begin.label)
            case .begin(let label):
                pending = (label, line, range.lowerBound)
                return block(range.lowerBound, false)
            case .file(let name):
                defer { enter(name) }
                return block(range.lowerBound, false)
            case .other: continue
            }
        }
        return block(bytes.count, false)
    }

    private mutating func nextBegin(in bytes: Span<UInt8>) -> (label: [UInt8], line: Int, start: Int)? {
        while let range = nextLine(in: bytes) {
            switch PEMLine(range, in: bytes) {
            case .begin(let label): return (label, line, range.lowerBound)
            case .file(let name): enter(name)
            case .end, .other: continue
            }
        }
        return nil
    }

    private mutating func enter(_ name: String) {
        file = name
        line = 0
    }

    private mutating func nextLine(in bytes: Span<UInt8>) -> Range<Int>? {
        guard offset < bytes.count else { return nil }
        let start = offset
        while offset < bytes.count, bytes[offset] != 0x0A { offset += 1 }
        let end = offset
        if offset < bytes.count { offset += 1 }
        line += 1
        return start..<end
    }
}

/// A line of a PEM file.
private enum PEMLine {
    case begin(label: [UInt8])
    case end(label: [UInt8])
    case file(String)
    case other

    /// - Parameter range: without the line's end.
    init(_ range: Range<Int>, in bytes: Span<UInt8>) {
        var range = range
        // A byte order mark.
        if range.lowerBound == 0, Self.starts([0xEF, 0xBB, 0xBF], range, bytes) { range = 3..<range.upperBound }
        while let first = range.first, Self.isBlank(bytes[first]) { range = (first + 1)..<range.upperBound }
        while let last = range.last, Self.isBlank(bytes[last]) { range = range.lowerBound..<last }
        if Self.starts(PEMBlock.fileMark, range, bytes) {
            let name = range.dropFirst(PEMBlock.fileMark.count)
            self = .file(String(decoding: name.map { bytes[$0] }, as: UTF8.self))
        } else if let label = Self.label(Self.beginMark, range, bytes) {
            self = .begin(label: label)
        } else if let label = Self.label(Self.endMark, range, bytes) {
            self = .end(label: label)
        } else {
            self = .other
        }
    }

    private static let beginMark = Array("-----BEGIN ".utf8)
    private static let endMark = Array("-----END ".utf8)
    private static let dashes = Array("-----".utf8)

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }

    private static func starts(_ mark: [UInt8], _ range: Range<Int>, _ bytes: Span<UInt8>) -> Bool {
        range.count >= mark.count && mark.indices.allSatisfy { bytes[range.lowerBound + $0] == mark[$0] }
    }

    /// The text between a mark and the dashes at the end of the line.
    private static func label(_ mark: [UInt8], _ range: Range<Int>, _ bytes: Span<UInt8>) -> [UInt8]? {
        let rest = range.lowerBound + mark.count
        guard starts(mark, range, bytes), rest + dashes.count < range.upperBound,
            starts(dashes, (range.upperBound - dashes.count)..<range.upperBound, bytes)
        else { return nil }
        return (rest..<(range.upperBound - dashes.count)).map { bytes[$0] }
    }
}
