internal import Handshake
internal import Policy
internal import System
internal import Unconfined
internal import Upcall
internal import Wire

/// A request of a simulated kernel consumer, and its results.
final class Consumer {
    let number: Int
    let request: Result<HandshakeRequest, HandshakeFailure>
    let stream: Stream
    /// Time of ACCEPT; `nil` before.
    var acceptedAt: UInt64?
    var status: Status?
    var reference: SessionReference?
    /// Successes that a worker reported while it ran this handshake.
    var successes: [Success] = []

    /// A success that a worker reported.
    struct Success {
        let isAuthenticated: Bool
        /// Serial of the reported PSK, if the worker had been given it.
        let serial: KeySerial?
        /// True if the connection was established.
        let wasOpen: Bool
    }

    init(_ number: Int, _ request: Result<HandshakeRequest, HandshakeFailure>, _ stream: Stream) {
        self.number = number
        self.request = request
        self.stream = stream
    }

    /// Latest time of the answer.
    var limit: UInt64? {
        guard let acceptedAt, case .success(let request) = request else { return acceptedAt }
        let allowance = Clock.nanoseconds(of: request.allowance)
        return acceptedAt + max(allowance + 250_000_000, Clock.nanoseconds(of: request.allowance * 1.05))
    }
}

/// The connection of a consumer with a simulated peer.
final class Stream: ConsumerStream {
    let number: Int
    /// Usually IPPROTO_TCP.
    let kind: Int32
    private let cookieNumber: UInt64
    var state = TCPConnection.State.open
    var unread = 0
    var isReset = false
    var waitingRecord: TCPConnection.Record?
    var received: UInt64 = 0
    var sent: UInt64 = 0

    init(_ number: Int, kind: Int32 = 6, cookie: UInt64? = nil) {
        self.number = number
        self.kind = kind
        cookieNumber = cookie ?? UInt64(number)
    }

    var hasUnread: Bool { unread > 0 }

    func discard(_ limit: Int) -> TCPConnection.Discarded {
        if isReset { return .broken }
        guard unread > 0 else { return state == .closedByPeer || state == .ended ? .end : .nothing }
        let count = min(unread, limit)
        unread -= count
        received += UInt64(count)
        return .bytes(count)
    }

    func shutDownSending() {
        switch state {
        case .open: state = .closing
        case .closedByPeer: state = .ended
        case .closing, .ended: break
        }
    }

    func send(_ bytes: [UInt8]) -> Bool {
        guard state == .open || state == .closedByPeer else { return false }
        sent += UInt64(bytes.count)
        return true
    }

    /// The peer sends FIN.
    func closeByPeer() {
        switch state {
        case .open: state = .closedByPeer
        case .closing: state = .ended
        case .closedByPeer, .ended: break
        }
    }

    /// The peer sends RST.
    func reset() {
        state = .ended
        isReset = true
        unread = 0
    }

    var progress: StreamProgress? { StreamProgress(written: sent, read: received) }
    var delivery: StreamDelivery? { nil }
    func transportProtocol() -> Int32 { kind }
    func peerAddress() -> String { "192.0.2.\(number % 5 + 1):\(700 + number)" }
    func localPort() -> UInt16 { 2049 }
    func cookie() -> UInt64 { cookieNumber }
}

extension Consumer {
    /// Text for the trace.
    var text: String {
        switch request {
        case .failure(let failure): "malformed (\(failure.detail))"
        case .success(let request) where request.keyUpdate != nil: "key update"
        case .success(let request):
            "\(request.role) \(request.authentication), timeout \(request.timeout.map { "\($0)" } ?? "none")"
                + (request.certificate == nil ? "" : ", own certificate")
        }
    }
}
