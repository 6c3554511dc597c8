/// Log of a handshake. Level 1 has each message and decision, level 3 the type and size of each record. Keys are never
/// logged.
package struct SessionLog {
    private let level: UInt8
    private let write: (UInt8, String) -> Void

    /// - Parameters:
    ///   - level: lines above this level are not formatted.
    ///   - write: called with a line's level and text.
    package init(upTo level: UInt8, write: @escaping (UInt8, String) -> Void) {
        self.level = level
        self.write = write
    }

    func callAsFunction(_ level: UInt8, _ text: @autoclosure () -> String) {
        if level <= self.level { write(level, text()) }
    }
}
