internal import Handshake

/// A role's credentials cannot be used. Names the file or key, and the remedy.
package enum CredentialsError: Error, Sendable, Equatable {
    /// The file could not be mapped.
    case unreadable(path: String, problem: String)
    case trustStoreUnusable(path: String, problem: String)
    /// The file is readable but contains no certificate. An empty trust store is never intended.
    case trustStoreEmpty(path: String)
    /// The files include no trust store. The broker adds the system's if none is configured.
    case trustStoreMissing
    case revocationListUnusable(path: String, problem: String)
    case certificateUnusable(path: String, problem: String)
    case privateKeyUnusable(path: String, problem: String)
    /// No certificate of the file belongs to the key.
    case keyMismatch(certificatePath: String, keyPath: String)
    /// Our certificate or one of its intermediates has an RSA key that is too small.
    case keyTooSmall(path: String, problem: String, least: UInt16)
    /// Only one of certificate and key is set.
    case privateKeyMissing(certificatePath: String)
    case certificateMissing(keyPath: String)
    /// A server requires a certificate.
    case serverCertificateMissing
    case libraryFailure(String)

    /// Problem and remedy, for a log line.
    package var description: String {
        switch self {
        case .unreadable(let path, let problem): "\(path) cannot be read: \(problem)"
        case .trustStoreUnusable(let path, let problem):
            "trust store \(path) cannot be used: \(problem); it must hold PEM certificates of authorities"
        case .trustStoreEmpty(let path):
            "trust store \(path) holds no certificate; add the PEM certificates of your authorities"
        case .trustStoreMissing: "there is no trust store; install ca-certificates, or set x509.truststore"
        case .revocationListUnusable(let path, let problem):
            "revocation list \(path) cannot be used: \(problem); it must hold complete lists in PEM or DER, or be a folder of such files"
        case .certificateUnusable(let path, let problem):
            "certificate \(path) cannot be used: \(problem); it must hold a PEM certificate and its intermediates"
        case .privateKeyUnusable(let path, let problem):
            "private key \(path) cannot be used: \(problem); it must be a PEM key without a passphrase, or a URL that the "
                + "TLS library can open"
        case .keyMismatch(let certificate, let key):
            "no certificate in \(certificate) belongs to the private key \(key); install a certificate and a key that belong together"
        case .keyTooSmall(let path, let problem, let least):
            "certificate \(path) cannot be used: \(problem), and x509.rsa.minimum is \(least); reissue it with a key of "
                + "\(PeerRules.soundRSA) bits or more"
        case .privateKeyMissing(let certificate):
            "certificate \(certificate) is set without a private key; set both or neither"
        case .certificateMissing(let key): "private key \(key) is set without a certificate; set both or neither"
        case .serverCertificateMissing: "a server needs a certificate and a private key; set both"
        case .libraryFailure(let text): "the TLS library failed: \(text)"
        }
    }
}
