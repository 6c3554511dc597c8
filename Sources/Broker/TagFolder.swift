package import Handshake
package import Settings
internal import System

/// The session tags in force, and whether their files have changed since. They are swapped whole: one mistake leaves
/// the former ones.
package struct TagFolder {
    private(set) var tags = SessionTags()
    /// Of the tags.
    private(set) var names: Set<String> = []
    let folder: String
    private var seen: [String: FileIdentity] = [:]

    /// Reads them for the first time. A folder that is not there is an empty one.
    ///
    /// - Throws: `StartFailure` when they cannot be used: who relies on tags must not be served without them.
    init(_ folder: String = SessionTagsReader.folder, log: DaemonLog) throws(StartFailure) {
        self.folder = folder
        let paths: [String]
        do {
            paths = try Self.paths(in: folder)
            seen = Self.identities(of: paths)
            adopt(try Self.read(paths), log)
        } catch {
            throw StartFailure("session tags: \(error.description)")
        }
    }

    /// Reads them again if their files have changed, or if `force`.
    ///
    /// - Returns: whether they are others than before.
    mutating func refresh(force: Bool, log: DaemonLog) -> Bool {
        do {
            let paths = try Self.paths(in: folder)
            let identities = Self.identities(of: paths)
            guard force || identities != seen else { return false }
            seen = identities
            let read = try Self.read(paths)
            problem = ""
            guard read != tags else { return false }
            adopt(read, log)
            return true
        } catch {
            let text = "the former session tags stay in force: \(error.description)"
            if text != problem { log.error(text, .tagsRefused) }
            problem = text
            return false
        }
    }

    /// Those that were read last.
    var files: [String] { seen.keys.sorted() }

    /// Why what the files say now is not in force; empty when it is.
    private(set) var problem = ""

    private mutating func adopt(_ read: SessionTags, _ log: DaemonLog) {
        tags = read
        names = read.names
        if !read.tags.isEmpty { log.info("session tags: \(read.tags.map(\.name).joined(separator: " "))") }
    }

    /// The files of a folder that are read, in their order; none where there is no folder.
    package static func paths(in folder: String) throws(ConfigurationError) -> [String] {
        do {
            return try SettingsFiles.list(folder).filter(SessionTagsReader.isRead)
                .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { "\(folder)/\($0)" }
        } catch {
            throw .unreadable(path: folder, error)
        }
    }

    private static func identities(of paths: [String]) -> [String: FileIdentity] {
        var identities: [String: FileIdentity] = [:]
        for path in paths { identities[path] = try? FileIdentity(ofPath: path) }
        return identities
    }

    /// Reads all of them, or none.
    package static func read(_ paths: [String]) throws(ConfigurationError) -> SessionTags {
        var files: [(path: String, bytes: [UInt8])] = []
        for path in paths {
            let bytes: [UInt8]?
            do {
                bytes = try SettingsFiles.read(path)
            } catch {
                throw .unreadable(path: path, error)
            }
            guard let bytes else { throw .missing(path: path) }
            files.append((path, bytes))
        }
        do {
            return try SessionTagsReader.read(files)
        } catch {
            throw .invalid(error)
        }
    }
}
