internal import CGnuTLS
internal import Handshake
internal import X509

/// Errors of the TLS library as failures of a handshake.
extension GnuTLSError {
    /// The row of the table from GnuTLS error codes to failure reasons. Codes with several causes, and codes that our
    /// own callbacks provoke, are handled by `HandshakeSession` first.
    ///
    /// Errors that a peer can cause are attributed to the peer. `libraryFailure` is left for failures of this host and
    /// for calls outside a handshake.
    private var row: (reason: FailureReason, alert: Alert?) {
        switch code {
        case GNUTLS_E_UNSUPPORTED_VERSION_PACKET: (.protocolVersionUnsupported, nil)
        case GNUTLS_E_NO_CIPHER_SUITES, GNUTLS_E_UNKNOWN_CIPHER_SUITE, GNUTLS_E_INSUFFICIENT_CREDENTIALS:
            (.noCommonCipherSuite, nil)
        case GNUTLS_E_NO_COMMON_KEY_SHARE, GNUTLS_E_ECC_NO_SUPPORTED_CURVES, GNUTLS_E_ECC_UNSUPPORTED_CURVE:
            (.noCommonGroup, nil)
        case GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM, GNUTLS_E_INCOMPATIBLE_SIG_WITH_KEY,
            GNUTLS_E_INCOMPAT_DSA_KEY_WITH_TLS_PROTOCOL:
            (.noCommonSignatureScheme, nil)
        case GNUTLS_E_NO_APPLICATION_PROTOCOL: (.applicationProtocolMismatch, nil)
        case GNUTLS_E_PREMATURE_TERMINATION, GNUTLS_E_SESSION_EOF: (.peerClosed, nil)
        case GNUTLS_E_PUSH_ERROR, GNUTLS_E_PULL_ERROR: (.connectionReset, nil)
        case GNUTLS_E_FATAL_ALERT_RECEIVED, GNUTLS_E_WARNING_ALERT_RECEIVED: (.alertReceived, nil)
        case GNUTLS_E_PK_SIG_VERIFY_FAILED: (.certificateSignatureInvalid, nil)
        case GNUTLS_E_NO_CERTIFICATE_FOUND, GNUTLS_E_CERTIFICATE_REQUIRED: (.certificateMissing, nil)
        case GNUTLS_E_INSUFFICIENT_SECURITY: (.certificateInsecureAlgorithm, nil)
        // A certificate type or key algorithm that TLS 1.3 does not have.
        case GNUTLS_E_UNSUPPORTED_CERTIFICATE_TYPE, GNUTLS_E_UNKNOWN_PK_ALGORITHM:
            (.certificateInvalid, .unsupportedCertificate)
        case GNUTLS_E_OCSP_RESPONSE_ERROR, GNUTLS_E_OCSP_MISMATCH_WITH_CERTS, GNUTLS_E_NO_CERTIFICATE_STATUS:
            (.certificateInvalid, .badCertificateStatusResponse)
        case GNUTLS_E_CERTIFICATE_ERROR, GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR, GNUTLS_E_KEY_USAGE_VIOLATION,
            GNUTLS_E_X509_UNSUPPORTED_CRITICAL_EXTENSION, GNUTLS_E_X509_UNSUPPORTED_EXTENSION,
            GNUTLS_E_X509_UNSUPPORTED_ATTRIBUTE, GNUTLS_E_X509_UNSUPPORTED_OID, GNUTLS_E_X509_UNKNOWN_SAN,
            GNUTLS_E_X509_DUPLICATE_EXTENSION, GNUTLS_E_CONSTRAINT_ERROR, GNUTLS_E_CERTIFICATE_TIME_ERROR,
            GNUTLS_E_CERTIFICATE_LIST_UNSORTED, GNUTLS_E_NOT_YET_ACTIVATED, GNUTLS_E_EXPIRED,
            GNUTLS_E_MALFORMED_CIDR, GNUTLS_E_IDNA_ERROR, GNUTLS_E_INVALID_UTF8_STRING, GNUTLS_E_INVALID_UTF8_EMAIL,
            GNUTLS_E_DECOMPRESSION_FAILED, GNUTLS_E_ASN1_ELEMENT_NOT_FOUND, GNUTLS_E_ASN1_IDENTIFIER_NOT_FOUND,
            GNUTLS_E_ASN1_DER_ERROR, GNUTLS_E_ASN1_VALUE_NOT_FOUND, GNUTLS_E_ASN1_GENERIC_ERROR,
            GNUTLS_E_ASN1_VALUE_NOT_VALID, GNUTLS_E_ASN1_TAG_ERROR, GNUTLS_E_ASN1_TAG_IMPLICIT,
            GNUTLS_E_ASN1_TYPE_ANY_ERROR, GNUTLS_E_ASN1_SYNTAX_ERROR, GNUTLS_E_ASN1_DER_OVERFLOW,
            GNUTLS_E_ASN1_EMBEDDED_NULL_IN_STRING, GNUTLS_E_ASN1_TIME_ERROR:
            (.certificateInvalid, nil)
        case GNUTLS_E_UNEXPECTED_PACKET_LENGTH, GNUTLS_E_UNEXPECTED_EXTENSIONS_LENGTH, GNUTLS_E_HANDSHAKE_TOO_LARGE,
            GNUTLS_E_PARSING_ERROR, GNUTLS_E_LARGE_PACKET:
            (.protocolViolation, .decodeError)
        case GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER, GNUTLS_E_ILLEGAL_PARAMETER, GNUTLS_E_PK_INVALID_PUBKEY,
            GNUTLS_E_PK_INVALID_PUBKEY_PARAMS, GNUTLS_E_MPI_SCAN_FAILED, GNUTLS_E_DH_PRIME_UNACCEPTABLE,
            GNUTLS_E_UNKNOWN_COMPRESSION_ALGORITHM, GNUTLS_E_NO_COMPRESSION_ALGORITHMS, GNUTLS_E_BAD_COOKIE,
            GNUTLS_E_RECEIVED_DISALLOWED_NAME, GNUTLS_E_UNWANTED_ALGORITHM, GNUTLS_E_UNKNOWN_ALGORITHM,
            GNUTLS_E_UNKNOWN_HASH_ALGORITHM, GNUTLS_E_SESSION_USER_ID_CHANGED:
            (.protocolViolation, .illegalParameter)
        case GNUTLS_E_RECEIVED_ILLEGAL_EXTENSION: (.protocolViolation, .unsupportedExtension)
        case GNUTLS_E_MISSING_EXTENSION: (.protocolViolation, .missingExtension)
        case GNUTLS_E_UNEXPECTED_PACKET, GNUTLS_E_UNEXPECTED_HANDSHAKE_PACKET, GNUTLS_E_GOT_APPLICATION_DATA,
            GNUTLS_E_TOO_MANY_EMPTY_PACKETS, GNUTLS_E_TOO_MANY_HANDSHAKE_PACKETS, GNUTLS_E_REHANDSHAKE,
            GNUTLS_E_REAUTH_REQUEST, GNUTLS_E_HANDSHAKE_DURING_FALSE_START, GNUTLS_E_HEARTBEAT_PING_RECEIVED,
            GNUTLS_E_HEARTBEAT_PONG_RECEIVED, GNUTLS_E_SAFE_RENEGOTIATION_FAILED,
            GNUTLS_E_UNSAFE_RENEGOTIATION_DENIED:
            (.protocolViolation, .unexpectedMessage)
        case GNUTLS_E_RECORD_OVERFLOW: (.protocolViolation, .recordOverflow)
        case GNUTLS_E_DECRYPTION_FAILED, GNUTLS_E_MAC_VERIFY_FAILED: (.protocolViolation, .badRecordMAC)
        case GNUTLS_E_ERROR_IN_FINISHED_PACKET: (.protocolViolation, .decryptError)
        case GNUTLS_E_INAPPROPRIATE_FALLBACK: (.protocolViolation, .inappropriateFallback)
        case GNUTLS_E_UNRECOGNIZED_NAME: (.protocolViolation, .unrecognizedName)
        default: (.libraryFailure, nil)
        }
    }

    var reason: FailureReason { row.reason }

    /// The alert that RFC 8446 prescribes for this code, if it differs from the usual alert of its reason.
    var alert: Alert? { row.alert }

    /// The failure of a handshake that this error ended.
    var failure: HandshakeFailure { HandshakeFailure(row.reason, text, alert: row.alert) }
}

extension GnuTLS {
    /// Fails a handshake if the code is negative.
    static func require(_ code: Int32, _ call: String) throws(HandshakeFailure) {
        _ = try HandshakeFailure.of(.libraryFailure, try check(code, call))
    }

    /// The value of a call. Its error fails the handshake; the detail is the context and the text of the error.
    static func failing<Value: ~Copyable>(
        _ reason: FailureReason, _ context: String, _ call: @autoclosure () throws(GnuTLSError) -> Value
    ) throws(HandshakeFailure) -> Value {
        do throws(GnuTLSError) {
            return try call()
        } catch {
            throw HandshakeFailure(reason, "\(context): \(error.text)")
        }
    }
}
