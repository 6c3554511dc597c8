package import Settings
internal import System
internal import Unconfined

/// File access for `ConfigurationSearch`.
package enum SettingsFiles {
    /// Contents of a file; `nil` if it does not exist.
    package static func read(_ path: String) throws(ConfigurationError) -> [UInt8]? {
        let file: SealedFile
        do {
            file = try SealedFile(copying: path)
        } catch {
            if error.number == .enoent { return nil }
            throw .unreadable(path: path, reason: error.description)
        }
        // Checks the file that was opened, which the path may no longer refer to.
        try SettingsExposure.refuseForeignOwners(path, file.identity)
        do {
            return try SealedContents(of: file.descriptor).withSpan { span in span.indices.map { span[$0] } }
        } catch {
            throw .unreadable(path: path, reason: error.description)
        }
    }

    /// Names in a directory; none if it does not exist.
    package static func list(_ folder: String) throws(ConfigurationError) -> [String] {
        let names: [String]
        let identity: FileIdentity
        do {
            names = try FolderListing.names(in: folder)
            identity = try FileIdentity(ofPath: folder)
        } catch {
            if error.number == .enoent { return [] }
            throw .unreadable(path: folder, reason: error.description)
        }
        try SettingsExposure.refuseForeignOwners(folder, identity)
        return names
    }

    /// Identities of all files, known without reading them.
    struct Seen: Equatable, Sendable {
        fileprivate var identities: [String: FileIdentity] = [:]
        /// Directories that cannot be read.
        fileprivate var failures: [String: ConfigurationError] = [:]

        var paths: [String] { identities.keys.sorted() }
    }

    /// Contents of all files and directories at one time.
    struct Snapshot: Sendable {
        let seen: Seen
        private let folders: [String: [String]]
        private let files: [String: Result<[UInt8]?, ConfigurationError>]

        /// Reads the files that `paths` returns. `paths` may list directories.
        ///
        /// - Returns: `nil` if the identities are unchanged.
        init?(
            unless former: Seen?, _ progress: FileProgress, paths: (ConfigurationSearch.Lister) -> [String]
        ) {
            var seen = Seen()
            var folders: [String: [String]] = [:]
            let wanted = paths { (folder) throws(ConfigurationError) in
                progress.at(folder)
                do throws(ConfigurationError) {
                    let names = try SettingsFiles.list(folder)
                    folders[folder] = names
                    return names
                } catch {
                    seen.failures[folder] = error
                    throw error
                }
            }
            seen.identities = FileIdentity.all(of: wanted, progress)
            guard seen != former else { return nil }
            var files: [String: Result<[UInt8]?, ConfigurationError>] = [:]
            for path in wanted {
                progress.at(path)
                files[path] = Result { () throws(ConfigurationError) in try SettingsFiles.read(path) }
            }
            self.seen = seen
            self.folders = folders
            self.files = files
        }

        func read(_ path: String) throws(ConfigurationError) -> [UInt8]? { try files[path]?.get() ?? nil }

        func list(_ folder: String) throws(ConfigurationError) -> [String] {
            if let failure = seen.failures[folder] { throw failure }
            return folders[folder] ?? []
        }
    }
}
