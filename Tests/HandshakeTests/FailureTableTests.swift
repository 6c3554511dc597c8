import Testing

@testable import Handshake
@testable import Policy

@Suite("The table of failures")
struct FailureTableTests {
    @Test("every reason has a row that an operator can use", arguments: FailureReason.allCases)
    func complete(reason: FailureReason) {
        let row = reason.row
        #expect(row.status != .success)
        #expect(row.status.rawValue <= 4095, "the kernel refuses larger values (net/handshake/genl.c)")
        #expect(!row.status.name.hasPrefix("errno"))
        #expect(row.explanation.count > 10)
        #expect(row.remedy.count > 5)
        if let alert = row.alert { #expect(!alert.name.hasPrefix("alert")) }
    }

    @Test("no two reasons read the same")
    func distinct() {
        let texts = Set(FailureReason.allCases.map(\.row.explanation))
        #expect(texts.count == FailureReason.allCases.count)
    }

    @Test(
        "security verdicts are final for NFS, lost connections are not",
        arguments: [
            (FailureReason.certificateExpired, Status.accessDenied), (.certificateUnknownAuthority, .accessDenied),
            (.certificateNameMismatch, .accessDenied), (.certificateRevoked, .accessDenied),
            (.alertReceived, .accessDenied), (.peerSpeaksPlainText, .accessDenied), (.peerClosed, .timedOut),
            (.connectionReset, .timedOut), (.deadlineExceeded, .timedOut), (.largePacketsLost, .timedOut),
            (.shuttingDown, .timedOut),
            (.workerLost, .timedOut), (.noWorkerReady, .timedOut), (.alertInternalError, .timedOut),
        ])
    func finality(reason: FailureReason, status: Status) {
        #expect(reason.row.status == status)
    }

    @Test("transient is what may be gone at the next try, and its consumer is told to try again")
    func transient() {
        let transient: Set<FailureReason> = [
            .alertInternalError, .peerClosed, .connectionReset, .deadlineExceeded, .largePacketsLost, .workerLost,
            .noWorkerReady,
            .signerUnavailable, .overloaded, .peerPenalised, .shuttingDown,
        ]
        for reason in FailureReason.allCases {
            #expect(reason.row.isTransient == transient.contains(reason))
            #expect((reason.row.status == .timedOut) == reason.row.isTransient)
        }
    }

    @Test(
        "NVMe stops reconnecting only when its key is gone or unknown to the peer",
        arguments: FailureReason.allCases)
    func reconnects(reason: FailureReason) {
        let stops = reason.row.status == .noKey || reason.row.status == .keyRejected
        #expect(stops == [.pskGone, .alertUnknownPSKIdentity].contains(reason))
    }
}

@Suite("Requests")
struct HandshakeRequestTests {
    @Test("the consumer's timeout is used to nine tenths, its own timers are kept where it states none")
    func allowance() {
        var request = HandshakeRequest(transport: .netlink, role: .client, authentication: .x509, peerName: "nfs1")
        #expect(request.allowance == .milliseconds(9000))
        request.role = .server
        #expect(request.allowance == .milliseconds(4500))
        request.timeout = .seconds(10)
        #expect(request.allowance == .seconds(9))
    }

    @Test("the five pairs of role and authentication that kernels make are accepted")
    func pairs() throws {
        let serial = try #require(KeySerial(7))
        for request in [
            HandshakeRequest(transport: .netlink, role: .client, authentication: .unauthenticated, peerName: "nfs1"),
            HandshakeRequest(transport: .netlink, role: .client, authentication: .x509, peerName: "nfs1"),
            HandshakeRequest(
                transport: .netlink, role: .client, authentication: .preSharedKey, peerIdentities: [serial]),
            HandshakeRequest(transport: .netlink, role: .server, authentication: .x509),
            HandshakeRequest(transport: .netlink, role: .server, authentication: .preSharedKey),
        ] {
            #expect(throws: Never.self) { try request.validate() }
        }
    }

    @Test(
        "what cannot be served is refused with its reason",
        arguments: [
            (
                HandshakeRequest(transport: .netlink, role: .server, authentication: .unauthenticated),
                FailureReason.requestUnsupported
            ),
            (HandshakeRequest(transport: .netlink, role: .client, authentication: .x509), .peerNameMissing),
            (
                HandshakeRequest(transport: .netlink, role: .client, authentication: .unauthenticated, peerName: ""),
                .peerNameMissing
            ),
            (HandshakeRequest(transport: .netlink, role: .client, authentication: .preSharedKey), .pskUnreadable),
        ])
    func refused(request: HandshakeRequest, reason: FailureReason) throws {
        let failure = #expect(throws: HandshakeFailure.self) { try request.validate() }
        #expect(failure?.reason == reason)
    }
}
