internal import Policy
internal import Unconfined

/// The daemon's log: the journal, and which levels reach it. Every line is printable, for much of what it tells others
/// have chosen.
final class DaemonLog {
    var journal: Journal
    /// 0: one line per handshake and what an operator must know; 1 and above: debugging.
    var level: Int

    init(_ journal: Journal, level: Int) {
        self.journal = journal
        self.level = level
    }

    /// Lines that nobody made room for.
    var dropped: Int { Int(clamping: journal.dropped) }

    func error(_ text: String, _ event: LogEvent? = nil) { write(.error, text, event) }
    func warning(_ text: String, _ event: LogEvent? = nil) { write(.warning, text, event) }
    func notice(_ text: String, _ event: LogEvent? = nil) { write(.notice, text, event) }
    func info(_ text: String, _ event: LogEvent? = nil) { write(.info, text, event) }

    /// That a file does not answer, or answers again.
    func tell(_ news: FileNews, _ event: LogEvent? = nil) {
        news.isError ? error(news.text, event) : notice(news.text)
    }

    /// Writes what a request leaves.
    ///
    /// - Parameter historic: the same as ktls-utils would say it, if that is wanted, too.
    func result(_ line: LogLine, historic: String? = nil) {
        let level = line.succeeded ? Journal.Level.info : .error
        journal.log(level, LogLine.printable(line.text), fields: line.fields)
        if let historic { journal.log(level, LogLine.printable(historic)) }
    }

    /// - Parameter threshold: the log level from which on it is shown.
    func debug(_ text: @autoclosure () -> String, from threshold: Int = 1) {
        guard level >= threshold else { return }
        journal.log(.debug, LogLine.printable(text()))
    }

    private func write(_ level: Journal.Level, _ text: String, _ event: LogEvent?) {
        journal.log(level, LogLine.printable(text), fields: event.map { [("MESSAGE_ID", $0.rawValue)] } ?? [])
    }
}
