/// Where a handshake tells its steps: level 1 each message and decision, 3 each record's type and size; never a key.
package struct SessionLog {
    private let level: UInt8
    private let write: (UInt8, String) -> Void

    /// - Parameters:
    ///   - level: lines above it are not even made.
    ///   - write: called with a line's level and text.
    package init(upTo level: UInt8, write: @escaping (UInt8, String) -> Void) {
        self.level = level
        self.write = write
    }

    func callAsFunction(_ level: UInt8, _ text: @autoclosure () -> String) {
        if level <= self.level { write(level, text()) }
    }
}
