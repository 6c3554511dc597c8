internal import Glibc
package import Settings
internal import System

/// The settings' files as `ConfigurationSearch` asks for them.
package enum SettingsFiles {
    /// The whole of a file; `nil` when there is none by that name.
    package static func read(_ path: String) throws(ReadFailure) -> [UInt8]? {
        let file: SealedFile
        do {
            file = try SealedFile(copying: path)
        } catch {
            if error.number == ENOENT { return nil }
            throw ReadFailure(reason: error.description)
        }
        // Of the file that was opened, which the path may no longer lead to.
        try SettingsExposure.refuseStrangers(path, file.identity)
        do {
            return try SealedContents(of: file.descriptor).withSpan { span in span.indices.map { span[$0] } }
        } catch {
            throw ReadFailure(reason: error.description)
        }
    }

    /// The names in a folder; none where there is no such folder.
    package static func list(_ folder: String) throws(ReadFailure) -> [String] {
        let names: [String]
        let identity: FileIdentity
        do {
            names = try FolderListing.names(in: folder)
            identity = try FileIdentity(ofPath: folder)
        } catch {
            if error.number == ENOENT { return [] }
            throw ReadFailure(reason: error.description)
        }
        try SettingsExposure.refuseStrangers(folder, identity)
        return names
    }
}
