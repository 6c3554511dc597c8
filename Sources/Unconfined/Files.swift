internal import CLinux
internal import Glibc
internal import Synchronization
package import System

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

/// File access in a thread of its own, which ends with the work. If the server of a network file system is down, a call
/// blocks until the server is back, and the event loop must not block.
///
/// The thread accesses files only. A blocked call ends only with the process (exit(2) sends SIGKILL to the other
/// threads, which ends the waits of network file systems).
final class FileWork<Answer: Sendable>: Sendable {
    /// Start time; CLOCK_MONOTONIC nanoseconds.
    let begun: UInt64
    let progress: FileProgress
    private let outcome = Mutex<(answer: Answer, ended: UInt64)?>(nil)
    /// Eventfd that becomes readable when there is an answer.
    private let event: OwnedDescriptor
    private let process = getpid()

    /// Starts the thread.
    ///
    /// - Throws: `pthread_create`; EAGAIN if too many threads are blocked.
    init(
        _ progress: FileProgress, _ threads: FileThreads, _ body: @escaping @Sendable (FileProgress) -> Answer
    ) throws(SystemError) {
        let number = eventfd(0, Int32(EFD_CLOEXEC))
        guard number >= 0 else { throw .last("eventfd") }
        event = OwnedDescriptor(adopting: number)
        let clock = threads.clock
        begun = clock()
        self.progress = progress
        try threads.start { [self] in
            let answer = body(progress)
            outcome.withLock { $0 = (answer, clock()) }
            eventfd_write(event.number, 1)
        }
    }

    /// The answer, and its duration in nanoseconds; `nil` if there is none before the deadline.
    func answer(until deadline: UInt64, _ threads: FileThreads) -> (Answer, duration: UInt64)? {
        while true {
            if let found = outcome.withLock({ $0 }) { return (found.answer, found.ended - begun) }
            let now = threads.clock()
            guard now < deadline else { return nil }
            threads.wait(event.number, deadline - now)
        }
    }

    /// True if this process was forked from the one whose thread does the work.
    var isLost: Bool { process != getpid() }
}

/// Reads files in threads, and waits for them by the clock. A simulation replaces all three.
package struct FileThreads {
    /// CLOCK_MONOTONIC nanoseconds.
    package let clock: @Sendable () -> UInt64
    let start: (@escaping @Sendable () -> Void) throws(SystemError) -> Void
    let wait: (Int32, UInt64) -> Void

    /// - Parameters:
    ///   - start: runs a closure in a new thread.
    ///   - wait: waits until the descriptor is readable, for at most so many nanoseconds.
    package init(
        clock: @escaping @Sendable () -> UInt64,
        start: @escaping (@escaping @Sendable () -> Void) throws(SystemError) -> Void,
        wait: @escaping (Int32, UInt64) -> Void
    ) {
        self.clock = clock
        self.start = start
        self.wait = wait
    }

    package init(clock: @escaping @Sendable () -> UInt64 = Clock.monotonicNanoseconds) {
        self.clock = clock
        start = WorkThread.start
        wait = { number, time in
            var entry = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
            _ = unsafe poll(&entry, 1, Clock.pollTimeout(time))
        }
    }
}

/// The file that a query currently accesses.
package final class FileProgress: Sendable {
    private let current = Mutex("")
    /// For tests: runs before each file is accessed.
    private let obstacle: (@Sendable (String) -> Void)?

    package init(obstacle: (@Sendable (String) -> Void)? = nil) {
        self.obstacle = obstacle
    }

    /// Call before the file at `path` is accessed.
    package func at(_ path: String) {
        current.withLock { $0 = path }
        obstacle?(path)
    }

    var path: String { current.withLock { $0 } }
}

extension FileIdentity {
    /// Identities by path; files that do not exist are omitted.
    package static func all(of paths: [String], _ progress: FileProgress) -> [String: FileIdentity] {
        var identities: [String: FileIdentity] = [:]
        for path in paths {
            progress.at(path)
            identities[path] = try? FileIdentity(ofPath: path)
        }
        return identities
    }
}

/// A thread that runs one closure.
private enum WorkThread {
    /// Atomic instead of a lock, because a fork could copy a lock that is held.
    private static let running = Atomic(0)
    /// The limit is reached only if settings change repeatedly while their files do not answer.
    private static let limit = 64

    private final class Body {
        let run: @Sendable () -> Void

        init(_ run: @escaping @Sendable () -> Void) {
            self.run = run
        }
    }

    static func start(_ run: @escaping @Sendable () -> Void) throws(SystemError) {
        // Not racy: only the event loop starts threads.
        guard running.load(ordering: .relaxed) < limit else {
            throw SystemError("pthread_create", EAGAIN, "as \(limit) threads wait for files")
        }
        running.wrappingAdd(1, ordering: .relaxed)
        let body = Body {
            run()
            running.wrappingSubtract(1, ordering: .relaxed)
        }
        var thread = pthread_t()
        // The thread takes over the reference. If no thread starts, it is released below.
        let reference = unsafe Unmanaged.passRetained(body)
        let number = unsafe pthread_create(
            &thread, nil,
            { argument in
                if let argument = unsafe argument {
                    unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                }
                return nil
            }, reference.toOpaque())
        guard number == 0 else {
            unsafe reference.release()
            running.wrappingSubtract(1, ordering: .relaxed)
            throw SystemError("pthread_create", number)
        }
        pthread_detach(thread)
    }
}

/// Contents of a directory, and its parents.
package enum FolderListing {
    /// The names in a directory, without `.` and `..`, in no particular order.
    ///
    /// - Throws: `opendir`; ENOENT if there is no directory.
    package static func names(in folder: String) throws(SystemError) -> [String] {
        guard let handle = unsafe opendir(CredentialsDirectory.resolve(folder)) else { throw .last("opendir", folder) }
        defer { unsafe closedir(handle) }
        var names: [String] = []
        while let entry = unsafe readdir(handle) {
            // A C array of characters with its NUL.
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { raw in
                unsafe String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// The parent directories of a file, innermost first: those of its path, and those of the path with all links
    /// resolved.
    package static func above(_ path: String) -> [String] {
        var folders: [String] = []
        for path in [CredentialsDirectory.resolve(path), realPath(of: path)].compactMap(\.self) {
            var rest = path[...]
            while let slash = rest.lastIndex(of: "/") {
                rest = rest[..<slash]
                let folder = rest.isEmpty ? "/" : String(rest)
                if !folders.contains(folder) { folders.append(folder) }
            }
        }
        return folders
    }

    /// The path with all links resolved; `nil` if there is no such file.
    package static func realPath(of path: String) -> String? {
        guard let text = unsafe realpath(CredentialsDirectory.resolve(path), nil) else { return nil }
        defer { unsafe free(text) }
        return unsafe String(cString: text)
    }

    /// Returns `true` if a directory is a read-only mount of its own. That of a ConfigMap in Kubernetes has mode 0777,
    /// which is harmless then.
    package static func isReadOnlyVolume(_ folder: String) -> Bool {
        var status = statvfs()
        guard unsafe statvfs(folder, &status) == 0, status.f_flag & UInt(ST_RDONLY) != 0,
            let own = try? FileIdentity(ofPath: folder), let parent = try? FileIdentity(ofPath: folder + "/..")
        else { return false }
        return own.device != parent.device
    }
}

/// A small file that is replaced atomically: a reader sees either the old or the new contents.
package enum ReplacedFile {
    /// Writes the file with this mode, regardless of the umask. It does not wait for the disk: after a system crash the
    /// old file may be there.
    ///
    /// - Throws: The call that failed. The old file is unchanged.
    package static func write(_ bytes: [UInt8], to path: String, mode: UInt32) throws(SystemError) {
        let passing = passingName(path)
        // Left by a process that was killed during a write. O_EXCL prevents the use of a file that somebody else has
        // prepared.
        _ = unsafe unlink(passing)
        let number = unsafe open(passing, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        // In errors, as the passing file is gone when they are read.
        let name = "a new file in the place of \(path)"
        guard number >= 0 else { throw .last("open", name) }
        let file = OwnedDescriptor(adopting: number)
        do throws(SystemError) {
            try OwnedDescriptor.write(bytes.span, to: file.number, name)
            guard fchmod(file.number, mode) == 0 else { throw .last("fchmod", name) }
            guard unsafe rename(passing, path) == 0 else { throw .last("rename", name) }
        } catch {
            _ = unsafe unlink(passing)
            throw error
        }
    }

    /// Removes the file, if it exists.
    package static func remove(_ path: String) { _ = unsafe unlink(path) }

    private static func passingName(_ path: String) -> String { path + ".new" }
}
