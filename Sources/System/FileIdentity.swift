internal import Glibc

/// Identifies a version of a file without reading it.
package struct FileIdentity: Sendable, Hashable {
    package let device: UInt64
    package let inode: UInt64
    /// Bytes.
    package let size: Int64
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    package let modified: Int64
    /// Nanoseconds since 1970-01-01T00:00:00Z. Also changes with owner and mode.
    package let changed: Int64
    /// File type and permissions, as in stat(2).
    package let mode: UInt32
    package let owner: UInt32

    /// Identity of the file at `path`; follows symbolic links.
    ///
    /// - Throws: `stat`; ENOENT if there is no file.
    package init(ofPath path: String) throws(SystemError) {
        var status = stat()
        guard unsafe stat(CredentialsDirectory.resolve(path), &status) == 0 else { throw .last("stat", path) }
        self.init(status)
    }

    /// Identity of an open file.
    package init(of descriptor: borrowing OwnedDescriptor) throws(SystemError) {
        var status = stat()
        guard unsafe fstat(descriptor.number, &status) == 0 else { throw .last("fstat") }
        self.init(status)
    }

    /// Identity of the open file behind a borrowed descriptor.
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

    package var isFolder: Bool { mode & UInt32(S_IFMT) == UInt32(S_IFDIR) }

    package var isSocket: Bool { mode & UInt32(S_IFMT) == UInt32(S_IFSOCK) }

    /// Type of the file for messages, with an article.
    package var kind: String {
        switch mode & UInt32(S_IFMT) {
        case UInt32(S_IFREG): "a regular file"
        case UInt32(S_IFDIR): "a folder"
        case UInt32(S_IFIFO): "a FIFO"
        case UInt32(S_IFSOCK): "a socket"
        default: "a device"
        }
    }

    /// True if only the owner of a file or of the directory can remove the file.
    package var isSticky: Bool { mode & UInt32(S_ISVTX) != 0 }

    /// True if group or others may read or write the file.
    package var isOpenToOthers: Bool { mode & 0o066 != 0 }

    private static func nanoseconds(_ time: timespec) -> Int64 {
        // Wraps instead of trapping on an absurd time reported by a file system.
        Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }
}

/// Files that the service manager passes to this service (LoadCredential= of systemd.exec(5)).
package enum CredentialsDirectory {
    /// Replaces a leading `%d/` by that directory, as in the settings of the unit. Other paths are unchanged.
    package static func resolve(_ path: String) -> String {
        guard path.hasPrefix("%d/"), let folder = Environment.value(of: "CREDENTIALS_DIRECTORY") else { return path }
        return folder + path.dropFirst(2)
    }
}
