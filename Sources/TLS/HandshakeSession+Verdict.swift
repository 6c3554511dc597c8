internal import CGnuTLS
internal import Handshake
internal import System
internal import TLSWire
internal import X509

extension HandshakeSession {
    /// Time that a client waits for the server to refuse its certificate, in nanoseconds.
    ///
    /// In TLS 1.3 a client is done before its server has checked the client's certificate (RFC 8446 §4.4.2), and an
    /// alert that arrives after the keys were installed reaches a consumer that does not log its name. So a client that
    /// presented a certificate waits as long as the server took to answer its ClientHello, within 5 ms and 1 s:
    /// checking takes no longer than signing, and the round trip is the same. A busy server answers late, and waiting
    /// clients add to its load: for 10 s after a server accepted us the wait is at most 50 ms, with no minimum. For a
    /// minute after a server refused us it is twice the answer time, because it is likely to refuse us again.
    var verdictTimeout: UInt64 {
        if isRecent(knownPeer?.refusedUsAt, 60) {
            return max(minimumVerdictTimeout, min(2 * answerTime, 1_000_000_000))
        }
        return acceptedUsRecently
            ? min(answerTime, 50_000_000) : max(minimumVerdictTimeout, min(answerTime, 1_000_000_000))
    }

    private var acceptedUsRecently: Bool { isRecent(knownPeer?.acceptedUsAt, 10) }

    private func isRecent(_ moment: UInt64?, _ seconds: UInt64) -> Bool {
        guard let moment else { return false }
        return Clock.monotonicNanoseconds() - moment < seconds * 1_000_000_000
    }

    /// Limit of records without data after a handshake. Servers send one or two tickets.
    private static let mostRecordsAfterHandshake = 64

    /// Interval at which a partially received record is polled; the socket stays readable, so epoll would return at
    /// once.
    private var partialRecordInterval: UInt64 { 5_000_000 }

    /// Looks for an alert once more, without waiting, on a connection that the server has closed since the last look.
    func pollForAlert() -> HandshakeFailure? {
        phase = .awaitingVerdict(until: 0)
        _ = awaitVerdict(until: 0)
        guard case .failed(let failure) = phase else { return nil }
        return failure
    }

    private enum Finding {
        case goOn
        case decided
        case wait(Poller.Interest)
    }

    /// Reads what follows the server's handshake messages, but consumes only TLS messages: tickets are consumed and
    /// counted, an alert ends the handshake. Application data stays for the consumer; it also proves that the server
    /// accepts us.
    ///
    /// - Returns: The events to wait for, or `nil` if the phase changed.
    func awaitVerdict(until deadline: UInt64) -> Step? {
        while true {
            let finding = readAfterHandshake()
            switch finding {
            case .goOn: continue
            case .decided:
                finish()
                return nil
            case .wait(let interest):
                let now = Clock.monotonicNanoseconds()
                guard now < deadline else {
                    finish()
                    return nil
                }
                return .wants(interest, until: interest.isEmpty ? min(deadline, now + partialRecordInterval) : deadline)
            }
        }
    }

    private func finish() {
        guard case .awaitingVerdict = phase else { return }
        if presentedCertificate, !acceptedUsRecently { knownPeer?.acceptedUsAt = Clock.monotonicNanoseconds() }
        do throws(HandshakeFailure) {
            phase = .finished(try describeSession())
        } catch {
            fail(error)
        }
    }

    private func readAfterHandshake() -> Finding {
        switch transport.peek() {
        case .nothing: return .wait(.read)
        case .partial: return .wait([])
        case .end:
            fail(HandshakeFailure(.peerClosed, "directly after the handshake"))
            return .decided
        case .broken:
            fail(HandshakeFailure(.connectionReset, SystemError.name(of: transport.brokenBy)))
            return .decided
        case .notTLS:
            fail(HandshakeFailure(.protocolViolation, "no TLS record after the handshake"))
            return .decided
        case .record(let header, let bytes):
            return judge(header, bytes)
        }
    }

    private func judge(_ header: TLSRecordHeader, _ bytes: [UInt8]) -> Finding {
        var sequence = [UInt8](repeating: 0, count: 8)
        guard unsafe cgnutls_sequence(session, 1, &sequence) >= 0 else {
            fail(HandshakeFailure(.libraryFailure, "no record state"))
            return .decided
        }
        var plain = [UInt8](repeating: 0, count: TLSRecordHeader.longestBody)
        let tickets = ticketsReceived
        let code = transport.withCopy(of: bytes) { unsafe gnutls_record_recv(session, &plain, plain.count) }
        if code > 0 {
            // The data stays in the socket for the consumer, so its sequence number must be restored.
            unsafe plain.withUnsafeMutableBytes { raw in
                if let base = raw.baseAddress { unsafe cgnutls_wipe(base, code) }
            }
            receiveSequence = sequence
            log(1, "application data is waiting for the consumer")
            return .decided
        }
        if code == Int(GNUTLS_E_AGAIN) || code == Int(GNUTLS_E_INTERRUPTED) {
            guard transport.discard(bytes.count) else {
                fail(HandshakeFailure(.libraryFailure, "a record changed while it was read"))
                return .decided
            }
            // GnuTLS answers only together with application data, which it never gets here.
            if owesKeyUpdate, unsafe gnutls_session_key_update(session, 0) >= 0 { owesKeyUpdate = false }
            transport.flush()
            recordsAfterHandshake += 1
            guard recordsAfterHandshake < Self.mostRecordsAfterHandshake else {
                fail(HandshakeFailure(.protocolViolation, "too many messages after the handshake"))
                return .decided
            }
            // A ticket shows that the server has accepted us. More may follow.
            if ticketsReceived > tickets { phase = .awaitingVerdict(until: 0) }
            return .goOn
        }
        FaultInjection.pause()
        // An alert is for us and must not stay for the consumer.
        _ = transport.discard(bytes.count)
        fail(judgeRecord(Int32(truncatingIfNeeded: code)))
        return .decided
    }

    private func judgeRecord(_ code: Int32) -> HandshakeFailure {
        switch code {
        case 0: HandshakeFailure(.peerClosed, "directly after the handshake, with close_notify")
        case GNUTLS_E_FATAL_ALERT_RECEIVED, GNUTLS_E_WARNING_ALERT_RECEIVED: judgeAlert()
        default: HandshakeFailure(.protocolViolation, GnuTLSError(code: code, call: "gnutls_record_recv").text)
        }
    }
}
