internal import Glibc

/// What /proc tells about other processes.
package enum ProcessTable {
    /// The names in a folder, without `.` and `..`; none where it cannot be read.
    package static func names(in folder: String) -> [String] { (try? FolderListing.names(in: folder)) ?? [] }

    /// The processes that exist.
    package static func identifiers() -> [Int32] { names(in: "/proc").compactMap { Int32($0) } }

    /// Where a link leads; `nil` where it is none, or is not for us to read.
    package static func target(of path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 256)
        let count = unsafe readlink(path, &buffer, buffer.count)
        guard count >= 0 else { return nil }
        return String(decoding: buffer[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// A process by its number and the name of its program.
    package struct Holder: Sendable, Equatable {
        package let process: Int32
        package let name: String

        package var description: String { "\(name) (process \(process))" }
    }

    /// Who has a socket open: the first one found.
    ///
    /// - Parameters:
    ///   - inode: the socket's, as /proc/PID/fd shows it.
    ///   - guess: a process to look at first.
    package static func holder(ofSocket inode: UInt64, guess: Int32) -> Holder? {
        let holder = ([guess] + identifiers()).first { $0 > 0 && has($0, socket: inode) }
        return holder.map { Holder(process: $0, name: name(of: $0)) }
    }

    /// Everybody who has a socket open: systemd keeps those of the services that ask it to, beside them.
    package static func holders(ofSocket inode: UInt64) -> [Holder] {
        identifiers().filter { has($0, socket: inode) }.map { Holder(process: $0, name: name(of: $0)) }
    }

    private static func has(_ process: Int32, socket inode: UInt64) -> Bool {
        let folder = "/proc/\(process)/fd"
        return names(in: folder).contains { target(of: "\(folder)/\($0)") == "socket:[\(inode)]" }
    }

    /// Whether a process was stopped, by a signal or a debugger (proc_pid_stat(5)).
    package static func isStopped(_ process: Int32) -> Bool {
        let stat = contents(of: "/proc/\(process)/stat")
        // Behind the name, which may hold anything.
        guard let end = stat.lastIndex(of: UInt8(ascii: ")")), end + 2 < stat.count else { return false }
        return stat[end + 2] == UInt8(ascii: "T") || stat[end + 2] == UInt8(ascii: "t")
    }

    /// Who probably has a netlink socket open, where /proc does not show others' descriptors: by custom a socket's port
    /// is the number of its process, with other bits above the 22 that such a number has (libnl's and the kernel's own
    /// choice; netlink(7)).
    ///
    /// - Returns: `nil` where no such process exists.
    package static func namesake(ofNetlinkPort port: UInt32) -> Holder? {
        let process = Int32(port & 0x3f_ffff)
        let name = name(of: process)
        return name == "?" ? nil : Holder(process: process, name: name)
    }

    /// The name of a process's program, at most 15 characters; `?` where it has gone.
    private static func name(of process: Int32) -> String {
        let name = contents(of: "/proc/\(process)/comm")
        return name.count > 1 ? String(decoding: name.dropLast(), as: UTF8.self) : "?"
    }

    /// The first bytes of a file of /proc; none where it has gone.
    private static func contents(of path: String) -> [UInt8] {
        let number = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { return [] }
        let file = OwnedDescriptor(adopting: number)
        var buffer = [UInt8](repeating: 0, count: 128)
        let count = retrying { unsafe read(file.number, &buffer, buffer.count) }
        return Array(buffer.prefix(max(0, count)))
    }

    /// The network namespaces that processes are in, each with one process.
    package struct Namespaces: Sendable, Equatable {
        package var processByInode: [UInt64: Int32] = [:]
        /// How many processes did not tell.
        package var hidden = 0
    }

    /// Looks at each process once. Those of others' are told with CAP_SYS_PTRACE only (namespaces(7)).
    package static func namespaces(besides own: Set<Int32>) -> Namespaces {
        var found = Namespaces()
        for process in identifiers() where !own.contains(process) {
            if let link = target(of: "/proc/\(process)/ns/net") {
                let digits = link.dropFirst(5).dropLast()
                if link.hasPrefix("net:["), let inode = UInt64(digits), found.processByInode[inode] == nil {
                    found.processByInode[inode] = process
                }
            } else if errno == EACCES {
                found.hidden += 1
            }
        }
        return found
    }
}
