internal import CLinux
internal import Glibc

/// One end of a SOCK_SEQPACKET connection between two of our processes: whole messages, with descriptors.
///
/// It never blocks, whatever the flags of the descriptor, except in the calls with a timeout.
package struct MessageChannel: ~Copyable {
    private let socket: OwnedDescriptor
    /// Maximum number of descriptors per message. More are an error.
    private let descriptorLimit: Int

    /// - Parameter descriptorLimit: maximum number of descriptors per message, at most 253 (SCM_MAX_FD).
    package init(adopting socket: consuming OwnedDescriptor, descriptorLimit: Int = 8) {
        precondition(descriptorLimit >= 0 && descriptorLimit <= 253)
        self.socket = socket
        self.descriptorLimit = descriptorLimit
    }

    /// The descriptor, borrowed.
    package var number: Int32 { socket.number }

    /// Shuts down both directions.
    package borrowing func hangUp() { _ = shutdown(socket.number, Int32(SHUT_RDWR)) }

    /// Closes the descriptor.
    package consuming func close() {}

    /// Result of a send.
    package enum SendResult: Sendable, Equatable {
        case sent
        /// The queue is full. Retry when the descriptor is writable.
        case wouldBlock
        /// The other end is closed.
        case closed
    }

    /// Result of a receive.
    package enum Received {
        /// A message of `length` bytes, never 0, and its descriptors.
        case message(length: Int, descriptors: ReceivedDescriptors)
        case wouldBlock
        /// The other end is closed, and all its messages have been read.
        case closed
    }

    /// Makes a connected pair, both ends close-on-exec, with room for several messages of the maximum size.
    ///
    /// - Parameter room: send buffer of each end in bytes, of which the kernel doubles the number.
    package static func pair(room: Int32 = 1 << 20) throws(SystemError) -> MessageChannelPair {
        var numbers: (Int32, Int32) = (-1, -1)
        let result = unsafe withUnsafeMutableBytes(of: &numbers) { raw in
            // Two adjacent Int32, as socketpair(2) requires.
            unsafe socketpair(
                AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0,
                raw.baseAddress?.assumingMemoryBound(to: Int32.self))
        }
        guard result == 0 else { throw .last("socketpair") }
        let pair = MessageChannelPair(
            MessageChannel(adopting: OwnedDescriptor(adopting: numbers.0)),
            MessageChannel(adopting: OwnedDescriptor(adopting: numbers.1)))
        for number in [numbers.0, numbers.1] { setSendBuffer(of: number, to: room) }
        return pair
    }

    /// Sends the first `count` bytes of `buffer` as one message, with copies of `descriptors`, which stay the caller's.
    ///
    /// - Throws: `sendmsg`; EMSGSIZE for a message that can never be sent, ETOOMANYREFS if too many descriptors are in
    ///   flight.
    package func send(
        _ buffer: borrowing SecretBuffer, count: Int, descriptors: [Int32] = []
    ) throws(SystemError) -> SendResult {
        precondition(count > 0 && count <= buffer.capacity)
        do throws(Errno) {
            _ = try unsafe buffer.withUnsafeBytes { (bytes) throws(Errno) in
                try unsafe ControlMessage.send(bytes.baseAddress, count, descriptors, over: socket.number)
            }
            return .sent
        } catch {
            switch error {
            case .eagain: return .wouldBlock
            case .epipe, .econnreset, .enotconn: return .closed
            default:
                throw SystemError("sendmsg", error, "of \(count) bytes with \(descriptors.count) descriptors")
            }
        }
    }

    /// Receives one message into `buffer`. After an error all descriptors of the message are closed.
    ///
    /// - Throws: `recvmsg`; EMSGSIZE if the message is longer than `buffer`, EMFILE if it has more descriptors than
    ///   allowed or than this process can open. `buffer` then contains part of the message.
    package func receive(into buffer: inout SecretBuffer) throws(SystemError) -> Received {
        var flags: Int32 = 0
        let descriptors = ReceivedDescriptors()
        let socket = socket.number, limit = descriptorLimit
        let length: Int
        do throws(Errno) {
            length = try unsafe buffer.withUnsafeMutableBytes { (bytes) throws(Errno) in
                try unsafe ControlMessage.receive(into: bytes, &flags, descriptors, limit: limit, from: socket)
            }
        } catch {
            switch error {
            case .eagain: return .wouldBlock
            case .econnreset, .enotconn: return .closed
            default: throw SystemError("recvmsg", error)
            }
        }
        guard flags & Int32(MSG_CTRUNC) == 0 else {
            throw SystemError("recvmsg", EMFILE, "of more descriptors than \(limit), or than can be opened")
        }
        guard flags & Int32(MSG_TRUNC) == 0 else {
            throw SystemError("recvmsg", EMSGSIZE, "of more than \(buffer.capacity) bytes")
        }
        return length == 0 ? .closed : .message(length: length, descriptors: descriptors)
    }

    /// Sends like `send(_:count:descriptors:)`, but waits for room up to `timeout`; then `.wouldBlock`.
    package func send(
        _ buffer: borrowing SecretBuffer, count: Int, descriptors: [Int32] = [], timeout: Duration
    ) throws(SystemError) -> SendResult {
        let first = try send(buffer, count: count, descriptors: descriptors)
        guard first == .wouldBlock, timeout > .zero else { return first }
        let deadline = Clock.deadline(in: timeout)
        while try wait(for: POLLOUT, until: deadline) {
            let result = try send(buffer, count: count, descriptors: descriptors)
            if result != .wouldBlock { return result }
        }
        return .wouldBlock
    }

    /// Receives like `receive(into:)`, but waits for a message up to `timeout`; then `.wouldBlock`.
    package func receive(into buffer: inout SecretBuffer, timeout: Duration) throws(SystemError) -> Received {
        let first = try receive(into: &buffer)
        guard case .wouldBlock = first, timeout > .zero else { return first }
        let deadline = Clock.deadline(in: timeout)
        while try wait(for: POLLIN, until: deadline) {
            let result = try receive(into: &buffer)
            guard case .wouldBlock = result else { return result }
        }
        return .wouldBlock
    }

    /// Waits until the socket is ready or closed; `false` if the deadline passes first.
    private func wait(for events: Int32, until deadline: UInt64) throws(SystemError) -> Bool {
        while true {
            let now = Clock.monotonicNanoseconds()
            guard now < deadline else { return false }
            var entry = pollfd(fd: socket.number, events: Int16(events), revents: 0)
            let result = unsafe poll(&entry, 1, Clock.pollTimeout(deadline - now))
            if result > 0 { return true }
            if result < 0, errno != EINTR { throw .last("poll") }
        }
    }

    private static func setSendBuffer(of number: Int32, to room: Int32) {
        // Best effort: only with CAP_NET_ADMIN may it exceed net.core.wmem_max. The default suffices for one message.
        if !Socket.setOption(SO_SNDBUFFORCE, at: SOL_SOCKET, of: number, to: room) {
            Socket.setOption(SO_SNDBUF, at: SOL_SOCKET, of: number, to: room)
        }
    }
}

/// Both ends of a new connection. Each can be taken once.
package struct MessageChannelPair: ~Copyable {
    private var first: MessageChannel?
    private var second: MessageChannel?

    fileprivate init(_ first: consuming MessageChannel, _ second: consuming MessageChannel) {
        self.first = consume first
        self.second = consume second
    }

    /// Takes the first end. Traps if it was taken before.
    package mutating func takeFirst() -> MessageChannel {
        guard let taken = first.take() else { preconditionFailure("the first end was taken before") }
        return taken
    }

    /// Takes the second end. Traps if it was taken before.
    package mutating func takeSecond() -> MessageChannel {
        guard let taken = second.take() else { preconditionFailure("the second end was taken before") }
        return taken
    }
}
