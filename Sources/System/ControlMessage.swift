package import CLinux
package import Glibc

/// sendmsg(2) and recvmsg(2) with SCM_RIGHTS. Neither blocks.
package enum ControlMessage {
    /// Sends bytes and `descriptors`, to `address` if the socket is not connected. The arguments are not retained.
    ///
    /// - Returns: The number of bytes sent.
    @unsafe package static func send(
        _ bytes: UnsafeRawPointer?, _ count: Int, _ descriptors: [Int32], over socket: Int32,
        to address: UnsafeMutablePointer<sockaddr_un>? = nil, _ length: socklen_t = 0
    ) throws(Errno) -> Int {
        var part = unsafe iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes), iov_len: count)
        return try unsafe withUnsafeMutablePointer(to: &part) { (part) throws(Errno) in
            var message = unsafe msghdr()
            unsafe message.msg_name = UnsafeMutableRawPointer(address)
            unsafe message.msg_namelen = length
            unsafe message.msg_iov = part
            unsafe message.msg_iovlen = 1
            return try unsafe send(&message, descriptors, over: socket)
        }
    }

    /// Receives bytes and at most `limit` descriptors. Each received descriptor is owned by `descriptors` at once, so
    /// that none can leak. `flags` receives the flags of recvmsg(2); MSG_CTRUNC is also set if there were more than
    /// `limit` descriptors.
    ///
    /// - Returns: The number of bytes received.
    @unsafe static func receive(
        into bytes: UnsafeMutableRawBufferPointer, _ flags: inout Int32, _ descriptors: ReceivedDescriptors, limit: Int,
        from socket: Int32
    ) throws(Errno) -> Int {
        var part = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
        let space = linux_rights_space(limit)
        return try unsafe withUnsafeMutablePointer(to: &part) { (part) throws(Errno) in
            try unsafe withUnsafeTemporaryAllocation(byteCount: space, alignment: 16) { (control) throws(Errno) in
                var message = unsafe msghdr()
                unsafe message.msg_iov = part
                unsafe message.msg_iovlen = 1
                unsafe message.msg_control = control.baseAddress
                unsafe message.msg_controllen = control.count
                let wanted = Int32(MSG_CMSG_CLOEXEC) | Int32(MSG_DONTWAIT)
                let length = retrying { unsafe recvmsg(socket, &message, wanted) }
                guard length >= 0 else { throw .last }
                // Alignment padding may have room for one descriptor more than the limit.
                var numbers = [Int32](repeating: -1, count: limit + 1)
                let count = unsafe linux_rights_take(&message, &numbers, numbers.count)
                descriptors.adopt(numbers.prefix(count))
                flags = unsafe message.msg_flags
                if count > limit { flags |= Int32(MSG_CTRUNC) }
                return length
            }
        }
    }

    @unsafe private static func send(_ message: inout msghdr, _ descriptors: [Int32], over socket: Int32) throws(Errno)
        -> Int
    {
        guard !descriptors.isEmpty else { return try unsafe send(&message, over: socket) }
        let space = linux_rights_space(descriptors.count)
        return try unsafe withUnsafeTemporaryAllocation(byteCount: space, alignment: 16) { (control) throws(Errno) in
            unsafe message.msg_control = control.baseAddress
            unsafe message.msg_controllen = control.count
            unsafe linux_rights_put(&message, descriptors, descriptors.count)
            return try unsafe send(&message, over: socket)
        }
    }

    @unsafe private static func send(_ message: inout msghdr, over socket: Int32) throws(Errno) -> Int {
        let count = retrying { unsafe sendmsg(socket, &message, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)) }
        guard count >= 0 else { throw .last }
        return count
    }
}

/// The descriptors of a received message, in order. Those that are not taken are closed on deinit.
package final class ReceivedDescriptors {
    private var numbers: [Int32] = []
    private var taken = 0

    /// An empty list.
    package init() {}

    deinit {
        for number in numbers.dropFirst(taken) { _ = Glibc.close(number) }
    }

    /// Number of descriptors that are left.
    package var count: Int { numbers.count - taken }

    /// The next descriptor, which the caller then owns; `nil` if all have been taken.
    package func take() -> OwnedDescriptor? {
        guard taken < numbers.count else { return nil }
        defer { taken += 1 }
        return OwnedDescriptor(adopting: numbers[taken])
    }

    /// Adds descriptors, which this list then owns.
    package func adopt(_ arrived: ArraySlice<Int32>) {
        numbers += arrived
    }
}
