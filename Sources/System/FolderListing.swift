internal import Glibc

/// What is in a folder.
package enum FolderListing {
    /// The names in a folder, without `.` and `..`, in no order.
    ///
    /// - Throws: `opendir`, with ENOENT where there is none.
    package static func names(in folder: String) throws(SystemError) -> [String] {
        guard let handle = unsafe opendir(folder) else { throw .last("opendir", folder) }
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
}
