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
