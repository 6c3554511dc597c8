internal import Settings
internal import System
internal import Unconfined

/// Finds users, other than root and the daemon's own, who can change the settings through files or their parent
/// directories.
package struct SettingsExposure {
    /// One line per finding, with the remedy.
    private(set) var lines: [String] = []
    private var watch: FileWatch<[[String]], [Finding]>

    init(_ threads: FileThreads = FileThreads()) { watch = FileWatch(threads) }

    /// A file or directory that other users can change.
    package struct Finding: Equatable, Sendable {
        package let text: String
        package let remedy: String
    }

    /// Checks again. Paths that do not answer change nothing; `Configuration` reports them.
    ///
    /// - Parameter patience: time to wait for the answer, in nanoseconds.
    /// - Returns: New lines.
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
    ///   - files: the files that were read.
    ///   - folders: the directories of drop-in files.
    package static func findings(files: [String], folders: [String]) -> [Finding] {
        var paths = files
        for path in folders + (files + folders).flatMap(FolderListing.above) where !paths.contains(path) {
            paths.append(path)
        }
        return paths.compactMap { path in
            guard let identity = try? FileIdentity(ofPath: path) else { return nil }
            if let owner = foreignOwner(identity) {
                return Finding(
                    text: "\(path) belongs to uid \(owner), who can change the settings", remedy: "chown root \(path)")
            }
            // In a directory with the sticky bit nobody can replace a file of root, and other files are refused.
            let isProtected = identity.isSticky && !folders.contains(path)
            guard identity.mode & 0o022 != 0, !isProtected, !FolderListing.isReadOnlyVolume(path) else { return nil }
            return Finding(
                text: "\(path) can be written by others, who can change the settings", remedy: "chmod go-w \(path)")
        }
    }

    /// Refuses a file or directory that another user owns, or whose parent directory another user owns: that user can
    /// replace it at any time.
    static func refuseForeignOwners(_ path: String, _ identity: FileIdentity) throws(ConfigurationError) {
        if let owner = foreignOwner(identity) {
            throw .refused(
                path: path, reason: "it belongs to uid \(owner), who can change it at will",
                remedy: "chown root \(path)")
        }
        for folder in FolderListing.above(path) {
            guard let owner = (try? FileIdentity(ofPath: folder)).flatMap(foreignOwner) else { continue }
            throw .refused(
                path: path, reason: "\(folder) belongs to uid \(owner), who can replace what is in it",
                remedy: "chown root \(folder), then reload tlshd")
        }
    }

    /// The owner, if it is neither root nor the daemon's own user.
    private static func foreignOwner(_ identity: FileIdentity) -> UInt32? {
        identity.owner == 0 || identity.owner == ThisProcess.user ? nil : identity.owner
    }
}
