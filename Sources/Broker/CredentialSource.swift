package import Handshake
package import Settings
internal import System
internal import Unconfined
package import Wire

/// The origin of a role's credentials according to the settings.
package struct CredentialSource: Equatable, Sendable {
    package let owner: CredentialsOwner
    /// Files for workers, ordered by kind and pair.
    package let files: [CredentialFile]
    /// Parts for the signer, ordered by kind and pair.
    let parts: [SignerPart]
    /// Files of the parts that have one, in their order: of keys, or of PINs.
    let partFiles: [String]
    package let rules: PeerRules
    package let limits: NegotiationLimits
    /// True if the settings name no trust store, so that the system's is used.
    package let usesSystemTrust: Bool

    package init(owner: CredentialsOwner, settings: RoleSettings) {
        self.owner = owner
        usesSystemTrust = settings.trustStore == nil && !settings.verifiesByPin
        rules = settings.rules
        limits = settings.limits
        var files: [CredentialFile] = []
        var opened: [(part: SignerPart, file: String?)] = []
        func add(_ kind: CredentialKind, _ path: String?) {
            if let path { files.append(CredentialFile(kind: kind, path: path)) }
        }
        func add(_ kind: CredentialKind, _ source: PrivateKeySource?, pair: UInt8 = 0) {
            switch source {
            case nil: return
            case .file(let path) where kind.isCertificate:
                files.append(CredentialFile(kind: kind, pair: pair, path: path))
            case .file(let path): opened.append((SignerPart(kind: kind, pair: pair, place: path, source: .file), path))
            case .url(let url):
                let source = SignerPart.Source.url(url.withoutPINFile, hasPIN: url.pinFile != nil)
                opened.append((SignerPart(kind: kind, pair: pair, place: url.label, source: source), url.pinFile))
            }
        }
        add(.trustStore, usesSystemTrust ? SystemTrustStore.path : settings.trustStore?.value)
        add(.revocationList, settings.crl?.value)
        add(.certificate, settings.certificate?.value)
        add(.privateKey, settings.privateKey?.value)
        add(.postQuantumCertificate, settings.pqCertificate?.value)
        add(.postQuantumPrivateKey, settings.pqPrivateKey?.value)
        for (index, pair) in settings.pairs.enumerated() {
            let number = UInt8(clamping: index + 1)
            add(.certificate, pair.certificate?.value, pair: number)
            add(.privateKey, pair.privateKey?.value, pair: number)
        }
        opened.sort { ($0.part.kind, $0.part.pair) < ($1.part.kind, $1.part.pair) }
        self.files = files.sorted(by: CredentialFile.precedes)
        parts = opened.map(\.part)
        partFiles = opened.compactMap(\.file)
    }

    /// True if the settings name a certificate of our own, in a file or on a token.
    package var presentsCertificate: Bool {
        files.contains(where: \.kind.isCertificate) || parts.contains(where: \.kind.isCertificate)
    }

    /// Warning for a server that accepts clients of every authority in the system's trust store, which is usually an
    /// oversight; `nil` if it does not.
    ///
    /// - Parameter authorities: the number of these authorities.
    package func publicTrust(authorities: Int) -> (text: String, remedy: String)? {
        guard owner.role == .server, usesSystemTrust, presentsCertificate,
            let store = files.first(where: { $0.kind == .trustStore })?.path
        else { return nil }
        return (
            "x509.truststore is not set, so that a certificate of any of the \(authorities) authorities of \(store) is accepted "
                + "as a client's, even with xprtsec=mtls",
            "name the authority of the clients in x509.truststore, or \(store) if all of these are meant"
        )
    }

    var usesTokens: Bool { parts.contains { $0.source != .file } }

    /// Returns `true` if a file contains a secret.
    func isSecret(_ path: String) -> Bool { partFiles.contains(path) }

    /// All files including those of private keys, for programs without a signer. Does not include objects on tokens.
    package var localFiles: [CredentialFile] {
        let keys = parts.filter { $0.source == .file }
            .map { CredentialFile(kind: $0.kind, pair: $0.pair, path: $0.place) }
        return (files + keys).sorted(by: CredentialFile.precedes)
    }

    /// URL scheme of an object on a token, which only the signer opens.
    package var tokenScheme: Substring? {
        for case .url(let url, _) in parts.map(\.source) { return url.prefix { $0 != ":" } }
        return nil
    }

    /// Copies of all files.
    struct Copies: Sendable {
        /// In the order of `files`.
        let files: [SealedCopy]
        /// In the order of `partFiles`.
        let keys: [SealedCopy]
    }

    /// Reads all files.
    ///
    /// - Throws: The first file that cannot be read.
    func copies(_ progress: FileProgress) throws(SystemError) -> Copies {
        Copies(
            files: try files.map { (file) throws(SystemError) in
                progress.at(file.path)
                return try SealedCopy(of: file)
            },
            keys: try partFiles.map { (path) throws(SystemError) in
                progress.at(path)
                return try SealedCopy(of: path)
            })
    }

    /// The set to send.
    func set(of copies: Copies, generation: UInt32, floors: [RevocationFloor]) -> CredentialSet {
        CredentialSet(
            message: RoleCredentials(
                profile: owner.profile, role: owner.role, generation: generation, files: files, rules: rules,
                limits: limits, floors: floors),
            copies: copies.files,
            keys: parts.isEmpty ? nil : SignerKeys(owner: owner, generation: generation, parts: parts),
            keyCopies: copies.keys)
    }

    /// Current identities of all files; a missing file has none. Any difference is a change.
    func identities(_ progress: FileProgress) -> [String: FileIdentity] {
        let inFolders = files.flatMap { file in
            progress.at(file.path)
            return (try? file.members()) ?? []
        }
        return FileIdentity.all(of: files.map(\.path) + inFolders + partFiles, progress)
    }
}
