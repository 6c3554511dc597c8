internal import Glibc
internal import Settings
internal import System
internal import Unconfined

/// Who besides root, and the user that the daemon runs as, can change the settings: by their files, or by the folders
/// that lead to these.
package struct SettingsExposure {
    /// One line each, with the remedy.
    private(set) var lines: [String] = []
    private var watch: FileWatch<[[String]], [Finding]>

    init(_ threads: FileThreads = FileThreads()) { watch = FileWatch(threads) }

    /// A file or folder that others can change.
    package struct Finding: Equatable, Sendable {
        package let text: String
        package let remedy: String
    }

    /// Looks again. Paths that do not answer leave everything as it is; the settings' own files tell of that.
    ///
    /// - Parameter patience: how long an answer is waited for, in nanoseconds.
    /// - Returns: the lines that are new.
    mutating func refresh(files: [String], folders: [String], patience: UInt64) -> [String] {
        let answer = watch.look(at: [files, folders], patience: patience) { _, progress in
            progress.at(files.first ?? folders.first ?? "/")
            return Self.findings(files: files, folders: folders)
        }
        guard let found = answer?.map({ "\($0.text); remedy: \($0.remedy)" }) else { return [] }
        defer { lines = found }
        return found.filter { !lines.contains($0) }
    }

    /// - Parameters:
    ///   - files: those that were read.
    ///   - folders: those that are searched for more.
    package static func findings(files: [String], folders: [String]) -> [Finding] {
        var paths = files
        for path in folders + (files + folders).flatMap(FolderListing.above) where !paths.contains(path) {
            paths.append(path)
        }
        return paths.compactMap { path in
            guard let identity = try? FileIdentity(ofPath: path) else { return nil }
            if let owner = stranger(identity) {
                return Finding(
                    text: "\(path) belongs to uid \(owner), who can change the settings", remedy: "chown root \(path)")
            }
            // In a folder with the sticky bit nobody can replace what is root's, and what is not is refused.
            let isProtected = identity.isSticky && !folders.contains(path)
            guard identity.mode & 0o022 != 0, !isProtected, !FolderListing.isReadOnlyVolume(path) else { return nil }
            return Finding(
                text: "\(path) can be written by others, who can change the settings", remedy: "chmod go-w \(path)")
        }
    }

    /// Refuses a file or folder that another user owns, or one that is in such a folder: at any moment he can make it
    /// say something else.
    static func refuseStrangers(_ path: String, _ identity: FileIdentity) throws(ReadFailure) {
        if let owner = stranger(identity) {
            throw ReadFailure(
                reason: "it belongs to uid \(owner), who can change it at will", remedy: "chown root \(path)")
        }
        for folder in FolderListing.above(path) {
            guard let owner = (try? FileIdentity(ofPath: folder)).flatMap(stranger) else { continue }
            throw ReadFailure(
                reason: "\(folder) belongs to uid \(owner), who can replace what is in it",
                remedy: "chown root \(folder), then reload tlshd")
        }
    }

    /// The owner, if that is neither root nor we.
    private static func stranger(_ identity: FileIdentity) -> UInt32? {
        identity.owner == 0 || identity.owner == geteuid() ? nil : identity.owner
    }
}
