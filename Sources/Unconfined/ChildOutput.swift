internal import Glibc
package import System

/// Pipe for a child process's standard error. Neither end blocks; output that exceeds the capacity of the pipe is lost.
package final class ChildOutput {
    private let reading: OwnedDescriptor
    private var writing: OwnedDescriptor?
    /// The child's end, for its standard error; valid until `closeChildEnd`.
    package let childNumber: Int32

    package init() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        guard unsafe pipe(&ends) == 0 else { throw .last("pipe") }
        reading = OwnedDescriptor(adopting: ends[0])
        writing = OwnedDescriptor(adopting: ends[1])
        childNumber = ends[1]
        // Not racy: the only thread starts no program in between.
        for end in ends {
            guard fcntl(end, F_SETFD, FD_CLOEXEC) == 0, fcntl(end, F_SETFL, O_NONBLOCK) == 0 else {
                throw .last("fcntl", "of a pipe")
            }
        }
    }

    /// Closes our copy of the child's end.
    package func closeChildEnd() { writing = nil }

    /// Reads what was written since the last call, up to the capacity of a pipe.
    package func read() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe bytes.withUnsafeMutableBytes { raw in
            retrying { unsafe Glibc.read(reading.number, raw.baseAddress, raw.count) }
        }
        return Array(bytes.prefix(max(0, count)))
    }
}
