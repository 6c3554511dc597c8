internal import Glibc
package import Settings
internal import System

/// The settings' files as `ConfigurationSearch` asks for them.
package enum SettingsFiles {
    /// The whole of a file; `nil` when there is none by that name.
    package static func read(_ path: String) throws(ReadFailure) -> [UInt8]? {
        do {
            let file = try SealedFile(copying: path)
            return try SealedContents(of: file.descriptor).withSpan { span in span.indices.map { span[$0] } }
        } catch {
            if error.number == ENOENT { return nil }
            throw ReadFailure(reason: error.description)
        }
    }

    /// The names in a folder; none where there is no such folder.
    package static func list(_ folder: String) throws(ReadFailure) -> [String] {
        do {
            return try FolderListing.names(in: folder)
        } catch {
            if error.number == ENOENT { return [] }
            throw ReadFailure(reason: error.description)
        }
    }
}
