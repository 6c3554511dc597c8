internal import System

/// Prints on standard error what the command waits for, after 2 seconds; on a terminal with the elapsed time, and
/// removed at the end.
struct Progress: ~Copyable {
    private let text: String
    private let isLive: Bool
    private let start = ContinuousClock.now
    private var shown: Int64?

    /// Delay before anything is printed.
    static let patience = Duration.seconds(2)

    /// - Parameter text: the activity, such as `waiting for 192.0.2.7:2049`.
    init(_ text: String) {
        self.text = Table.printable(text)
        isLive = Terminal.isTerminal(StandardStreams.error)
    }

    /// Updates the display. Call it a few times a second.
    mutating func tick() {
        let elapsed = ContinuousClock.now - start
        guard elapsed >= Self.patience else { return }
        let seconds = elapsed.components.seconds
        if isLive, shown != seconds {
            ThisProcess.printError("\r\u{1B}[K\(text), \(seconds) s")
        } else if shown == nil {
            ThisProcess.printError("\(text)\n")
        }
        shown = seconds
    }

    /// Removes the line.
    deinit {
        if isLive, shown != nil { ThisProcess.printError("\r\u{1B}[K") }
    }
}
