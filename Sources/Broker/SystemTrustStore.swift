internal import Unconfined

/// The distribution's trust store as one PEM file. Located by the broker, because a worker cannot open files.
package enum SystemTrustStore {
    static let places = [
        "/etc/ssl/certs/ca-certificates.crt",  // Debian, Ubuntu, Arch, Gentoo, Alpine
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // Fedora, RHEL
        "/etc/pki/tls/certs/ca-bundle.crt",  // the same, formerly
        "/etc/ssl/ca-bundle.pem",  // SUSE
    ]

    /// The first file that exists, otherwise Debian's, so that the error names a file.
    static var path: String { places.first(where: Host.isReadable) ?? places[0] }
}
