internal import CLinux
internal import Glibc

/// How many bytes of a TCP connection were written to its socket and read from it, since it was made.
package struct StreamProgress: Sendable, Equatable {
    package let written: UInt64
    package let read: UInt64

    /// - Returns: `nil` where the kernel cannot tell, or it is no TCP socket.
    package init?(of socket: Int32) {
        var written: UInt64 = 0
        var read: UInt64 = 0
        guard unsafe linux_stream_progress(socket, &written, &read) == 0 else { return nil }
        self.written = written
        self.read = read
    }
}
