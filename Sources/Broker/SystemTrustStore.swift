internal import Unconfined

/// Where distributions keep the certificates of the authorities that they trust, in one PEM file. A worker could not
/// open it.
package enum SystemTrustStore {
    static let places = [
        "/etc/ssl/certs/ca-certificates.crt",  // Debian, Ubuntu, Arch, Gentoo, Alpine
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // Fedora, RHEL
        "/etc/pki/tls/certs/ca-bundle.crt",  // the same, formerly
        "/etc/ssl/ca-bundle.pem",  // SUSE
    ]

    /// The first that exists; where none does, the one of Debian, so that the error names a file.
    static var path: String { places.first(where: Host.isReadable) ?? places[0] }
}
