internal import Policy
internal import Unconfined

/// The daemon's log: the journal, and the levels that are written to it. Lines are made printable, because peers choose
/// much of their text.
final class DaemonLog {
    var journal: Journal
    /// 0 for one line per handshake and important events, 1 and above for debugging.
    var level: Int

    init(_ journal: Journal, level: Int) {
        self.journal = journal
        self.level = level
    }

    /// Number of lines that were dropped because the output was full.
    var dropped: Int { Int(clamping: journal.dropped) }

    func error(_ text: String, _ event: LogEvent? = nil) { write(.error, text, event) }
    func warning(_ text: String, _ event: LogEvent? = nil) { write(.warning, text, event) }
    func notice(_ text: String, _ event: LogEvent? = nil) { write(.notice, text, event) }
    func info(_ text: String, _ event: LogEvent? = nil) { write(.info, text, event) }

    /// Logs that a file does not answer, or answers again.
    func report(_ news: FileNews, _ event: LogEvent? = nil) {
        news.isError ? error(news.text, event) : notice(news.text)
    }

    /// Writes the line of a request.
    ///
    /// - Parameter historic: the line in ktls-utils' format, if it is enabled.
    func result(_ line: LogLine, historic: String? = nil) {
        let level = line.succeeded ? Journal.Level.info : .error
        journal.log(level, LogLine.printable(line.text), fields: line.fields)
        if let historic { journal.log(level, LogLine.printable(historic)) }
    }

    /// - Parameter threshold: the minimum log level for this line.
    func debug(_ text: @autoclosure () -> String, from threshold: Int = 1) {
        guard level >= threshold else { return }
        journal.log(.debug, LogLine.printable(text()))
    }

    private func write(_ level: Journal.Level, _ text: String, _ event: LogEvent?) {
        journal.log(level, LogLine.printable(text), fields: event.map { [("MESSAGE_ID", $0.rawValue)] } ?? [])
    }
}
