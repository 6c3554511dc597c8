internal import CGnuTLS
internal import Handshake

extension GnuTLSError {
    /// The one table from the library's codes to our reasons. Codes that have more than one cause, and those that we
    /// bring about ourselves in callbacks, are judged by `HandshakeSession` before it asks here.
    var reason: FailureReason {
        switch code {
        case GNUTLS_E_UNSUPPORTED_VERSION_PACKET: .protocolVersionUnsupported
        case GNUTLS_E_NO_CIPHER_SUITES, GNUTLS_E_UNKNOWN_CIPHER_SUITE, GNUTLS_E_INSUFFICIENT_CREDENTIALS:
            .noCommonCipherSuite
        case GNUTLS_E_NO_COMMON_KEY_SHARE, GNUTLS_E_ECC_NO_SUPPORTED_CURVES, GNUTLS_E_ECC_UNSUPPORTED_CURVE:
            .noCommonGroup
        case GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM, GNUTLS_E_INCOMPATIBLE_SIG_WITH_KEY: .noCommonSignatureScheme
        case GNUTLS_E_NO_APPLICATION_PROTOCOL: .applicationProtocolMismatch
        case GNUTLS_E_PREMATURE_TERMINATION, GNUTLS_E_SESSION_EOF: .peerClosed
        case GNUTLS_E_PUSH_ERROR, GNUTLS_E_PULL_ERROR: .connectionReset
        case GNUTLS_E_FATAL_ALERT_RECEIVED, GNUTLS_E_WARNING_ALERT_RECEIVED: .alertReceived
        case GNUTLS_E_PK_SIG_VERIFY_FAILED: .certificateSignatureInvalid
        case GNUTLS_E_CERTIFICATE_ERROR, GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR, GNUTLS_E_KEY_USAGE_VIOLATION,
            GNUTLS_E_UNSUPPORTED_CERTIFICATE_TYPE, GNUTLS_E_X509_UNSUPPORTED_CRITICAL_EXTENSION:
            .certificateInvalid
        case GNUTLS_E_NO_CERTIFICATE_FOUND, GNUTLS_E_CERTIFICATE_REQUIRED: .certificateMissing
        case GNUTLS_E_INSUFFICIENT_SECURITY: .certificateInsecureAlgorithm
        case GNUTLS_E_UNEXPECTED_PACKET, GNUTLS_E_UNEXPECTED_HANDSHAKE_PACKET, GNUTLS_E_UNEXPECTED_PACKET_LENGTH,
            GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER, GNUTLS_E_RECEIVED_ILLEGAL_EXTENSION, GNUTLS_E_DECRYPTION_FAILED,
            GNUTLS_E_ERROR_IN_FINISHED_PACKET, GNUTLS_E_GOT_APPLICATION_DATA, GNUTLS_E_HANDSHAKE_TOO_LARGE,
            GNUTLS_E_TOO_MANY_EMPTY_PACKETS, GNUTLS_E_TOO_MANY_HANDSHAKE_PACKETS, GNUTLS_E_RECORD_OVERFLOW,
            GNUTLS_E_UNEXPECTED_EXTENSIONS_LENGTH, GNUTLS_E_MISSING_EXTENSION, GNUTLS_E_ILLEGAL_PARAMETER,
            GNUTLS_E_LARGE_PACKET, GNUTLS_E_REHANDSHAKE, GNUTLS_E_ASN1_DER_ERROR, GNUTLS_E_ASN1_TAG_ERROR,
            GNUTLS_E_PK_INVALID_PUBKEY, GNUTLS_E_BAD_COOKIE, GNUTLS_E_RECEIVED_DISALLOWED_NAME:
            .protocolViolation
        default: .libraryFailure
        }
    }

    /// The alert that RFC 8446 prescribes for this very code, where the library knows it.
    var alert: Alert? {
        var level: Int32 = 0
        let number = unsafe gnutls_error_to_alert(code, &level)
        return number >= 0 ? Alert(rawValue: UInt8(truncatingIfNeeded: number)) : nil
    }
}
