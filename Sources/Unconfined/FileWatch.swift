internal import System

/// Queries files in a thread of its own and waits only briefly for the answer. At most one query runs; while it is
/// blocked by a file system, no other is started.
package struct FileWatch<Subject: Equatable, Answer: Sendable> {
    private var work: FileWork<Answer>?
    private var subject: Subject?
    /// True if the running query reads everything, and if the next one must.
    private var isForced = false
    private var owesForce = false
    /// The last answer took so long that the caller no longer waits for the next.
    private var isSlow = false
    /// The problem that was logged: the file, and the time since which it does not answer.
    private var complaint: (path: String, since: UInt64)?
    private var news: FileNews?
    /// Error text that names the file that does not answer, and for how long; empty if all answer.
    package private(set) var problem = ""
    /// For tests: runs in the thread before each file is accessed.
    package var obstacle: (@Sendable (String) -> Void)?
    package let threads: FileThreads

    package init(_ threads: FileThreads = FileThreads()) {
        self.threads = threads
    }

    /// True if a query has not been answered.
    package var isPending: Bool { work != nil }

    /// Time that the query has been running, in nanoseconds.
    package func age(_ now: UInt64) -> UInt64? { work.map { now - min($0.begun, now) } }

    /// Starts a query, or checks for the answer of the running one.
    ///
    /// - Parameters:
    ///   - wanted: subject of the query. A running query with another subject is abandoned.
    ///   - force: true to read everything. Remembered until an answer arrives.
    ///   - patience: time to wait for the answer, in nanoseconds.
    ///   - body: the query; runs in a thread of its own.
    /// - Returns: The answer to this query or to the running one; `nil` if there is none yet.
    package mutating func look(
        at wanted: Subject, force: Bool = false, patience: UInt64 = FilePatience.moment,
        _ body: @escaping @Sendable (_ force: Bool, FileProgress) -> Answer
    ) -> Answer? {
        let now = threads.clock()
        // A later change of a file is found by the next query.
        owesForce = owesForce || force && !(isPending && isForced)
        if let work, work.isLost || subject != wanted || (force && now - work.begun > FilePatience.renewal) {
            owesForce = owesForce || isForced
            self.work = nil
            if subject != wanted {
                complaint = nil
                problem = ""
                isSlow = false
            }
        }
        var deadline = now
        if work == nil {
            guard begin(wanted, body) else { return nil }
            if !isSlow { deadline += patience }
        }
        guard let work, let (answer, duration) = work.answer(until: deadline, threads) else {
            complain()
            return nil
        }
        self.work = nil
        isSlow = duration > FilePatience.moment
        problem = ""
        if let (path, since) = complaint {
            complaint = nil
            news = FileNews(text: "\(path) answers again, after \(seconds(since)) s", isError: false)
        }
        return answer
    }

    /// A log line for a file that has stopped answering, with the consequence, or that answers again. Each is returned
    /// once.
    package mutating func takeNews(_ consequence: String) -> FileNews? {
        defer { news = nil }
        guard let news, news.isError else { return news }
        return FileNews(text: "\(news.text); \(consequence)", isError: true)
    }

    private mutating func begin(
        _ wanted: Subject, _ body: @escaping @Sendable (Bool, FileProgress) -> Answer
    ) -> Bool {
        let force = owesForce
        do throws(SystemError) {
            work = try FileWork(FileProgress(obstacle: obstacle), threads) { progress in body(force, progress) }
        } catch {
            let text = "files cannot be checked: \(error.description)"
            if text != problem { news = FileNews(text: text, isError: true) }
            problem = text
            return false
        }
        subject = wanted
        isForced = force
        owesForce = false
        return true
    }

    private mutating func complain() {
        guard let work, threads.clock() - work.begun >= FilePatience.complaint else { return }
        let path = work.progress.path
        problem =
            "\(path) does not answer: reading it has taken \(seconds(work.begun)) s so far; "
            + "remedy: check that the server of its file system is up"
        guard complaint?.path != path else { return }
        complaint = (path, work.begun)
        news = FileNews(text: problem, isError: true)
    }

    private func seconds(_ since: UInt64) -> UInt64 {
        (threads.clock() - since) / 1_000_000_000
    }
}

/// Time limits for files, in nanoseconds.
package enum FilePatience {
    /// Default. A file system that answers usually does so in microseconds.
    package static let moment: UInt64 = 250_000_000
    /// For files that are needed to start.
    package static let start: UInt64 = 4_000_000_000
    /// Time until a problem is logged. With the interval between two queries this is within five seconds.
    package static let complaint: UInt64 = 3_000_000_000
    /// Age at which a query that must read everything is restarted: the file system may have been mounted anew, while
    /// the query is blocked in the old mount.
    static let renewal: UInt64 = 60_000_000_000
}

/// A line for the log.
package struct FileNews: Equatable, Sendable {
    package let text: String
    package let isError: Bool

    package init(text: String, isError: Bool) {
        self.text = text
        self.isError = isError
    }
}
