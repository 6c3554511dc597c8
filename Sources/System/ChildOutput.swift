internal import Glibc

/// What a child process writes to its standard error: a pipe at which neither end ever waits. What nobody has read
/// while it was full is lost.
package final class ChildOutput {
    private let reading: OwnedDescriptor
    private var writing: OwnedDescriptor?
    /// The end that the child is to have as its standard error; valid until `closeChildEnd`.
    package let childNumber: Int32

    package init() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        guard unsafe pipe(&ends) == 0 else { throw .last("pipe") }
        reading = OwnedDescriptor(adopting: ends[0])
        writing = OwnedDescriptor(adopting: ends[1])
        childNumber = ends[1]
        // There is one thread, which starts no program in between.
        for end in ends {
            guard fcntl(end, F_SETFD, FD_CLOEXEC) == 0, fcntl(end, F_SETFL, O_NONBLOCK) == 0 else {
                throw .last("fcntl", "of a pipe")
            }
        }
    }

    /// Gives up the child's end, so that the child alone has it.
    package func closeChildEnd() { writing = nil }

    /// What was written since, at most as much as a pipe holds.
    package func read() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe bytes.withUnsafeMutableBytes { raw in
            retrying { unsafe Glibc.read(reading.number, raw.baseAddress, raw.count) }
        }
        return Array(bytes.prefix(max(0, count)))
    }
}
