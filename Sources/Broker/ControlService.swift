internal import Control
internal import Glibc
internal import Handshake
internal import Settings
internal import System

/// The control socket's side of the broker: who is connected, and what was kept for the answers.
final class ControlService {
    var listener: ControlListener?
    var listenerSource: BrokerSource?
    /// What was tried last; `nil` where the socket is none of this process's business.
    var settings: ControlSettings?
    /// Why the socket is not as the settings want it; empty when all is well.
    var problem = ""
    var clients: [Int: ControlClient] = [:]
    private var lastClient = 0
    private(set) var history = HandshakeHistory()
    /// Questions that were refused, since the start.
    private(set) var refusals: [ControlRequest.Refusal: Int] = [:]
    /// Connections that were closed because they took too long, since the start.
    private(set) var timeouts = 0
    private let startedAt = Clock.monotonicNanoseconds()

    /// How many may ask at once.
    static let clientLimit = 16
    /// How long one may take, in nanoseconds.
    static let patience: UInt64 = 2_000_000_000
    /// Connections taken in one turn of the loop.
    static let acceptsPerTurn = 32

    func note(_ line: LogLine, of request: HandshakeRequest, _ result: HandshakeResult) {
        history.add(HandshakeRecord(line, of: request, result, time: Self.now))
    }

    func note(_ refusal: ControlRequest.Refusal) { refusals[refusal, default: 0] += 1 }

    /// When the next connection has taken too long; `nil` for never.
    var nextExpiry: UInt64? { clients.values.map(\.deadline).min() }

    /// Closes the connections that took too long.
    func expire(_ now: UInt64) {
        for (number, client) in clients where client.deadline <= now {
            drop(number)
            timeouts += 1
        }
    }

    /// Closes a connection.
    func drop(_ number: Int) {
        clients.removeValue(forKey: number)?.source?.cancel()
    }

    func admit(_ socket: consuming OwnedDescriptor) -> (number: Int, client: ControlClient) {
        lastClient += 1
        let client = ControlClient(socket, until: Clock.monotonicNanoseconds() + Self.patience)
        clients[lastClient] = client
        return (lastClient, client)
    }

    /// Since the start.
    var seconds: Int { Int((Clock.monotonicNanoseconds() - startedAt) / 1_000_000_000) }

    /// Seconds since 1970-01-01T00:00:00Z.
    static var now: Int { time(nil) }
}

/// A listener in a box, so that the broker can be without.
final class ControlListener {
    let socket: UnixListener
    let settings: ControlSettings

    init(path: String, _ settings: ControlSettings) throws(SystemError) {
        socket = try UnixListener(path: path, group: settings.group)
        self.settings = settings
    }
}

/// One who asks: a request comes, an answer goes, and it is over.
final class ControlClient {
    private let socket: OwnedDescriptor
    /// CLOCK_MONOTONIC nanoseconds.
    let deadline: UInt64
    private var question: [UInt8] = []
    private var answer: ArraySlice<UInt8>?
    private var isAtEnd = false
    var source: BrokerSource?

    init(_ socket: consuming OwnedDescriptor, until deadline: UInt64) {
        self.socket = socket
        self.deadline = deadline
    }

    var number: Int32 { socket.number }

    /// What is to be done with it.
    enum Step: Equatable {
        /// Wait until there is more to read.
        case read
        /// Wait until there is room to write.
        case write
        case close
    }

    /// Goes on as far as it can without waiting.
    ///
    /// - Parameter reply: the answer to a request, or to what is none.
    func proceed(_ reply: (Result<ControlRequest, ControlRequest.Refusal>) -> String) -> Step {
        while answer == nil {
            // One byte more than a request may have tells that it is too long.
            let room = ControlRequest.limit + 1 - question.count
            switch UnixStream.read(number, into: &question, limit: room) {
            case .wouldBlock: return .read
            case .closed: isAtEnd = true
            case .moved: break
            }
            guard isAtEnd || question.count > ControlRequest.limit || question.contains(UInt8(ascii: "\n")) else {
                continue
            }
            guard !question.isEmpty else { return .close }
            let request = Result { () throws(ControlRequest.Refusal) in try ControlRequest(parsing: question) }
            answer = Array(reply(request).utf8)[...]
        }
        return send()
    }

    private func send() -> Step {
        while let rest = answer, !rest.isEmpty {
            switch UnixStream.write(number, rest) {
            case .wouldBlock: return .write
            case .closed: return .close
            case .moved(let count): answer = rest.dropFirst(count)
            }
        }
        return .close
    }
}
