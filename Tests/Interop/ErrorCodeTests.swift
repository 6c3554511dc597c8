import CGnuTLS
import Handshake
import Testing

@testable import TLS
@testable import X509

/// Every code of the library, whatever its version, as one of these: what a peer can bring about is its fault.
@Suite("the library's error codes") struct ErrorCodeTests {
    /// Codes that stay "the TLS library failed", and why no peer can bring them about.
    private static let ours: [(why: String, names: Set<String>)] = [
        (
            "this host lacks something, or the library is broken",
            [
                "MEMORY_ERROR", "INTERNAL_ERROR", "RANDOM_FAILED", "RANDOM_DEVICE_ERROR", "LIB_IN_ERROR_STATE",
                "SELF_TEST_ERROR", "NO_SELF_TEST", "CRYPTO_INIT_FAILED", "LOCKING_ERROR",
                "INCOMPATIBLE_LIBTASN1_LIBRARY",
                "INCOMPATIBLE_CRYPTO_LIBRARY", "INCOMPATIBLE_GCRYPT_LIBRARY", "HASH_FAILED", "ENCRYPTION_FAILED",
                "COMPRESSION_FAILED", "FILE_ERROR", "CRYPTODEV_IOCTL_ERROR", "CRYPTODEV_DEVICE_ERROR",
                "SOCKETS_INIT_ERROR", "MPI_PRINT_FAILED", "RECORD_LIMIT_REACHED", "UNIMPLEMENTED_FEATURE",
            ]
        ),
        (
            "we called it wrongly",
            [
                "INVALID_REQUEST", "INVALID_SESSION", "SHORT_MEMORY_BUFFER", "NO_PRIORITIES_WERE_SET", "INT_RET_0",
                "INT_CHECK_AGAIN", "ALREADY_REGISTERED", "CRYPTO_ALREADY_REGISTERED", "UNAVAILABLE_DURING_HANDSHAKE",
                "REQUESTED_DATA_NOT_AVAILABLE",
                "CHANNEL_BINDING_NOT_AVAILABLE", "TOO_MANY_MATCHES", "UNKNOWN_CIPHER_TYPE", "USER_ERROR",
                "UNSUPPORTED_ENCRYPTION_ALGORITHM", "AUTH_ERROR", "EARLY_DATA_REJECTED",
            ]
        ),
        (
            "it is no failure, or ends no handshake of ours",
            ["AGAIN", "INTERRUPTED", "TIMEDOUT", "NEED_FALLBACK"]
        ),
        (
            "our own key, certificate or token",
            [
                "PK_SIGN_FAILED", "PK_ENCRYPTION_FAILED", "PK_DECRYPTION_FAILED", "PK_GENERATION_ERROR",
                "PK_INVALID_PRIVKEY", "PRIVKEY_VERIFICATION_ERROR", "PK_NO_VALIDATION_PARAMS",
                "CERTIFICATE_KEY_MISMATCH", "KEY_IMPORT_FAILED", "PKCS11_ERROR", "PKCS11_LOAD_ERROR",
                "PKCS11_PIN_ERROR", "PKCS11_SLOT_ERROR", "PKCS11_ATTRIBUTE_ERROR", "PKCS11_DEVICE_ERROR",
                "PKCS11_DATA_ERROR", "PKCS11_UNSUPPORTED_FEATURE_ERROR", "PKCS11_KEY_ERROR", "PKCS11_PIN_EXPIRED",
                "PKCS11_PIN_LOCKED", "PKCS11_SESSION_ERROR", "PKCS11_SIGNATURE_ERROR", "PKCS11_TOKEN_ERROR",
                "PKCS11_USER_ERROR", "PKCS11_REQUESTED_OBJECT_NOT_AVAILBLE", "TPM_ERROR", "TPM_KEY_PASSWORD_ERROR",
                "TPM_SRK_PASSWORD_ERROR", "TPM_SESSION_ERROR", "TPM_KEY_NOT_FOUND", "TPM_UNINITIALIZED", "TPM_NO_LIB",
            ]
        ),
        (
            "files and formats that a handshake does not read",
            [
                "KEYFILE_ERROR", "KEYFILE_PARSING_ERROR", "BASE64_DECODING_ERROR", "BASE64_ENCODING_ERROR",
                "BASE64_UNEXPECTED_HEADER_ERROR", "UNKNOWN_PKCS_CONTENT_TYPE", "UNKNOWN_PKCS_BAG_TYPE",
                "INVALID_PASSWORD", "INVALID_PASSWORD_STRING", "NO_EMBEDDED_DATA", "CRL_VERIFICATION_ERROR",
                "PKCS1_WRONG_PAD", "DB_ERROR", "DB_ENTRY_EXISTS",
            ]
        ),
        (
            "protocols that the library has no longer, or that we do not speak",
            [
                "SRP_PWD_ERROR", "SRP_PWD_PARSING_ERROR", "ILLEGAL_SRP_USERNAME", "UNKNOWN_SRP_USERNAME",
                "NO_TEMPORARY_RSA_PARAMS", "NO_TEMPORARY_DH_PARAMS", "OPENPGP_GETKEY_FAILED", "OPENPGP_UID_REVOKED",
                "OPENPGP_FINGERPRINT_UNSUPPORTED", "OPENPGP_KEYRING_ERROR", "OPENPGP_SUBKEY_ERROR",
                "OPENPGP_PREFERRED_KEY_ERROR", "WARNING_IA_IPHF_RECEIVED", "WARNING_IA_FPHF_RECEIVED",
                "IA_VERIFY_FAILED",
            ]
        ),
    ]

    /// All codes that this library knows, by their names without `GNUTLS_E_`.
    private static let codes: [(code: Int32, name: String)] = (-1300...(-1)).compactMap { code in
        unsafe gnutls_strerror_name(Int32(code)).map { unsafe (Int32(code), String(cString: $0.advanced(by: 9))) }
    }

    @Test("a code is the peer's fault, or it stands here with the reason why it is not")
    func complete() {
        #expect(Self.codes.count > 180)
        let expected = Self.ours.reduce(into: Set<String>()) { $0.formUnion($1.names) }
        for (code, name) in Self.codes {
            let error = GnuTLSError(code: code, call: "test")
            #expect((error.reason == .libraryFailure) == expected.contains(name), "\(name) is \(error.reason)")
        }
    }

    @Test("what is the peer's fault is told to it by an alert that is not internal_error")
    func alerts() {
        for (code, name) in Self.codes {
            let error = GnuTLSError(code: code, call: "test")
            let alert = error.alert ?? error.reason.row.alert
            switch error.reason {
            case .libraryFailure: #expect(alert == .internalError, "\(name)")
            case .peerClosed, .connectionReset, .alertReceived: #expect(alert == nil, "\(name)")
            default: #expect(alert != nil && alert != .internalError, "\(name)")
            }
        }
    }

    @Test("where the library has an alert of TLS 1.3 for a violation, it is ours, or another with its reason")
    func agrees() {
        // RFC 8446 §6.2 has no warning no_renegotiation, and handshake_failure is for parameters (§6.2).
        let others: [String: Alert] = [
            "REHANDSHAKE": .unexpectedMessage, "UNSAFE_RENEGOTIATION_DENIED": .unexpectedMessage,
            "SAFE_RENEGOTIATION_FAILED": .unexpectedMessage, "UNWANTED_ALGORITHM": .illegalParameter,
            "NO_COMPRESSION_ALGORITHMS": .illegalParameter, "DH_PRIME_UNACCEPTABLE": .illegalParameter,
            "SESSION_USER_ID_CHANGED": .illegalParameter,
        ]
        for (code, name) in Self.codes {
            let error = GnuTLSError(code: code, call: "test")
            guard error.reason == .protocolViolation else { continue }
            let alert = Alert(rawValue: UInt8(truncatingIfNeeded: gnutls_error_to_alert(code, nil)))
            #expect(error.alert == others[name] ?? (alert == .internalError ? error.alert : alert), "\(name)")
        }
    }
}
