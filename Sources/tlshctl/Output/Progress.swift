internal import Glibc

/// Says on standard error what is waited for, once that has taken 2 seconds; on a terminal with the time, and gone when
/// it is over.
struct Progress: ~Copyable {
    private let text: String
    private let isLive: Bool
    private let start = ContinuousClock.now
    private var shown: Int64?

    /// How long nobody needs to be told.
    static let patience = Duration.seconds(2)

    /// - Parameter text: what is waited for, such as `waiting for 192.0.2.7:2049`.
    init(_ text: String) {
        self.text = Table.printable(text)
        isLive = isatty(STDERR_FILENO) == 1
    }

    /// Call it a few times a second.
    mutating func tick() {
        let elapsed = ContinuousClock.now - start
        guard elapsed >= Self.patience else { return }
        let seconds = elapsed.components.seconds
        if isLive, shown != seconds {
            Self.write("\r\u{1B}[K\(text), \(seconds) s")
        } else if shown == nil {
            Self.write("\(text)\n")
        }
        shown = seconds
    }

    /// Takes the line away.
    deinit {
        if isLive, shown != nil { Self.write("\r\u{1B}[K") }
    }

    private static func write(_ text: String) { Output.write(text, to: STDERR_FILENO) }
}
