package import Handshake
package import Settings
package import System
package import Wire

/// A role's credential files, read whole into sealed copies. What is sent to workers, and sent again to each new one.
package final class CredentialSet {
    package let message: RoleCredentials
    /// In the order of `message.files`.
    private let copies: [SealedCopy]

    init(message: RoleCredentials, copies: [SealedCopy]) {
        self.message = message
        self.copies = copies
    }

    /// The copies' descriptors, borrowed: valid while this object lives.
    package var descriptors: [Int32] { copies.map { $0.file.descriptor.number } }
}

/// A sealed file in a box, since an array cannot hold what cannot be copied.
package final class SealedCopy {
    package let file: SealedFile

    package init(of path: String) throws(SystemError) {
        file = try SealedFile(copying: path)
    }
}

/// Where a role's credentials come from, as the settings name them.
package struct CredentialSource: Equatable {
    package let owner: CredentialsOwner
    /// In rising order of kind and pair.
    package let files: [CredentialFile]
    package let privateKeyURL: String
    package let postQuantumPrivateKeyURL: String
    package let pairKeyURLs: [PairKeyURL]
    package let rules: PeerRules
    package let limits: NegotiationLimits
    /// No trust store is named: the system's is meant.
    package let usesSystemTrust: Bool

    package init(owner: CredentialsOwner, settings: RoleSettings) {
        self.owner = owner
        usesSystemTrust = settings.trustStore == nil && !settings.verifiesByPin
        rules = settings.rules
        limits = settings.limits
        var files: [CredentialFile] = []
        func add(_ kind: CredentialKind, _ path: String?, pair: UInt8 = 0) {
            if let path { files.append(CredentialFile(kind: kind, pair: pair, path: path)) }
        }
        add(.trustStore, usesSystemTrust ? SystemTrustStore.path : settings.trustStore?.value)
        add(.revocationList, settings.crl?.value)
        add(.certificate, settings.certificate?.value)
        add(.privateKey, settings.privateKey?.value.path)
        add(.postQuantumCertificate, settings.pqCertificate?.value)
        add(.postQuantumPrivateKey, settings.pqPrivateKey?.value.path)
        var urls: [PairKeyURL] = []
        for (index, pair) in settings.pairs.enumerated() {
            let number = UInt8(clamping: index + 1)
            add(.certificate, pair.certificate?.value, pair: number)
            add(.privateKey, pair.privateKey?.value.path, pair: number)
            if let url = pair.privateKey?.value.url { urls.append(PairKeyURL(pair: number, url: url)) }
        }
        self.files = files.sorted(by: CredentialFile.precedes)
        pairKeyURLs = urls
        privateKeyURL = settings.privateKey?.value.url ?? ""
        postQuantumPrivateKeyURL = settings.pqPrivateKey?.value.url ?? ""
    }

    /// The scheme of a key that no process of ours can open.
    package var unopenableKey: Substring? {
        ([privateKeyURL, postQuantumPrivateKeyURL] + pairKeyURLs.map(\.url)).first { !$0.isEmpty }?.prefix { $0 != ":" }
    }

    /// Reads every file.
    ///
    /// - Throws: the first that cannot be read, with what that means.
    package func read(generation: UInt32) throws(SystemError) -> CredentialSet {
        var copies: [SealedCopy] = []
        for file in files { copies.append(try SealedCopy(of: file.path)) }
        return CredentialSet(
            message: RoleCredentials(
                profile: owner.profile, role: owner.role, generation: generation, files: files,
                privateKeyURL: privateKeyURL, postQuantumPrivateKeyURL: postQuantumPrivateKeyURL,
                pairKeyURLs: pairKeyURLs,
                rules: rules, limits: limits),
            copies: copies)
    }

    /// Which files these are at this moment; a missing one has no identity. Any difference is a change.
    func identities() -> [String: FileIdentity] {
        var identities: [String: FileIdentity] = [:]
        for file in files { identities[file.path] = try? FileIdentity(ofPath: file.path) }
        return identities
    }
}

/// Where distributions keep the certificates of the authorities that they trust, in one PEM file. A worker could not open it.
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

extension PrivateKeySource {
    fileprivate var path: String? {
        switch self {
        case .file(let path): path
        case .url: nil
        }
    }

    fileprivate var url: String? {
        switch self {
        case .file: nil
        case .url(let url): url.text
        }
    }
}
