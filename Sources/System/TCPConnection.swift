internal import CLinux
internal import Glibc

/// A connected TCP socket whose data belongs to the consumer: its state, and ways to end it. Data of the peer is
/// neither looked at nor copied to this process, even if it is discarded.
package struct TCPConnection: Sendable {
    package enum State: Sendable, Equatable {
        /// Both sides may send.
        case open
        /// The peer has sent FIN; CLOSE_WAIT.
        case closedByPeer
        /// We have sent FIN; the peer's FIN or its acknowledgement of ours is outstanding.
        case closing
        /// Nothing more can arrive: both sides have closed, or a reset was received.
        case ended
    }

    /// A TLS record, classified by content type (RFC 8446 §5.1).
    package enum Record: Sendable, Equatable {
        case alert
        case data
        /// For example a session ticket.
        case other
    }

    package enum Discarded: Sendable, Equatable {
        case bytes(Int)
        case nothing
        /// The queue is empty and the peer has sent FIN.
        case end
        /// The connection was reset, or its bytes cannot be discarded.
        case broken
    }

    /// Borrowed.
    package let socket: Int32

    package init(_ socket: Int32) {
        self.socket = socket
    }

    package var state: State {
        // The first byte of struct tcp_info is the state (include/uapi/linux/tcp.h).
        var state: UInt8 = 0
        var length = socklen_t(MemoryLayout<UInt8>.size)
        guard unsafe getsockopt(socket, Int32(IPPROTO_TCP), TCP_INFO, &state, &length) == 0 else { return .ended }
        return switch state {
        case UInt8(TCP_ESTABLISHED): .open
        case UInt8(TCP_CLOSE_WAIT): .closedByPeer
        case UInt8(TCP_CLOSE): .ended
        default: .closing
        }
    }

    /// True if data of the peer is waiting to be read.
    package var hasUnread: Bool { recv(socket, nil, 1, Int32(MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT)) > 0 }

    /// Type of the record that kernel TLS would return next; the record is not consumed. `nil` if there is none.
    /// Requires TLS_RX.
    package var waitingRecord: Record? {
        switch linux_tls_record_type(socket) {
        case 21: .alert
        case 23: .data
        case 1...: .other
        default: nil
        }
    }

    /// Consumes an alert that `waitingRecord` showed, and returns its description (RFC 8446 §6); `nil` if it is
    /// malformed.
    package func takeAlert() -> UInt8? {
        let description = linux_tls_take_alert(socket)
        return description >= 0 ? UInt8(truncatingIfNeeded: description) : nil
    }

    /// Discards up to `limit` bytes of the receive queue.
    package func discard(_ limit: Int) -> Discarded {
        // With MSG_TRUNC, TCP drops the bytes in the kernel (tcp(7)).
        let count = retrying { recv(socket, nil, limit, Int32(MSG_TRUNC | MSG_DONTWAIT)) }
        return switch count {
        case 1...: .bytes(count)
        case 0: .end
        default: errno == EAGAIN ? .nothing : .broken
        }
    }

    /// Sends FIN after all data. The peer may continue to send.
    package func shutDownSending() { _ = shutdown(socket, Int32(SHUT_WR)) }

    /// Ends both directions. The kernel reports the socket's state to its owner, even if the connection has ended
    /// already (`inet_shutdown` in net/ipv4/af_inet.c).
    package func shutDown() { _ = shutdown(socket, Int32(SHUT_RDWR)) }

    /// TCP_NODELAY: small segments are sent at once. True if the socket cannot tell.
    package var isUndelayed: Bool {
        get { option(TCP_NODELAY, at: Int32(IPPROTO_TCP)) != 0 }
        nonmutating set { Socket.setOption(TCP_NODELAY, at: Int32(IPPROTO_TCP), of: socket, to: newValue ? 1 : 0) }
    }

    /// Sends a few bytes; `false` unless the socket accepts all of them now.
    package func send(_ bytes: [UInt8]) -> Bool {
        (try? Socket.send(bytes.span, over: socket)) == bytes.count
    }

    /// SO_ERROR: the error of a connect(2) that has ended.
    package var error: Errno { Errno(option(SO_ERROR, at: SOL_SOCKET) ?? 0) }

    /// SO_REUSEPORT.
    package var reusesPort: Bool { option(SO_REUSEPORT, at: SOL_SOCKET) ?? 0 != 0 }

    private func option(_ option: Int32, at level: Int32) -> Int32? {
        var value: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        guard unsafe getsockopt(socket, level, option, &value, &size) == 0 else { return nil }
        return value
    }
}

/// Random pauses at the steps that end a refused connection, so that every order of alert, FIN, reset and DONE occurs
/// in tests. Compiled in with FAULT_INJECTION only (`make soak-faults`); otherwise it does nothing.
package enum FaultInjection {
    /// Waits 0 to 50 ms, with a system call that the sandboxes allow.
    package static func pause() {
        #if FAULT_INJECTION
            _ = poll(nil, 0, Int32.random(in: 0...50))
        #endif
    }
}
