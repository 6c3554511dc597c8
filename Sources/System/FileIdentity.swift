internal import Glibc

/// What tells one version of a file from another, without reading it.
package struct FileIdentity: Sendable, Hashable {
    package let device: UInt64
    package let inode: UInt64
    /// Bytes.
    package let size: Int64
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    package let modified: Int64
    /// Nanoseconds since 1970-01-01T00:00:00Z; changes with owner and mode, too.
    package let changed: Int64
    /// File type and permissions, as stat(2) has them.
    package let mode: UInt32
    package let owner: UInt32

    /// Of the file at `path`, following symbolic links.
    ///
    /// - Throws: `stat`, with ENOENT where there is none.
    package init(ofPath path: String) throws(SystemError) {
        var status = stat()
        guard unsafe stat(CredentialsDirectory.resolve(path), &status) == 0 else { throw .last("stat", path) }
        self.init(status)
    }

    /// Of those of the files that there are, by path.
    package static func all(of paths: [String], _ progress: FileProgress) -> [String: FileIdentity] {
        var identities: [String: FileIdentity] = [:]
        for path in paths {
            progress.at(path)
            identities[path] = try? FileIdentity(ofPath: path)
        }
        return identities
    }

    /// Of an open file.
    package init(of descriptor: borrowing OwnedDescriptor) throws(SystemError) {
        var status = stat()
        guard unsafe fstat(descriptor.number, &status) == 0 else { throw .last("fstat") }
        self.init(status)
    }

    /// Of the open file behind a borrowed number.
    package init(ofNumber number: Int32) throws(SystemError) {
        var status = stat()
        guard unsafe fstat(number, &status) == 0 else { throw .last("fstat") }
        self.init(status)
    }

    private init(_ status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        size = Int64(status.st_size)
        modified = Self.nanoseconds(status.st_mtim)
        changed = Self.nanoseconds(status.st_ctim)
        mode = UInt32(status.st_mode)
        owner = UInt32(status.st_uid)
    }

    package var isRegularFile: Bool { mode & UInt32(S_IFMT) == UInt32(S_IFREG) }

    /// Whether only its owner, and that of the folder, can remove what is in it.
    package var isSticky: Bool { mode & UInt32(S_ISVTX) != 0 }

    /// Whether the group or the world may read or write it.
    package var isOpenToOthers: Bool { mode & 0o066 != 0 }

    private static func nanoseconds(_ time: timespec) -> Int64 {
        // Wraps for times that no file has, instead of trapping on what a file system may claim.
        Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }
}
