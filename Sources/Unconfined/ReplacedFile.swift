internal import Glibc
package import System

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
        guard number >= 0 else { throw .last("open", passing) }
        let file = OwnedDescriptor(adopting: number)
        do throws(SystemError) {
            try OwnedDescriptor.write(bytes.span, to: file.number, passing)
            guard fchmod(file.number, mode) == 0 else { throw .last("fchmod", passing) }
            guard unsafe rename(passing, path) == 0 else { throw .last("rename", "\(passing) to \(path)") }
        } catch {
            _ = unsafe unlink(passing)
            throw error
        }
    }

    /// Removes the file, if it exists.
    package static func remove(_ path: String) { _ = unsafe unlink(path) }

    private static func passingName(_ path: String) -> String { path + ".new" }
}
