internal import CLinux
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

    /// Path of the dynamic linker that the kernel executed with this program (PT_INTERP). It is that of tlshd's other
    /// programs too, which are linked alike.
    ///
    /// - Throws: ENOEXEC, if the program names none.
    package static func dynamicLinker() throws(SystemError) -> String {
        guard let path = unsafe linux_dynamic_linker() else {
            throw SystemError("dl_iterate_phdr", ENOEXEC, "for PT_INTERP of this program")
        }
        return unsafe String(cString: path)
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

/// Files in /proc, and information about other processes.
package enum ProcessTable {
    /// The names in a directory, without `.` and `..`; empty if it cannot be read.
    package static func names(in folder: String) -> [String] { (try? FolderListing.names(in: folder)) ?? [] }

    /// IDs of all processes.
    package static func identifiers() -> [Int32] { names(in: "/proc").compactMap { Int32($0) } }

    /// Target of a symbolic link; `nil` if it is no link or cannot be read.
    package static func target(of path: String) -> String? { try? link(path) }

    private static func link(_ path: String) throws(SystemError) -> String {
        var buffer = [CChar](repeating: 0, count: 256)
        let count = unsafe readlink(path, &buffer, buffer.count)
        guard count >= 0 else { throw .last("readlink", path) }
        return String(decoding: buffer[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// A process by its ID and program name.
    package struct Holder: Sendable, Equatable {
        package let process: Int32
        package let name: String

        package var description: String { "\(name) (process \(process))" }
    }

    /// The first process found that has a socket open.
    ///
    /// - Parameters:
    ///   - inode: the inode of the socket, as in /proc/PID/fd.
    ///   - guess: a process to check first.
    package static func holder(ofSocket inode: UInt64, guess: Int32) -> Holder? {
        let holder = ([guess] + identifiers()).first { $0 > 0 && has($0, socket: inode) }
        return holder.map { Holder(process: $0, name: name(of: $0)) }
    }

    /// All processes that have a socket open. systemd keeps the sockets of services that store them.
    package static func holders(ofSocket inode: UInt64) -> [Holder] {
        identifiers().filter { has($0, socket: inode) }.map { Holder(process: $0, name: name(of: $0)) }
    }

    private static func has(_ process: Int32, socket inode: UInt64) -> Bool {
        let folder = "/proc/\(process)/fd"
        return names(in: folder).contains { target(of: "\(folder)/\($0)") == "socket:[\(inode)]" }
    }

    /// Returns `true` if a process was stopped by a signal or a debugger (proc_pid_stat(5)).
    package static func isStopped(_ process: Int32) -> Bool {
        let stat = (try? contents(of: "/proc/\(process)/stat")) ?? []
        // The state follows the program name, which may contain any character.
        guard let end = stat.lastIndex(of: UInt8(ascii: ")")), end + 2 < stat.count else { return false }
        return stat[end + 2] == UInt8(ascii: "T") || stat[end + 2] == UInt8(ascii: "t")
    }

    /// The process that probably has a netlink socket open, if /proc does not show the descriptors of others: by
    /// convention of libnl and the kernel the low 22 bits of a port are the process ID (netlink(7)).
    ///
    /// - Returns: `nil` if there is no such process.
    package static func holder(ofNetlinkPort port: UInt32) -> Holder? {
        let process = Int32(port & 0x3f_ffff)
        let name = name(of: process)
        return name == "?" ? nil : Holder(process: process, name: name)
    }

    /// Program name of a process, at most 15 characters; `?` if it has ended.
    private static func name(of process: Int32) -> String {
        let name = (try? contents(of: "/proc/\(process)/comm")) ?? []
        return name.count > 1 ? String(decoding: name.dropLast(), as: UTF8.self) : "?"
    }

    /// Contents of a file in /proc.
    package static func contents(of path: String) throws(SystemError) -> [UInt8] {
        let number = retrying { unsafe open(path, O_RDONLY | O_CLOEXEC) }
        guard number >= 0 else { throw .last("open", path) }
        let file = OwnedDescriptor(adopting: number)
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = retrying { unsafe read(file.number, &block, block.count) }
            guard count >= 0 else { throw .last("read", path) }
            guard count > 0 else { return bytes }
            bytes += block.prefix(count)
        }
    }

    /// Network namespaces of all processes, with one process each.
    package struct Namespaces: Sendable, Equatable {
        package var processByInode: [UInt64: Int32] = [:]
        /// Number of processes whose namespace could not be read.
        package var hidden = 0
    }

    /// Reads the namespace of each process. Those of other users are readable with CAP_SYS_PTRACE only (namespaces(7)).
    package static func namespaces(besides own: Set<Int32>) -> Namespaces {
        var found = Namespaces()
        for process in identifiers() where !own.contains(process) {
            do throws(SystemError) {
                let link = try link("/proc/\(process)/ns/net")
                let digits = link.dropFirst(5).dropLast()
                if link.hasPrefix("net:["), let inode = UInt64(digits), found.processByInode[inode] == nil {
                    found.processByInode[inode] = process
                }
            } catch {
                if error.number == .eacces { found.hidden += 1 }
            }
        }
        return found
    }
}
