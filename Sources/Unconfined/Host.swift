internal import Glibc
package import System

/// Properties of the host, and of this process's program.
package enum Host {
    /// Number of online processors; at least 1.
    package static func processorCount() -> Int {
        max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    }

    /// Directory of the running executable.
    ///
    /// - Throws: `readlink`, if /proc is not mounted.
    package static func executableFolder() throws(SystemError) -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        // The kernel writes at most as many bytes as it is told, without a NUL.
        let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
        guard count > 0 else { throw .last("readlink", "/proc/self/exe") }
        let path = String(decoding: buffer[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
        return path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    }

    /// Returns `true` if this process may execute the file at `path`.
    package static func isExecutable(_ path: String) -> Bool {
        unsafe access(path, X_OK) == 0
    }

    /// Returns `true` if this process may read the file at `path`.
    package static func isReadable(_ path: String) -> Bool {
        unsafe access(path, R_OK) == 0
    }

    /// The environment as `NAME=value`; only variables whose name `isWanted` accepts.
    package static func environment(where isWanted: (_ name: Substring) -> Bool) -> [String] {
        var result: [String] = []
        // An array of C strings that ends with NULL; nothing changes it while this single thread reads.
        var entry = unsafe environ
        while let text = unsafe entry.pointee {
            let variable = unsafe String(cString: text)
            if isWanted(variable.prefix { $0 != "=" }) { result.append(variable) }
            unsafe entry = entry.advanced(by: 1)
        }
        return result
    }
}
