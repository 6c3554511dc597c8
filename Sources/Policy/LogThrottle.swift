/// Admits the first log lines of each sender and counts the rest, so that no sender can crowd out the lines of others.
/// A pure value with bounded size.
///
/// It counts in windows of one minute. A window begins with the first line after the end of the last window.
package struct LogThrottle<Sender: Hashable & Sendable>: Sendable {
    /// Lines of a sender that were withheld in a window.
    package struct Summary: Sendable, Equatable {
        /// `nil` for senders that exceeded the number that is told apart.
        package var sender: Sender?
        package var count: Int
        /// Subject of the last withheld line.
        package var last: String
    }

    private struct Record: Sendable {
        var admitted = 0
        var withheld = 0
        var last = ""
    }

    /// Limits per window: lines of one sender, and of all senders together.
    private let most: Int
    private let mostInAll: Int
    private var records: [Sender?: Record] = [:]
    private var admitted = 0
    private var windowEnd: UInt64?

    /// Length of a window in nanoseconds.
    package static var window: UInt64 { 60_000_000_000 }
    /// Number of senders that are told apart.
    static var mostSenders: Int { 256 }

    package init(most: Int, mostInAll: Int) {
        self.most = most
        self.mostInAll = mostInAll
    }

    /// Decides about a line.
    ///
    /// - Parameters:
    ///   - about: subject of the line in a few words.
    ///   - now: CLOCK_MONOTONIC nanoseconds. Due summaries must have been taken.
    /// - Returns: `true` if the line is to be written.
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

    /// Time at which summaries are due; `nil` if no window is open.
    package var nextDue: UInt64? { windowEnd }

    /// Withheld lines of a window that has ended, largest count first. Closes the window.
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
