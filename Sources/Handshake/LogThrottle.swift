/// Lets the first lines of each sender into the log and counts the rest, so that none crowds out the lines of others. A
/// value; it reads no clock and writes nothing.
///
/// It counts in windows of a minute, which begin with the first line after the last window. Its size is bounded.
package struct LogThrottle<Sender: Hashable & Sendable>: Sendable {
    /// What a sender had to say in a window beyond the lines that were let in.
    package struct Summary: Sendable, Equatable {
        /// `nil` for those that there was no room to tell apart.
        package var sender: Sender?
        package var count: Int
        /// What the last of these lines was about.
        package var last: String
    }

    private struct Record: Sendable {
        var admitted = 0
        var withheld = 0
        var last = ""
    }

    /// Lines of one sender in a window, and of all together.
    private let most: Int
    private let mostInAll: Int
    private var records: [Sender?: Record] = [:]
    private var admitted = 0
    private var windowEnd: UInt64?

    /// Nanoseconds.
    package static var window: UInt64 { 60_000_000_000 }
    /// Senders that are told apart.
    static var mostSenders: Int { 256 }

    package init(most: Int, mostInAll: Int) {
        self.most = most
        self.mostInAll = mostInAll
    }

    /// A sender has a line to write.
    ///
    /// - Parameters:
    ///   - about: what it is about, a few words.
    ///   - now: CLOCK_MONOTONIC nanoseconds. Summaries that are due must have been taken.
    /// - Returns: whether it is to be written.
    package mutating func admits(_ sender: Sender, about: @autoclosure () -> String, now: UInt64) -> Bool {
        if windowEnd == nil { windowEnd = now + Self.window }
        let isKnown = records[sender] != nil || records.count < Self.mostSenders
        let key = isKnown ? sender : nil
        var record = records[key] ?? Record()
        defer { records[key] = record }
        guard isKnown, record.admitted < most, admitted < mostInAll else {
            record.withheld += 1
            record.last = about()
            return false
        }
        record.admitted += 1
        admitted += 1
        return true
    }

    /// When summaries are due; `nil` while there are none to come.
    package var nextDue: UInt64? { windowEnd }

    /// What was withheld in a window that is over, most first; the next line begins another.
    package mutating func summaries(at now: UInt64) -> [Summary] {
        guard let windowEnd, windowEnd <= now else { return [] }
        defer {
            records = [:]
            admitted = 0
            self.windowEnd = nil
        }
        return records.filter { $0.value.withheld > 0 }
            .map { Summary(sender: $0.key, count: $0.value.withheld, last: $0.value.last) }
            .sorted { $0.count > $1.count }
    }
}
