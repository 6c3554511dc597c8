/// Takes the lines out of what a process writes to its standard error. They are short and printable, whatever it
/// writes.
package struct OutputLines: Sendable {
    /// Bytes of one line; the rest of a longer one is left out.
    package static let longest = 512

    private var begun: [UInt8] = []
    private var isCut = false

    package init() {}

    /// - Parameter isLast: nothing follows, so that what was begun is a line.
    package mutating func take(_ bytes: [UInt8], isLast: Bool = false) -> [String] {
        var lines: [String] = []
        for byte in bytes {
            if byte == UInt8(ascii: "\n") {
                end(&lines)
            } else if begun.count < Self.longest {
                begun.append(byte)
            } else {
                isCut = true
            }
        }
        if isLast { end(&lines) }
        return lines
    }

    private mutating func end(_ lines: inout [String]) {
        if !begun.isEmpty {
            lines.append(LogLine.printable(String(decoding: begun, as: UTF8.self)) + (isCut ? " [...]" : ""))
        }
        begun = []
        isCut = false
    }
}
