/// Asks for one kind of files again and again, and waits for an answer no longer than a moment: at most one piece of
/// work is under way, and while that waits for a file system, nothing is asked anew.
package struct FileWatch<Subject: Equatable, Answer: Sendable> {
    private var work: FileWork<Answer>?
    private var subject: Subject?
    /// Whether the work under way was told to read everything, and whether the next must be.
    private var isForced = false
    private var owesForce = false
    /// The last answer took so long that the next is not waited for.
    private var isSlow = false
    /// What was complained about: the file, and since when it does not answer.
    private var complaint: (path: String, since: UInt64)?
    private var news: FileNews?
    /// The file that does not answer, and for how long; empty when all do.
    package private(set) var problem = ""
    /// For tests: runs in the thread before each file is touched.
    package var obstacle: (@Sendable (String) -> Void)?

    package init() {}

    /// Whether there is work that has not answered.
    package var isPending: Bool { work != nil }

    /// For how many nanoseconds it has been under way.
    package func age(_ now: UInt64) -> UInt64? { work.map { now - min($0.begun, now) } }

    /// Asks, or looks whether what was asked before is answered.
    ///
    /// - Parameters:
    ///   - wanted: what is asked about. What was asked about something else is given up.
    ///   - force: whether everything is to be read; remembered while there is no answer.
    ///   - patience: how long an answer is waited for, in nanoseconds.
    ///   - body: runs in a thread of its own.
    /// - Returns: the answer to this question or to the one that was under way; `nil` where there is none yet.
    package mutating func look(
        at wanted: Subject, force: Bool = false, patience: UInt64 = FilePatience.moment,
        _ body: @escaping @Sendable (_ force: Bool, FileProgress) -> Answer
    ) -> Answer? {
        let now = Clock.monotonicNanoseconds()
        // A file that has changed since is found changed by the next look.
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
        guard let work, let (answer, duration) = work.answer(until: deadline) else {
            complain()
            return nil
        }
        self.work = nil
        isSlow = duration > FilePatience.moment
        problem = ""
        if let (path, since) = complaint {
            complaint = nil
            news = FileNews(text: "\(path) answers again, after \(Self.seconds(since)) s", isError: false)
        }
        return answer
    }

    /// That a file does not answer, with what that means, or that it answers again; each is told once.
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
            work = try FileWork(FileProgress(obstacle: obstacle)) { progress in body(force, progress) }
        } catch {
            let text = "files cannot be looked at: \(error.description)"
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
        guard let work, Clock.monotonicNanoseconds() - work.begun >= FilePatience.complaint else { return }
        let path = work.progress.path
        problem =
            "\(path) does not answer: reading it has taken \(Self.seconds(work.begun)) s so far; "
            + "remedy: see whether its file system's server is up"
        guard complaint?.path != path else { return }
        complaint = (path, work.begun)
        news = FileNews(text: problem, isError: true)
    }

    private static func seconds(_ since: UInt64) -> UInt64 {
        (Clock.monotonicNanoseconds() - since) / 1_000_000_000
    }
}

/// How long files are waited for, in nanoseconds.
package enum FilePatience {
    /// A file system that answers at all mostly does so in microseconds.
    package static let moment: UInt64 = 250_000_000
    /// For what nothing can begin without.
    package static let start: UInt64 = 4_000_000_000
    /// After this it is complained about: with the time between two looks, within five seconds.
    package static let complaint: UInt64 = 3_000_000_000
    /// From then on a demand to read everything is asked anew: the file system may have been mounted anew, and what
    /// waits for the former one waits on.
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
