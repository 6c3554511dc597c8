package import Handshake
internal import Policy
package import Settings
internal import Unconfined

/// The session tags in force, and the detection of changes. All files are read together: if one has an error, the
/// previous tags stay in force.
package struct TagFolder {
    private(set) var tags = SessionTags()
    /// Names of all tags.
    private(set) var names: Set<String> = []
    let folder: String
    private var seen: SettingsFiles.Seen?

    var files: FileWatch<String, SettingsFiles.Snapshot?>

    /// Reads the tags for the first time. A missing directory contains no tags.
    ///
    /// - Throws: `TextError` if they cannot be used or do not answer: consumers that rely on tags must not be served
    ///   without them.
    init(
        _ folder: String = SessionTagsReader.folder, log: DaemonLog, threads: FileThreads = FileThreads()
    ) throws(TextError) {
        self.folder = folder
        files = FileWatch(threads)
        guard let snapshot = look(force: true, patience: FilePatience.start) else {
            throw TextError("session tags: \(files.problem)")
        }
        seen = snapshot.seen
        let read = try TextError.of(
            "session tags", try Self.read(Self.paths(in: folder, snapshot.list), snapshot.read))
        adopt(read, log)
    }

    /// Reads the tags if their files have changed, or if `force`.
    ///
    /// - Returns: `true` if the tags have changed.
    mutating func refresh(force: Bool, patience: UInt64 = FilePatience.moment, log: DaemonLog) -> Bool {
        let snapshot = look(force: force, patience: patience)
        if let news = files.takeNews(Self.consequence) { log.report(news, .tagsRefused) }
        guard let snapshot else { return false }
        seen = snapshot.seen
        do {
            let read = try Self.read(Self.paths(in: folder, snapshot.list), snapshot.read)
            refusal = ""
            guard read != tags else { return false }
            adopt(read, log)
            return true
        } catch {
            let text = "\(Self.consequence): \(error.description)"
            if text != refusal { log.error(text, .tagsRefused) }
            refusal = text
            return false
        }
    }

    /// Contents of the files; `nil` if nothing has changed.
    private mutating func look(force: Bool, patience: UInt64) -> SettingsFiles.Snapshot? {
        let folder = folder, seen = seen
        let answer = files.look(at: folder, force: force, patience: patience) { force, progress in
            SettingsFiles.Snapshot(unless: force ? nil : seen, progress) { list in
                (try? Self.paths(in: folder, list)) ?? []
            }
        }
        return answer.flatMap { $0 }
    }

    /// The files that were read last.
    var paths: [String] { seen?.paths ?? [] }

    /// Reason why the current files are not in force; empty if they are.
    var problem: String { files.problem.isEmpty ? refusal : "\(files.problem); \(Self.consequence)" }
    private var refusal = ""
    private static let consequence = "the former session tags stay in force"

    private mutating func adopt(_ read: SessionTags, _ log: DaemonLog) {
        tags = read
        names = read.names
        if !read.tags.isEmpty { log.info("session tags: \(read.tags.map(\.name).joined(separator: " "))") }
    }

    /// The tag files of a directory, sorted; none if it does not exist.
    package static func paths(
        in folder: String, _ list: ConfigurationSearch.Lister = SettingsFiles.list
    ) throws(ConfigurationError) -> [String] {
        try list(folder).filter(SessionTagsReader.isRead)
            .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { "\(folder)/\($0)" }
    }

    /// Reads all files, or none.
    package static func read(
        _ paths: [String], _ read: ConfigurationSearch.Reader = SettingsFiles.read
    ) throws(ConfigurationError) -> SessionTags {
        var files: [(path: String, bytes: [UInt8])] = []
        for path in paths {
            guard let bytes = try read(path) else { throw .missing(path: path) }
            files.append((path, bytes))
        }
        return try ConfigurationError.of(try SessionTagsReader.read(files))
    }
}
