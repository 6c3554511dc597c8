/// The reason why a handshake ended without keys. Workers send the raw value to the broker.
///
/// Everything else about a reason is in its row of the table below, which docs/upcall.md prints; a test compares them.
package enum FailureReason: UInt16, Sendable, Equatable, CaseIterable {
    // The peer's certificate.
    case certificateExpired = 1
    case certificateNotYetValid
    case certificateRevoked
    case certificateUnknownAuthority
    case certificateNameMismatch
    case certificatePurposeMismatch
    case certificateInsecureAlgorithm
    case certificateSignatureInvalid
    case certificateRevocationOutdated
    case certificateInvalid
    case certificateMissing
    case certificateNotPinned
    case certificateNotAllowed
    case trustAnchorExpired
    case certificateTooCostly

    // Pre-shared keys.
    case pskIdentityUnknown
    case pskBinderMismatch
    case pskUnreadable
    case pskGone
    case pskHashUnsupported
    case pskTicketAgeUnsupported

    // Parameters without a common value.
    case noCommonCipherSuite
    case noCommonGroup
    case noCommonSignatureScheme
    case protocolVersionUnsupported
    case applicationProtocolMismatch
    case applicationProtocolMissing

    // Alerts and errors of the peer.
    case alertUnknownPSKIdentity
    case alertReceived
    case alertInternalError
    case peerClosed
    case connectionReset
    case deadlineExceeded
    case largePacketsLost
    case peerSpeaksPlainText
    case protocolViolation
    case handshakeTooLong

    // Our own side.
    case roleNotConfigured
    case noProfile
    case certificateUnreadable
    case privateKeyUnreadable
    case requestUnsupported
    case requestMalformed
    case peerNameMissing
    case prioritiesUnusable
    case limitsUnusable
    case socketUnsupported
    case kernelTLSUnavailable
    case kernelTLSCipherUnsupported
    case kernelTLSFailed
    case recordSizeLimitUnsupported
    case keyUpdatesOff
    case sessionUnknown
    case sessionElsewhere
    case workerLost
    case noWorkerReady
    case signerUnavailable
    case overloaded
    case peerPenalised
    case shuttingDown
    case libraryFailure
}

/// A handshake that ended without keys: the reason, and the details of this case.
package struct HandshakeFailure: Error, Sendable, Equatable {
    package let reason: FailureReason
    /// Details such as a file, a subject, a date or an errno. Printed in parentheses; never key material.
    package let detail: String
    /// Alert for the peer: that of the reason's row, unless RFC 8446 prescribes another for this case. It is not in a
    /// worker's result, because the worker sends it itself.
    package let alert: Alert?

    package init(_ reason: FailureReason, _ detail: String = "", alert: Alert? = nil) {
        self.reason = reason
        self.detail = detail
        self.alert = alert ?? reason.row.alert
    }

    /// The value of a call. Its error fails the handshake for this reason.
    package static func of<Value: ~Copyable>(
        _ reason: FailureReason, _ call: @autoclosure () throws -> Value
    ) throws(HandshakeFailure) -> Value {
        do {
            return try call()
        } catch {
            throw HandshakeFailure(reason, "\(error)")
        }
    }
}

/// Meaning of a failure reason for the kernel, the peer and the operator.
package struct FailureRow: Sendable, Equatable {
    /// True if only the administrator of this host can fix the cause.
    package let isOurs: Bool
    /// Status in DONE.
    package let status: Status
    /// Alert for the peer, if the connection still allows one; `nil` if none is appropriate.
    package let alert: Alert?
    /// MESSAGE_ID of the log line. A published ID is never changed or reused.
    package let messageID: String
    /// The cause, as a clause that follows "failed: ".
    package let explanation: String
    /// Action for the operator.
    package let remedy: String

    /// True if the same handshake may succeed on a retry without a change on either host. The status tells the consumer
    /// so.
    package var isTransient: Bool { status == .timedOut }

    /// The host whose administrator can fix the cause.
    fileprivate enum Side {
        case host, peer
    }

    fileprivate init(
        _ side: Side, _ status: Status, _ alert: Alert?, _ messageID: String, _ explanation: String, _ remedy: String
    ) {
        isOurs = side == .host
        self.status = status
        self.alert = alert
        self.messageID = messageID
        self.explanation = explanation
        self.remedy = remedy
    }
}

extension FailureReason {
    /// The row of this reason. docs/upcall.md prints the same rows.
    ///
    /// The statuses follow the consumers' reactions: EACCES fails an NFS mount at once, ETIMEDOUT makes NFS reconnect,
    /// ENOKEY and EKEYREJECTED stop NVMe reconnects, any other status makes NVMe retry (net/sunrpc/xprtsock.c,
    /// drivers/nvme/host/fabrics.c).
    package var row: FailureRow {
        switch self {
        case .certificateExpired:
            FailureRow(
                .peer, .accessDenied, .certificateExpired, "65165d93daef4ae9b02a6b5c7db4b57d",
                "the peer's certificate has expired", "renew it on the peer")
        case .certificateNotYetValid:
            FailureRow(
                .peer, .accessDenied, .certificateExpired, "3b6d65a360b446df81e587b2e604ee39",
                "the peer's certificate is not yet valid", "compare the clocks of both hosts, or wait")
        case .certificateRevoked:
            FailureRow(
                .peer, .accessDenied, .certificateRevoked, "e052609944d94663bb15543b24642704",
                "the peer's certificate is revoked", "issue a new one to the peer")
        case .certificateUnknownAuthority:
            FailureRow(
                .peer, .accessDenied, .unknownCA, "4ec5315347744b1f9008e06ed817ce7f",
                "the peer's certificate is from an unknown authority",
                "add its authority to x509.truststore, or have the peer send its intermediates")
        case .certificateNameMismatch:
            FailureRow(
                .peer, .accessDenied, .badCertificate, "57bd7a8f68e1475f9d972390c57200b7",
                "the peer's certificate is for another name",
                "use a name or address that it carries, or reissue it with this one as subjectAltName")
        case .certificatePurposeMismatch:
            FailureRow(
                .peer, .accessDenied, .unsupportedCertificate, "6ca614ab29564677ad9a4aec8f9e6943",
                "the peer's certificate is not made for this purpose",
                "reissue it with the extended key usage of its role")
        case .certificateInsecureAlgorithm:
            FailureRow(
                .peer, .accessDenied, .badCertificate, "806d4b2f8836488dbff7e646854e4150",
                "the peer's certificate uses a key or algorithm that is too weak",
                "reissue it with a stronger key or signature")
        case .certificateSignatureInvalid:
            FailureRow(
                .peer, .accessDenied, .decryptError, "f8f52512ff3c4852ad4119ef647600e7",
                "a signature of the peer's certificate or handshake is wrong",
                "check that the peer's certificate, key and authority belong together")
        case .certificateRevocationOutdated:
            FailureRow(
                .host, .accessDenied, .certificateUnknown, "1cae68fe930348419276d8558695391c",
                "there is no revocation list in force for the peer's certificate",
                "put a complete and current list of the issuer that the log names into x509.crl")
        case .certificateInvalid:
            FailureRow(
                .peer, .accessDenied, .badCertificate, "6e4f7316ef2b4fde802434dba89db178",
                "the peer's certificate is not acceptable", "reissue it")
        case .certificateMissing:
            FailureRow(
                .peer, .accessDenied, .certificateRequired, "fea462aabf9e4cc2a4e4478d37231cad",
                "the peer presented no certificate", "configure one on the peer")
        case .certificateNotPinned:
            FailureRow(
                .peer, .accessDenied, .certificateUnknown, "365379a1121242cfa3adf13a59c24ed4",
                "the peer's certificate is not one of x509.pin",
                "compare its digest with the peer's own, and add it to x509.pin if it is genuine")
        case .certificateNotAllowed:
            FailureRow(
                .peer, .accessDenied, .accessDenied, "f6a2531e832043468c833d6acd092722",
                "the peer's certificate is not allowed here",
                "widen the x509.allow rule that the log names, or give the peer a certificate that fits it")
        case .trustAnchorExpired:
            FailureRow(
                .host, .accessDenied, .unknownCA, "2f6b1d0c9a5e4e7b8c3d7a41e0b96d58",
                "an authority of our own trust store has expired",
                "put its renewed certificate into the file named in x509.truststore, on this host")
        case .certificateTooCostly:
            FailureRow(
                .peer, .accessDenied, .badCertificate, "b4056b2f036f45d3b40d92655a0aca5e",
                "the peer's certificates would take too long to verify",
                "have the peer present a short chain with ordinary keys; the detail says what is too much")
        case .pskIdentityUnknown:
            FailureRow(
                .peer, .accessDenied, .unknownPSKIdentity, "111561d11bb74a249565d786a7592ca8",
                "no PSK is known for the identity that the peer offered",
                "insert the peer's key into the keyring, under exactly this identity")
        case .pskBinderMismatch:
            FailureRow(
                .peer, .accessDenied, .decryptError, "1b683f93fa40486fb21d6dd7a94d51cd",
                "the peer holds another PSK under the same identity", "insert the same key on both ends")
        case .pskUnreadable:
            FailureRow(
                .host, .inputOutput, nil, "3e1c63d3e10147b6a3f3ca9573f9e426", "the PSK cannot be read",
                "check the key's type, permissions and keyring")
        case .pskGone:
            FailureRow(
                .host, .noKey, nil, "1cbc15e009884ec384a2640d745bb290", "the PSK has expired or was revoked",
                "insert it again, or re-authenticate the controller")
        case .pskHashUnsupported:
            FailureRow(
                .host, .notSupported, .handshakeFailure, "f4cc6b00085448a7afbb9c1ee5615365",
                "this GnuTLS cannot use PSKs with SHA-384", "install GnuTLS 3.8.11 or later, or use a key with SHA-256")
        case .pskTicketAgeUnsupported:
            FailureRow(
                .host, .accessDenied, .unknownPSKIdentity, "5ac355377f0b47d7bb1b94f35ec9d767",
                "the peer's PSK comes with a ticket age, which GnuTLS does not accept",
                "have the peer send the obfuscated_ticket_age 0 with it (RFC 8446, section 4.2.11)")
        case .noCommonCipherSuite:
            FailureRow(
                .peer, .accessDenied, .handshakeFailure, "2a9140d84c86420da899f081d0f155f8",
                "no cipher suite is common to both ends",
                "compare the crypto policies of both hosts and what their kernels' TLS supports")
        case .noCommonGroup:
            FailureRow(
                .peer, .accessDenied, .handshakeFailure, "739bdef55e154f0392042b90b93b495b",
                "no key-exchange group is common to both ends", "compare the crypto policies of both hosts")
        case .noCommonSignatureScheme:
            FailureRow(
                .peer, .accessDenied, .handshakeFailure, "e2fa14f0435d41e1abab88c0ce8e88ad",
                "no signature scheme fits both ends' certificates",
                "use a certificate of another kind, or widen the crypto policy")
        case .protocolVersionUnsupported:
            FailureRow(
                .peer, .accessDenied, .protocolVersion, "8ecd2bce778148ab9545fa1fbf2a1f7f",
                "the peer does not speak TLS 1.3", "enable TLS 1.3 on the peer")
        case .applicationProtocolMismatch:
            FailureRow(
                .peer, .accessDenied, .noApplicationProtocol, "fa4098cdef364a2d954eb49c14360105",
                "the peer asked for another application protocol",
                "check that the peer's port and service are the right ones")
        case .applicationProtocolMissing:
            FailureRow(
                .peer, .accessDenied, .noApplicationProtocol, "82125794a89540adb0c7cb7c23fe0780",
                "the peer did not agree on the application protocol sunrpc",
                "update the peer's TLS software, or write tls.alpn=log")
        case .alertUnknownPSKIdentity:
            FailureRow(
                .peer, .keyRejected, nil, "ee0546882dd94fc397d761c7d1accdbc",
                "the peer knows no PSK for our identity (alert unknown_psk_identity)",
                "insert the key on the peer, under exactly this identity")
        case .alertReceived:
            FailureRow(
                .peer, .accessDenied, nil, "c2639e7b99de4042aa1f6f9b35e0e468", "the peer refused the handshake",
                "see the peer's log for its reason")
        case .alertInternalError:
            FailureRow(
                .peer, .timedOut, nil, "4d9b023ff8c2455ca1fb9af54bb78758",
                "the peer failed for a reason of its own (alert internal_error)",
                "see the peer's log for its reason; the consumer tries again")
        case .peerClosed:
            FailureRow(
                .peer, .timedOut, nil, "5307d8a2f9e144388129dea076d7cbb3",
                "the peer closed the connection",
                "see the peer's log; its TLS daemon may be missing or restarting, or it speaks no TLS; run tlshctl probe"
            )
        case .connectionReset:
            FailureRow(
                .peer, .timedOut, nil, "ff4a8b66a2dc4bb2a6fd18ab5c5f7b20", "the connection broke",
                "see the peer's log and the network between the hosts")
        case .deadlineExceeded:
            FailureRow(
                .peer, .timedOut, .userCanceled, "eacee9ec2ef44426a6a19ed98b75962f",
                "the peer did not complete the handshake in time",
                "check that the peer's TLS daemon runs and is not overloaded")
        case .largePacketsLost:
            FailureRow(
                .peer, .timedOut, .userCanceled, "be6eb8adb02147d4a59f3844301462ce",
                "large packets seem to be lost on the way (MTU)",
                "compare the MTU of the links between the hosts, and let firewalls pass ICMP; until then set "
                    + "net.ipv4.tcp_mtu_probing=2 on both hosts")
        case .peerSpeaksPlainText:
            FailureRow(
                .peer, .accessDenied, .unexpectedMessage, "de9a52a6d3d346b3a1cad058682d4ea2",
                "the peer speaks plain text, not TLS", "enable TLS on the peer, or connect without it")
        case .protocolViolation:
            FailureRow(
                .peer, .accessDenied, .unexpectedMessage, "91508b8137974467a400efd61ebdee5b",
                "the peer broke the TLS protocol", "see the peer's log; update its TLS library")
        case .handshakeTooLong:
            FailureRow(
                .peer, .accessDenied, .illegalParameter, "d793e67f50e8491ea42259e7a78b60c4",
                "the peer's handshake messages are too long",
                "if its chain of certificates is that long, raise handshake_bytes in [limits]")
        case .roleNotConfigured:
            FailureRow(
                .host, .inputOutput, .accessDenied, "4bde3620da0d454eb71f24c4a2192e14",
                "this role is not configured or its settings are broken",
                "set x509.certificate and x509.private_key of this role, and correct what tlshctl status names")
        case .noProfile:
            FailureRow(
                .host, .inputOutput, nil, "7960549142a841109a6a850515b40820",
                "no profile is for this network namespace",
                "write a [profile NAME] with match.namespace, or default_profile=yes in [namespaces]")
        case .certificateUnreadable:
            FailureRow(
                .host, .inputOutput, .accessDenied, "29997df8918a4c6a960c01694012a6a8",
                "our certificate cannot be used", "check the file or key it comes from")
        case .privateKeyUnreadable:
            FailureRow(
                .host, .inputOutput, .accessDenied, "ee286a22cb75452c832e547b5851cc64",
                "our private key cannot be used", "check the file or key it comes from")
        case .requestUnsupported:
            FailureRow(
                .host, .inputOutput, .internalError, "6b3dbdf917b84cd487e9404daeccff01",
                "the kernel asked for a kind of handshake that is not supported", "update tlshd")
        case .requestMalformed:
            FailureRow(
                .host, .invalidArgument, nil, "cf633e573ca74df7ae8f7d33ab4cfb64", "the kernel's request was malformed",
                "report this with the kernel's version")
        case .peerNameMissing:
            FailureRow(
                .host, .accessDenied, .internalError, "d7c13762b4d949e3a29230ffc1f25eb2",
                "the kernel did not say which peer name to verify",
                "update the kernel's consumer; no name is ever looked up")
        case .prioritiesUnusable:
            FailureRow(
                .host, .invalidArgument, .internalError, "687aac3b9ceb4dc08e00d2b02ee1d0d9",
                "the kernel's priority string cannot be honoured",
                "correct it in the kernel's consumer; it must leave TLS 1.3 and a cipher of the kernel's TLS")
        case .limitsUnusable:
            FailureRow(
                .host, .inputOutput, .internalError, "e1d41211fd6a4525ad1a8b27c63b8430",
                "tls.suites or tls.groups leave nothing to negotiate",
                "write suites and groups that the crypto policy and the kernel's TLS allow")
        case .socketUnsupported:
            FailureRow(
                .host, .notSupported, nil, "4004706c8a854b22957d2276a98065de", "the socket is not TCP",
                "use TCP; other transports are not supported")
        case .kernelTLSUnavailable:
            FailureRow(
                .host, .inputOutput, .internalError, "296c5f8218cf406e99b0131f18981e64",
                "the kernel has no TLS (CONFIG_TLS)", "load the module tls, or use a kernel that has it")
        case .kernelTLSCipherUnsupported:
            FailureRow(
                .host, .inputOutput, .internalError, "3318a0fc62904bc4ba45596e0ded99b2",
                "the kernel's TLS lacks the negotiated cipher",
                "load the cipher's module; tlshd offers only what worked at its start")
        case .kernelTLSFailed:
            FailureRow(
                .host, .inputOutput, .internalError, "8008a4cb826642ac8842bf6bd3aca50f", "the kernel refused the keys",
                "see the kernel's log")
        case .recordSizeLimitUnsupported:
            FailureRow(
                .peer, .inputOutput, .internalError, "9fa5c501b9d2468ebc1c6175d736211c",
                "the peer limits its record size and this kernel cannot",
                "use Linux 6.19 or later, or lift the peer's limit")
        case .keyUpdatesOff:
            FailureRow(
                .host, .notSupported, nil, "c40fdd710b2746b2967dd2f368fd7db0", "key updates are not served",
                "set key_update_lifetime in [listener], on Linux 6.14 or later, and connect anew")
        case .sessionUnknown:
            FailureRow(
                .host, .accessDenied, nil, "3d5d476c59564136a1e156afdf711c00",
                "the connection's secrets are not kept, or no longer",
                "connect anew; a longer key_update_lifetime in [listener] keeps them longer")
        case .sessionElsewhere:
            FailureRow(
                .host, .accessDenied, nil, "05561275d9a2475dbecd8824f83778b5",
                "the reference belongs to another connection",
                "report this with the kernel's version; the consumer mixed them up")
        case .workerLost:
            FailureRow(
                .host, .timedOut, nil, "b38d04e39c424466aad9993146a4a6cc", "the worker process died",
                "report this; the consumer tries again with another worker")
        case .noWorkerReady:
            FailureRow(
                .host, .timedOut, .internalError, "3e3b259743cb460280e17112bb8b3387",
                "no worker process was ready in time",
                "see the lines about workers; they are started again, and the consumer tries again")
        case .signerUnavailable:
            FailureRow(
                .host, .timedOut, .internalError, "48837c00a56d4c758a1a4a4b18db147e",
                "the process that holds the private keys does not answer",
                "see the lines about the signer; it is started again, and the consumer tries again")
        case .overloaded:
            FailureRow(
                .host, .timedOut, .internalError, "c90d4beb01e74163a2c1bcf5496c7456",
                "too many handshakes are under way", "wait; the consumer tries again")
        case .peerPenalised:
            FailureRow(
                .peer, .timedOut, .internalError, "a81de6c766f243dc9de2c9877a4675c3",
                "the peer's address is refused for a time, as it cost too much before",
                "see the line that says why; list the address in penalty_exempt of [limits] if others share it")
        case .shuttingDown:
            FailureRow(
                .peer, .timedOut, .userCanceled, "a981c37f666e4a9bb0041ee43c14caf5", "tlshd is shutting down",
                "start it again; the consumer tries again")
        case .libraryFailure:
            FailureRow(
                .host, .inputOutput, .internalError, "1050f86776234a15b2083fcdf22022eb", "the TLS library failed",
                "see the detail; report it if unclear")
        }
    }
}

/// The positive errno in DONE (net/handshake/netlink.c); 0 is success.
package struct Status: RawRepresentable, Sendable, Hashable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    package static let success = Status(rawValue: 0)
    /// Final for NFS. A first NVMe connect returns it, a reconnect retries.
    package static let accessDenied = Status(rawValue: 13)  // EACCES
    /// The NFS client maps it to EACCES. NVMe retries.
    package static let inputOutput = Status(rawValue: 5)  // EIO
    package static let invalidArgument = Status(rawValue: 22)  // EINVAL
    package static let notSupported = Status(rawValue: 95)  // EOPNOTSUPP
    /// Retry: NFS reconnects, NVMe retries.
    package static let timedOut = Status(rawValue: 110)  // ETIMEDOUT
    /// Stops NVMe reconnects (drivers/nvme/host/fabrics.c, nvmf_should_reconnect).
    package static let noKey = Status(rawValue: 126)  // ENOKEY
    /// Stops NVMe reconnects, like ENOKEY.
    package static let keyRejected = Status(rawValue: 129)  // EKEYREJECTED

    /// The errno's name, for logs and documentation.
    package var name: String {
        switch self {
        case .success: "success"
        case .accessDenied: "EACCES"
        case .inputOutput: "EIO"
        case .invalidArgument: "EINVAL"
        case .notSupported: "EOPNOTSUPP"
        case .timedOut: "ETIMEDOUT"
        case .noKey: "ENOKEY"
        case .keyRejected: "EKEYREJECTED"
        default: "errno \(rawValue)"
        }
    }
}

/// A TLS alert description (RFC 8446 §6, IANA TLS Alerts).
package struct Alert: RawRepresentable, Sendable, Hashable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    private init(_ rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// A complete plaintext record with the alert: type alert, record version, length 2, level fatal (RFC 8446 §5.1,
    /// §6).
    package var recordInClear: [UInt8] { [21, 3, 3, 0, 2, 2, rawValue] }

    package static let closeNotify = Alert(0)
    package static let unexpectedMessage = Alert(10)
    package static let badRecordMAC = Alert(20)
    package static let recordOverflow = Alert(22)
    package static let handshakeFailure = Alert(40)
    package static let badCertificate = Alert(42)
    package static let unsupportedCertificate = Alert(43)
    package static let certificateRevoked = Alert(44)
    package static let certificateExpired = Alert(45)
    package static let certificateUnknown = Alert(46)
    package static let illegalParameter = Alert(47)
    package static let unknownCA = Alert(48)
    package static let accessDenied = Alert(49)
    package static let decodeError = Alert(50)
    package static let decryptError = Alert(51)
    package static let protocolVersion = Alert(70)
    package static let insufficientSecurity = Alert(71)
    package static let internalError = Alert(80)
    package static let inappropriateFallback = Alert(86)
    package static let userCanceled = Alert(90)
    package static let missingExtension = Alert(109)
    package static let unsupportedExtension = Alert(110)
    package static let unrecognizedName = Alert(112)
    package static let badCertificateStatusResponse = Alert(113)
    package static let certificateRequired = Alert(116)
    package static let unknownPSKIdentity = Alert(115)
    package static let noApplicationProtocol = Alert(120)

    /// Name in RFC 8446, or the number.
    package var name: String {
        Self.names[rawValue] ?? "alert \(rawValue)"
    }

    private static let names: [UInt8: String] = [
        0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow",
        40: "handshake_failure", 42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
        45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca",
        49: "access_denied", 50: "decode_error", 51: "decrypt_error", 70: "protocol_version",
        71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled",
        109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name",
        113: "bad_certificate_status_response", 115: "unknown_psk_identity", 116: "certificate_required",
        120: "no_application_protocol",
    ]
}
