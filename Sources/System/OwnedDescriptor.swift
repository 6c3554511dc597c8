internal import CLinux
internal import Glibc

/// A file descriptor with exactly one owner. It is closed on deinit; closing it twice or using it afterwards does not
/// compile.
package struct OwnedDescriptor: ~Copyable, Sendable {
    /// The number, borrowed: valid while this value lives, and never to be closed.
    package let number: Int32

    /// Takes ownership of an open descriptor.
    package init(adopting number: Int32) {
        self.number = number
    }

    deinit {
        _ = Glibc.close(number)
    }

    /// Closes the descriptor. No error is reported: Linux frees the descriptor whatever close(2) returns.
    package consuming func close() {}

    /// Releases ownership. The caller must close the descriptor.
    package consuming func release() -> Int32 {
        let released = number
        discard self
        return released
    }

    /// Writes all bytes to the open file behind a borrowed number.
    ///
    /// - Throws: `write` with the file's name.
    package static func write(_ bytes: Span<UInt8>, to number: Int32, _ name: String) throws(SystemError) {
        var written = 0
        while written < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { raw in
                retrying { unsafe Glibc.write(number, raw.baseAddress?.advanced(by: written), raw.count - written) }
            }
            guard count > 0 else { throw .last("write", name) }
            written += count
        }
    }

    /// Returns `true` if the number is that of an open descriptor.
    package static func isOpen(_ number: Int32) -> Bool { fcntl(number, F_GETFD) >= 0 }

    /// A new descriptor for the same open file, close-on-exec (F_DUPFD_CLOEXEC).
    package func duplicate() throws(SystemError) -> OwnedDescriptor {
        try Self.duplicate(number)
    }

    /// A new descriptor for the open file behind a borrowed number.
    ///
    /// - Parameter minimum: lowest number of the new descriptor.
    package static func duplicate(_ number: Int32, from minimum: Int32 = 0) throws(SystemError) -> OwnedDescriptor {
        let copy = fcntl(number, F_DUPFD_CLOEXEC, minimum)
        guard copy >= 0 else { throw .last("fcntl F_DUPFD_CLOEXEC") }
        return OwnedDescriptor(adopting: copy)
    }
}

/// System calls on sockets, which are borrowed. They do not block, and do not raise SIGPIPE.
package enum Socket {
    /// Sends as many bytes as the socket accepts.
    ///
    /// - Throws: EAGAIN if it accepts none now.
    package static func send(_ bytes: Span<UInt8>, over socket: Int32) throws(Errno) -> Int {
        try unsafe bytes.withUnsafeBytes { (raw) throws(Errno) in
            let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
            let count = retrying { unsafe Glibc.send(socket, raw.baseAddress, raw.count, flags) }
            guard count >= 0 else { throw .last }
            return count
        }
    }

    /// Receives at most `limit` bytes.
    ///
    /// - Parameter peeking: true to leave the bytes in the queue.
    /// - Returns: The bytes; none if the other end is closed.
    /// - Throws: EAGAIN if there are none now.
    package static func receive(
        atMost limit: Int, from socket: Int32, peeking: Bool = false
    ) throws(Errno) -> [UInt8] {
        let flags = Int32(MSG_DONTWAIT) | (peeking ? Int32(MSG_PEEK) : 0)
        var error: Errno?
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            let received = retrying { unsafe recv(socket, buffer.baseAddress, limit, flags) }
            if received < 0 { error = .last }
            count = max(0, received)
        }
        if let error { throw error }
        return bytes
    }

    /// Sets an option whose value is a number; `false` if the kernel refuses it.
    @discardableResult
    package static func setOption(_ option: Int32, at level: Int32, of socket: Int32, to value: Int32) -> Bool {
        unsafe withUnsafeBytes(of: value) { raw in
            unsafe setsockopt(socket, level, option, raw.baseAddress, socklen_t(raw.count)) == 0
        }
    }
}
