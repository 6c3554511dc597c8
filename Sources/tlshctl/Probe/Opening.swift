internal import Handshake
internal import InspectWire
internal import System
internal import TLSWire
internal import Wire

/// Start of a connection before TLS, in the consumer's protocol.
enum Opening {
    /// Description for the report, or the reason why TLS cannot start.
    typealias Result = (text: String, failure: HandshakeFailure?)

    /// Requests TLS from an RPC server.
    static func rpc(on connection: Connection, _ progress: inout Progress) -> Result {
        let transaction = UInt32.random(in: 1...UInt32.max)
        do throws(Errno) {
            try connection.send(RPCTLSProbe.call(transaction: transaction))
        } catch {
            return ("", HandshakeFailure(.connectionReset, error.name))
        }
        do throws(Connection.ReadProblem) {
            guard connection.wait(for: .read, &progress) else { throw .timedOut }
            if let failure = strangeStart(connection.peek(12)) { return ("", failure) }
            return try answer(on: connection, transaction, &progress)
        } catch {
            switch error {
            case .closed: return ("", HandshakeFailure(.peerClosed, "instead of answering an RPC call"))
            case .broken(let number): return ("", HandshakeFailure(.connectionReset, number.name))
            case .timedOut: return ("", HandshakeFailure(.deadlineExceeded, "no answer to an RPC call"))
            }
        }
    }

    /// Failure if the first bytes cannot be an RPC reply.
    private static func strangeStart(_ bytes: [UInt8]) -> HandshakeFailure? {
        guard let first = bytes.first else { return nil }
        if first & 0x80 != 0 || bytes.count < 4 { return nil }
        if first == 0x15 || first == 0x16 {
            return HandshakeFailure(
                .protocolViolation, "it speaks TLS from the first byte, which NFS does not; probe tls:// instead")
        }
        return HandshakeFailure(
            .peerSpeaksPlainText, "it is not an RPC server: it sent \(PlainText(lookingAt: bytes).description)")
    }

    private static func answer(
        on connection: Connection, _ transaction: UInt32, _ progress: inout Progress
    ) throws(Connection.ReadProblem) -> Result {
        let answer: RPCTLSAnswer
        let reply = try record(on: connection, &progress)
        do throws(WireError) {
            answer = try RPCTLSAnswer(from: reply.span, transaction: transaction)
        } catch {
            return ("", HandshakeFailure(.protocolViolation, "its answer is not an RPC reply: \(error.description)"))
        }
        switch answer {
        case .startTLS: return ("RPC answered STARTTLS", nil)
        case .acceptedWithoutTLS:
            return ("", HandshakeFailure(.peerSpeaksPlainText, "it answered RPC and offered no TLS"))
        case .flavorRefused(let status):
            return ("", HandshakeFailure(.peerSpeaksPlainText, "it refused AUTH_TLS with \(name(ofStatus: status))"))
        case .versionRefused: return ("", HandshakeFailure(.protocolViolation, "it does not support RPC version 2"))
        }
    }

    /// Receives a whole RPC record of at most `RPCTLSProbe.answerLimit` bytes; a longer one is not an answer to the
    /// probe.
    private static func record(
        on connection: Connection, _ progress: inout Progress
    ) throws(Connection.ReadProblem) -> [UInt8] {
        var reply: [UInt8] = []
        while true {
            let head = try connection.receive(4, &progress)
            guard let mark = try? RPCTLSProbe.RecordMark(from: head.span),
                mark.length <= RPCTLSProbe.answerLimit - reply.count
            else { return reply }
            reply += try connection.receive(mark.length, &progress)
            if mark.isLast { return reply }
        }
    }

    /// RFC 5531 §9, auth_stat.
    private static func name(ofStatus status: UInt32) -> String {
        switch status {
        case 1: "AUTH_BADCRED"
        case 2: "AUTH_REJECTEDCRED"
        case 3: "AUTH_BADVERF"
        case 5: "AUTH_TOOWEAK"
        default: "authentication error \(status)"
        }
    }

    /// Returns `true` if an NVMe/TCP target answers without TLS. Tested on a new connection after the first one was
    /// closed without an answer (NVMe/TCP transport specification §3.6.2.2).
    static func greetsPlainly(_ target: ProbeTarget, seconds: Int) -> Bool {
        guard let connection = try? Connection(target, seconds: seconds) else { return false }
        // ICReq: type, flags, header length, data offset, total length, format version 0; the rest is zero.
        let request: [UInt8] = [0, 0, 128, 0, 128] + [UInt8](repeating: 0, count: 123)
        var progress = Progress("asking \(connection.peer) without TLS")
        guard (try? connection.send(request)) != nil, let reply = try? connection.receive(8, &progress) else {
            return false
        }
        return PlainText(lookingAt: reply) == .nvmeInitializeResponse
    }
}
