package import CLinux
package import Glibc
package import Wire

/// One end of the channel between two of our processes: messages over a SOCK_SEQPACKET connection, each checked against
/// the permit table of its sender (`Conversation`).
///
/// Messages for which the queue has no room are kept, in their order. Both buffers are wiped after each message.
package final class ProcessChannel<Sent: ChannelMessage, Received: ChannelMessage>
where Received.Opposite == Sent {
    private let channel: MessageChannel
    private var conversation = Conversation<Received>()
    private var incoming: SecretBuffer
    private var outgoing: SecretBuffer
    private var outbox: [(message: Sent, descriptors: [Int32], keeper: AnyObject?)] = []
    /// Set when the queue was full: nothing can be offered until the channel is writable and `relieve` was called.
    package private(set) var isCongested = false

    private let outboxLimit: Int

    /// - Parameter outboxLimit: number of waiting messages at which the other process counts as one that does not read;
    ///   the default has room for every profile's credentials in a few generations.
    package init(_ channel: consuming MessageChannel, outboxLimit: Int = 8192) throws(SystemError) {
        self.channel = channel
        self.outboxLimit = outboxLimit
        incoming = try SecretBuffer(capacity: Self.limit(of: Received.permits))
        outgoing = try SecretBuffer(capacity: Self.limit(of: Sent.permits))
    }

    /// The end of a process that the broker started, which keeps any number of messages.
    ///
    /// - Parameter socket: a SOCK_SEQPACKET socket to the other process.
    package convenience init(adopting socket: consuming OwnedDescriptor) throws(ChannelFault) {
        let limit = Received.permits.map(\.descriptors.limit).max() ?? 0
        do throws(SystemError) {
            try self.init(MessageChannel(adopting: socket, descriptorLimit: limit), outboxLimit: .max)
        } catch {
            throw .failed(error.description)
        }
    }

    private static func limit<Message>(of permits: [Permit<Message>]) -> Int { permits.map(\.limit).max() ?? 1 }

    /// The descriptor, borrowed.
    package var number: Int32 { channel.number }
    /// State of this end as the receiver of messages.
    package var state: Received.State { conversation.state }
    /// Number of messages that wait for room.
    package var waitingCount: Int { outbox.count }

    /// True if a message waits to be received.
    package var hasMessage: Bool { channel.hasMessage }

    /// The oldest message of this kind that was sent and is not answered; `nil` if there is none.
    package func oldestUnanswered(_ kind: Sent.Kind) -> MessageReference? { conversation.oldestUnanswered(kind) }

    /// The other process sees the channel closed from now on.
    package func hangUp() { channel.hangUp() }

    // MARK: Sending

    /// Sends a message without secrets, or keeps it until there is room.
    ///
    /// - Parameter keeper: keeps the descriptors open as long as they may be needed.
    package func send(
        _ message: Sent, descriptors: [Int32] = [], keeper: AnyObject? = nil
    ) throws(ChannelFault) {
        if try offer(message, descriptors: descriptors) { return }
        guard outbox.count < outboxLimit else { throw .unresponsive }
        outbox.append((message, descriptors, keeper))
        conversation.note(sent: message)
        isCongested = true
    }

    /// Sends a message now, behind all that were kept.
    ///
    /// - Parameters:
    ///   - patience: time to wait for room.
    ///   - fill: copies the secrets to their places in the message.
    /// - Returns: `false` if there is no room.
    package func offer(
        _ message: Sent, descriptors: [Int32] = [], within patience: Duration = .zero,
        fill: (Sent, inout SecretBuffer) -> Void = { _, _ in }
    ) throws(ChannelFault) -> Bool {
        guard outbox.isEmpty else { return false }
        let isSent = try transmit(message, descriptors, patience, fill)
        if isSent { conversation.note(sent: message) }
        isCongested = !isSent
        return isSent
    }

    /// It is writable again: sends what was kept.
    package func relieve() throws(ChannelFault) {
        var sent = 0
        defer {
            outbox.removeFirst(sent)
            isCongested = !outbox.isEmpty
        }
        while sent < outbox.count, try transmit(outbox[sent].message, outbox[sent].descriptors) { sent += 1 }
    }

    /// Sends a message and wipes the buffer; `false` if the queue is full.
    private func transmit(
        _ message: Sent, _ descriptors: [Int32], _ patience: Duration = .zero,
        _ fill: (Sent, inout SecretBuffer) -> Void = { _, _ in }
    ) throws(ChannelFault) -> Bool {
        let length: Int, placed: Sent
        do throws(WireError) {
            (length, placed) = try outgoing.write(message)
        } catch {
            throw .unsendable(error)
        }
        fill(placed, &outgoing)
        defer { outgoing.wipe(first: length) }
        let result = try ChannelFault.of(
            try channel.send(outgoing, count: length, descriptors: descriptors, timeout: patience))
        switch result {
        case .sent: return true
        case .wouldBlock: return false
        case .closed: throw .gone
        }
    }

    // MARK: Receiving

    /// Receives one message and passes it on, with the buffer that its secrets are in.
    ///
    /// - Parameter patience: time to wait for it.
    /// - Returns: `false` if there was none.
    package func receive(
        within patience: Duration = .zero,
        _ body: (Received, ReceivedDescriptors, borrowing SecretBuffer) throws(ChannelFault) -> Void
    ) throws(ChannelFault) -> Bool {
        let received: MessageChannel.Received
        do throws(SystemError) {
            received = try channel.receive(into: &incoming, timeout: patience)
        } catch {
            incoming.wipe()
            throw error.isOfMessage ? .brokeProtocol(error.description) : .failed(error.description)
        }
        switch received {
        case .wouldBlock: return false
        case .closed: throw .gone
        case .message(let length, let descriptors):
            defer { incoming.wipe(first: length) }
            let message = try incoming.withMutableSpan { (bytes) throws(ChannelFault) in
                try conversation.receive(&bytes, length: length, descriptors: descriptors.count)
            }
            try body(message, descriptors, incoming)
            return true
        }
    }

    /// Receives one message that has neither descriptors nor secrets; `nil` if there is none.
    package func receive() throws(ChannelFault) -> Received? {
        var message: Received?
        _ = try receive { (received, _, _) throws(ChannelFault) in message = received }
        return message
    }

    /// Sends a question and waits for its answer.
    ///
    /// - Parameters:
    ///   - patience: time to wait for room, and then for the answer.
    ///   - body: gets the answer, with the buffer that its secrets are in.
    /// - Returns: `false` if there is no answer. The channel is of no use then: an answer that comes late would be
    ///   taken for that of the next question.
    package func ask(
        _ question: Sent, within patience: Duration,
        _ body: (Received, borrowing SecretBuffer) throws(ChannelFault) -> Void
    ) throws(ChannelFault) -> Bool {
        guard try offer(question, within: patience) else { return false }
        return try receive(within: patience) { (answer, _, buffer) throws(ChannelFault) in try body(answer, buffer) }
    }
}

extension ChannelFault {
    /// The value of a system call without which the process cannot continue.
    ///
    /// - Parameter context: what failed, if the description of the call does not show it.
    package static func of<Value: ~Copyable>(
        _ call: @autoclosure () throws(SystemError) -> Value, context: String? = nil
    ) throws(ChannelFault) -> Value {
        do throws(SystemError) {
            return try call()
        } catch {
            throw .failed((context.map { "\($0): " } ?? "") + error.description)
        }
    }
}

extension SystemError {
    /// True if a message is too long or has too many descriptors.
    fileprivate var isOfMessage: Bool { number == .emsgsize || number == .emfile }
}

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

    /// True if a message waits to be received, and the other end is open.
    package var hasMessage: Bool {
        var entry = pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, 0) > 0 && entry.revents == Int16(POLLIN)
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
            return try unsafe send(&message, descriptors, over: socket).get()
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
        let received = unsafe withUnsafeMutablePointer(to: &part) { part in
            unsafe withUnsafeTemporaryAllocation(byteCount: space, alignment: 16) { control -> Result<Int, Errno> in
                var message = unsafe msghdr()
                unsafe message.msg_iov = part
                unsafe message.msg_iovlen = 1
                unsafe message.msg_control = control.baseAddress
                unsafe message.msg_controllen = control.count
                let wanted = Int32(MSG_CMSG_CLOEXEC) | Int32(MSG_DONTWAIT)
                let length = retrying { unsafe recvmsg(socket, &message, wanted) }
                guard length >= 0 else { return .failure(.last) }
                // Alignment padding may have room for one descriptor more than the limit.
                var numbers = [Int32](repeating: -1, count: limit + 1)
                let count = unsafe linux_rights_take(&message, &numbers, numbers.count)
                descriptors.adopt(numbers.prefix(count))
                flags = unsafe message.msg_flags
                if count > limit { flags |= Int32(MSG_CTRUNC) }
                return .success(length)
            }
        }
        return try received.get()
    }

    // A result, because the closure of withUnsafeTemporaryAllocation cannot throw a typed error in Swift 6.2.
    @unsafe private static func send(_ message: inout msghdr, _ descriptors: [Int32], over socket: Int32)
        -> Result<Int, Errno>
    {
        guard !descriptors.isEmpty else { return unsafe send(&message, over: socket) }
        let space = linux_rights_space(descriptors.count)
        return unsafe withUnsafeTemporaryAllocation(byteCount: space, alignment: 16) { control in
            unsafe message.msg_control = control.baseAddress
            unsafe message.msg_controllen = control.count
            unsafe linux_rights_put(&message, descriptors, descriptors.count)
            return unsafe send(&message, over: socket)
        }
    }

    @unsafe private static func send(_ message: inout msghdr, over socket: Int32) -> Result<Int, Errno> {
        let count = retrying { unsafe sendmsg(socket, &message, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)) }
        return count >= 0 ? .success(count) : .failure(.last)
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
