/// Splits the standard error of a process into lines. Lines are bounded and printable, whatever the process writes.
package struct OutputLines: Sendable {
    /// Limit of a line in bytes. The rest of a longer line is dropped.
    package static let longest = 512

    private var begun: [UInt8] = []
    private var isCut = false

    package init() {}

    /// - Parameter isLast: true at the end of the output; an incomplete line is then complete.
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
