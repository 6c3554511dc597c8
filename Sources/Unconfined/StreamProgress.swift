internal import CLinux

/// Bytes of a TCP connection written to and read from its socket since it was created.
package struct StreamProgress: Sendable, Equatable {
    package let written: UInt64
    package let read: UInt64

    package init(written: UInt64, read: UInt64) {
        self.written = written
        self.read = read
    }

    /// - Returns: `nil` if it is not a TCP socket, or the kernel lacks the counters.
    package init?(of socket: Int32) {
        var written: UInt64 = 0
        var read: UInt64 = 0
        guard unsafe linux_stream_progress(socket, &written, &read) == 0 else { return nil }
        self.written = written
        self.read = read
    }
}
