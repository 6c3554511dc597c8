/// Meaning of a failure reason for the kernel, the peer and the operator.
package struct FailureRow: Sendable, Equatable {
    /// Status in DONE.
    package let status: Status
    /// Alert for the peer, if the connection still allows one; `nil` if none is appropriate.
    package let alert: Alert?
    /// The cause, as a clause that follows "failed: ".
    package let explanation: String
    /// Action for the operator.
    package let remedy: String

    /// True if the same handshake may succeed on a retry without a change on either host. The status tells the consumer
    /// so.
    package var isTransient: Bool { status == .timedOut }

    fileprivate init(_ status: Status, _ alert: Alert?, _ explanation: String, _ remedy: String) {
        self.status = status
        self.alert = alert
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
            FailureRow(.accessDenied, .certificateExpired, "the peer's certificate has expired", "renew it on the peer")
        case .certificateNotYetValid:
            FailureRow(
                .accessDenied, .certificateExpired, "the peer's certificate is not yet valid",
                "compare the clocks of both hosts, or wait")
        case .certificateRevoked:
            FailureRow(
                .accessDenied, .certificateRevoked, "the peer's certificate is revoked",
                "issue a new one to the peer")
        case .certificateUnknownAuthority:
            FailureRow(
                .accessDenied, .unknownCA, "the peer's certificate is from an unknown authority",
                "add its authority to x509.truststore, or have the peer send its intermediates")
        case .certificateNameMismatch:
            FailureRow(
                .accessDenied, .badCertificate, "the peer's certificate is for another name",
                "use a name or address that it carries, or reissue it with this one as subjectAltName")
        case .certificatePurposeMismatch:
            FailureRow(
                .accessDenied, .unsupportedCertificate, "the peer's certificate is not made for this purpose",
                "reissue it with the extended key usage of its role")
        case .certificateInsecureAlgorithm:
            FailureRow(
                .accessDenied, .badCertificate, "the peer's certificate uses a key or algorithm that is too weak",
                "reissue it with a stronger key or signature")
        case .certificateSignatureInvalid:
            FailureRow(
                .accessDenied, .decryptError, "a signature of the peer's certificate or handshake is wrong",
                "check that the peer's certificate, key and authority belong together")
        case .certificateRevocationOutdated:
            FailureRow(
                .accessDenied, .certificateUnknown,
                "there is no revocation list in force for the peer's certificate",
                "put a complete and current list of the issuer that the log names into x509.crl")
        case .certificateInvalid:
            FailureRow(.accessDenied, .badCertificate, "the peer's certificate is not acceptable", "reissue it")
        case .certificateMissing:
            FailureRow(
                .accessDenied, .certificateRequired, "the peer presented no certificate",
                "configure one on the peer")
        case .certificateNotPinned:
            FailureRow(
                .accessDenied, .certificateUnknown, "the peer's certificate is not one of x509.pin",
                "compare its digest with the peer's own, and add it to x509.pin if it is genuine")
        case .certificateNotAllowed:
            FailureRow(
                .accessDenied, .accessDenied, "the peer's certificate is not allowed here",
                "widen the x509.allow rule that the log names, or give the peer a certificate that fits it")
        case .trustAnchorExpired:
            FailureRow(
                .accessDenied, .unknownCA, "an authority of our own trust store has expired",
                "put its renewed certificate into the file named in x509.truststore, on this host")
        case .certificateTooCostly:
            FailureRow(
                .accessDenied, .badCertificate, "the peer's certificates would take too long to verify",
                "have the peer present a short chain with ordinary keys; the detail says what is too much")
        case .pskIdentityUnknown:
            FailureRow(
                .accessDenied, .unknownPSKIdentity, "no PSK is known for the identity that the peer offered",
                "insert the peer's key into the keyring, under exactly this identity")
        case .pskBinderMismatch:
            FailureRow(
                .accessDenied, .decryptError, "the peer holds another PSK under the same identity",
                "insert the same key on both ends")
        case .pskUnreadable:
            FailureRow(
                .inputOutput, nil, "the PSK cannot be read", "check the key's type, permissions and keyring")
        case .pskGone:
            FailureRow(
                .noKey, nil, "the PSK has expired or was revoked", "insert it again, or re-authenticate the controller")
        case .pskHashUnsupported:
            FailureRow(
                .notSupported, .handshakeFailure, "this GnuTLS cannot use PSKs with SHA-384",
                "install GnuTLS 3.8.11 or later, or use a key with SHA-256")
        case .pskTicketAgeUnsupported:
            FailureRow(
                .accessDenied, .unknownPSKIdentity,
                "the peer's PSK comes with a ticket age, which GnuTLS does not accept",
                "have the peer send the obfuscated_ticket_age 0 with it (RFC 8446, section 4.2.11)")
        case .noCommonCipherSuite:
            FailureRow(
                .accessDenied, .handshakeFailure, "no cipher suite is common to both ends",
                "compare the crypto policies of both hosts and what their kernels' TLS supports")
        case .noCommonGroup:
            FailureRow(
                .accessDenied, .handshakeFailure, "no key-exchange group is common to both ends",
                "compare the crypto policies of both hosts")
        case .noCommonSignatureScheme:
            FailureRow(
                .accessDenied, .handshakeFailure, "no signature scheme fits both ends' certificates",
                "use a certificate of another kind, or widen the crypto policy")
        case .protocolVersionUnsupported:
            FailureRow(
                .accessDenied, .protocolVersion, "the peer does not speak TLS 1.3", "enable TLS 1.3 on the peer")
        case .applicationProtocolMismatch:
            FailureRow(
                .accessDenied, .noApplicationProtocol, "the peer asked for another application protocol",
                "check that the peer's port and service are the right ones")
        case .applicationProtocolMissing:
            FailureRow(
                .accessDenied, .noApplicationProtocol, "the peer did not agree on the application protocol sunrpc",
                "update the peer's TLS software, or write tls.alpn=log")
        case .alertUnknownPSKIdentity:
            FailureRow(
                .keyRejected, nil, "the peer knows no PSK for our identity (alert unknown_psk_identity)",
                "insert the key on the peer, under exactly this identity")
        case .alertReceived:
            FailureRow(.accessDenied, nil, "the peer refused the handshake", "see the peer's log for its reason")
        case .alertInternalError:
            FailureRow(
                .timedOut, nil, "the peer failed for a reason of its own (alert internal_error)",
                "see the peer's log for its reason; the consumer tries again")
        case .peerClosed:
            FailureRow(
                .timedOut, nil, "the peer closed the connection during the handshake",
                "see the peer's log; its TLS daemon may be missing or restarting, or it speaks no TLS; run tlshctl probe"
            )
        case .connectionReset:
            FailureRow(
                .timedOut, nil, "the connection broke during the handshake",
                "see the peer's log and the network between the hosts")
        case .deadlineExceeded:
            FailureRow(
                .timedOut, .userCanceled, "the peer did not complete the handshake in time",
                "check that the peer's TLS daemon runs and is not overloaded")
        case .peerSpeaksPlainText:
            FailureRow(
                .accessDenied, .unexpectedMessage, "the peer speaks plain text, not TLS",
                "enable TLS on the peer, or connect without it")
        case .protocolViolation:
            FailureRow(
                .accessDenied, .unexpectedMessage, "the peer broke the TLS protocol",
                "see the peer's log; update its TLS library")
        case .handshakeTooLong:
            FailureRow(
                .accessDenied, .illegalParameter, "the peer's handshake messages are too long",
                "if its chain of certificates is that long, raise handshake_bytes in [limits]")
        case .roleNotConfigured:
            FailureRow(
                .inputOutput, .accessDenied, "this role is not configured or its settings are broken",
                "fix the settings named in the log; they are reloaded automatically")
        case .noProfile:
            FailureRow(
                .inputOutput, nil, "no profile is for this network namespace",
                "write a [profile NAME] with match.namespace, or default_profile=yes in [namespaces]")
        case .certificateUnreadable:
            FailureRow(
                .inputOutput, .accessDenied, "our certificate cannot be used", "check the file or key it comes from")
        case .privateKeyUnreadable:
            FailureRow(
                .inputOutput, .accessDenied, "our private key cannot be used", "check the file or key it comes from")
        case .requestUnsupported:
            FailureRow(
                .inputOutput, .internalError, "the kernel asked for a kind of handshake that is not supported",
                "update tlshd")
        case .requestMalformed:
            FailureRow(
                .invalidArgument, nil, "the kernel's request was malformed", "report this with the kernel's version")
        case .peerNameMissing:
            FailureRow(
                .accessDenied, .internalError, "the kernel did not say which peer name to verify",
                "update the kernel's consumer; no name is ever looked up")
        case .prioritiesUnusable:
            FailureRow(
                .invalidArgument, .internalError, "the kernel's priority string cannot be honoured",
                "correct it in the kernel's consumer; it must leave TLS 1.3 and a cipher of the kernel's TLS")
        case .limitsUnusable:
            FailureRow(
                .inputOutput, .internalError, "tls.suites or tls.groups leave nothing to negotiate",
                "write suites and groups that the crypto policy and the kernel's TLS allow")
        case .socketUnsupported:
            FailureRow(
                .notSupported, nil, "the socket is not TCP", "use TCP; other transports are not supported")
        case .kernelTLSUnavailable:
            FailureRow(
                .inputOutput, .internalError, "the kernel has no TLS (CONFIG_TLS)",
                "load the module tls, or use a kernel that has it")
        case .kernelTLSCipherUnsupported:
            FailureRow(
                .inputOutput, .internalError, "the kernel's TLS lacks the negotiated cipher",
                "load the cipher's module; tlshd offers only what worked at its start")
        case .kernelTLSFailed:
            FailureRow(
                .inputOutput, .internalError, "the kernel refused the keys", "see the kernel's log")
        case .recordSizeLimitUnsupported:
            FailureRow(
                .inputOutput, .internalError, "the peer limits its record size and this kernel cannot",
                "use Linux 6.19 or later, or lift the peer's limit")
        case .keyUpdatesOff:
            FailureRow(
                .notSupported, nil, "key updates are not served",
                "set key_update_lifetime in [listener], on Linux 6.14 or later, and connect anew")
        case .sessionUnknown:
            FailureRow(
                .accessDenied, nil, "the connection's secrets are not kept, or no longer",
                "connect anew; a longer key_update_lifetime in [listener] keeps them longer")
        case .sessionElsewhere:
            FailureRow(
                .accessDenied, nil, "the reference belongs to another connection",
                "report this with the kernel's version; the consumer mixed them up")
        case .workerLost:
            FailureRow(
                .timedOut, nil, "the worker process died",
                "report this; the consumer tries again with another worker")
        case .noWorkerReady:
            FailureRow(
                .timedOut, .internalError, "no worker process was ready in time",
                "see the lines about workers; they are started again, and the consumer tries again")
        case .signerUnavailable:
            FailureRow(
                .timedOut, .internalError, "the process that holds the private keys does not answer",
                "see the lines about the signer; it is started again, and the consumer tries again")
        case .overloaded:
            FailureRow(
                .timedOut, .internalError, "too many handshakes are under way", "wait; the consumer tries again")
        case .peerPenalised:
            FailureRow(
                .timedOut, .internalError, "the peer's address is refused for a time, as it cost too much before",
                "see the line that says why; list the address in penalty_exempt of [limits] if others share it")
        case .shuttingDown:
            FailureRow(
                .timedOut, .userCanceled, "tlshd is shutting down", "start it again; the consumer tries again")
        case .libraryFailure:
            FailureRow(.inputOutput, .internalError, "the TLS library failed", "see the detail; report it if unclear")
        }
    }
}
