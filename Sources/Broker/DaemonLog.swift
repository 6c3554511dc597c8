internal import System

/// The daemon's log: the journal, and which levels reach it.
final class DaemonLog {
    private let journal: Journal
    /// 0: one line per handshake and what an operator must know; 1 and above: debugging.
    var level: Int

    init(_ journal: Journal, level: Int) {
        self.journal = journal
        self.level = level
    }

    /// Lines that nobody made room for.
    var dropped: Int { Int(clamping: journal.dropped) }

    func error(_ text: String, fields: [(name: String, value: String)] = []) {
        journal.log(.error, text, fields: fields)
    }
    func warning(_ text: String) { journal.log(.warning, text) }
    func notice(_ text: String) { journal.log(.notice, text) }
    func info(_ text: String, fields: [(name: String, value: String)] = []) { journal.log(.info, text, fields: fields) }

    /// - Parameter threshold: the log level from which on it is shown.
    func debug(_ text: @autoclosure () -> String, from threshold: Int = 1) {
        guard level >= threshold else { return }
        journal.log(.debug, text())
    }
}
