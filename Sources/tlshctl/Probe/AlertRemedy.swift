internal import Handshake
internal import System
internal import TLS
internal import X509

/// Our certificate, as far as an alert of the server may be about it.
struct PresentedCertificate: Sendable, Equatable {
    let subject: String
    /// Issuer of the last certificate that was sent: the authority that the server must trust.
    let authority: String
    let notAfter: Int64
}

extension PresentedCertificate {
    init(_ chain: CertificateChain) {
        subject = chain.leaf.subject
        authority = (chain.certificates.last ?? chain.leaf).issuer
        notAfter = chain.leaf.notAfter
    }
}

/// Action for the operator after an alert of the server (RFC 8446 §6.2). It follows the cases in which tlshd, as a
/// server, sends the alert.
enum AlertRemedy {
    /// - Parameter own: the certificate that was presented to the server.
    static func text(_ alert: Alert, _ own: PresentedCertificate?) -> String {
        switch alert {
        case .certificateRequired:
            return "set x509.certificate and x509.private_key in [authenticate.client], or give --certificate and --key"
        case .accessDenied:
            let rules = own.map { ", or its x509.allow rules do not let \($0.subject) in" } ?? ""
            return "run tlshctl check there: its own certificate cannot be used\(rules)"
        case .handshakeFailure, .insufficientSecurity:
            return "compare the crypto policies of both hosts: run tlshctl check --only policy on each"
        case .protocolVersion: return "enable TLS 1.3 on the server"
        case .unrecognizedName: return "use a name that the server knows, such as one of its certificate"
        case .noApplicationProtocol:
            return "check that the port is that of the service: the server refuses our ALPN name"
        case .unknownPSKIdentity: return FailureReason.alertUnknownPSKIdentity.row.remedy
        case .internalError: return "see the server's log for its reason; the next handshake may succeed"
        default:
            return own.flatMap { text(alert, about: $0) } ?? FailureReason.alertReceived.row.remedy
        }
    }

    /// Action if the alert is about our certificate; `nil` for other alerts.
    private static func text(_ alert: Alert, about own: PresentedCertificate) -> String? {
        switch alert {
        case .unknownCA:
            "the server does not trust \(own.authority): add that authority there (x509.truststore in "
                + "[authenticate.server])"
        case .certificateExpired where own.notAfter < Clock.unixTime():
            "renew \(own.subject), which expired on \(dateText(own.notAfter))"
        case .certificateExpired:
            "compare the clocks of both hosts: \(own.subject) is valid to \(dateText(own.notAfter))"
        case .certificateRevoked: "issue another certificate: \(own.subject) is on the server's revocation list"
        case .certificateUnknown:
            "see the server's log: it has no current revocation list of \(own.authority), or x509.pin without "
                + own.subject
        case .unsupportedCertificate: "reissue \(own.subject) with the extended key usage clientAuth"
        case .badCertificate:
            "see the server's log: \(own.subject) has another name than the server wants, or a key or signature that "
                + "it refuses"
        case .decryptError:
            "check that \(own.subject) and its private key belong together: the server could not verify our signature"
        default: nil
        }
    }
}
