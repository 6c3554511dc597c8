internal import Glibc
package import System

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

    private static func realPath(of path: String) -> String? {
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
