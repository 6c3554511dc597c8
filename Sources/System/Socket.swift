internal import CLinux
internal import Glibc

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
