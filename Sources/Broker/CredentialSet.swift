package import Handshake
package import Settings
package import System
package import Wire

/// A role's credential files, read whole into sealed copies. What is sent to workers, and sent again to each new one; and what the
/// signer gets of it.
package final class CredentialSet {
    package private(set) var message: RoleCredentials
    /// In the order of `message.files`.
    private var copies: [SealedCopy]
    /// What the signer is to open; `nil` where there is nothing.
    let keys: SignerKeys?
    /// Of those parts that have one, in their order.
    private let keyCopies: [SealedCopy]
    /// Whether workers can use it: what the signer opens is known.
    private(set) var isComplete: Bool

    init(message: RoleCredentials, copies: [SealedCopy], keys: SignerKeys? = nil, keyCopies: [SealedCopy] = []) {
        self.message = message
        self.copies = copies
        self.keys = keys
        self.keyCopies = keyCopies
        isComplete = keys == nil
    }

    /// The copies' descriptors, borrowed: valid while this object lives.
    package var descriptors: [Int32] { copies.map(\.number) }
    var keyDescriptors: [Int32] { keyCopies.map(\.number) }

    var usesTokens: Bool { keys?.usesTokens == true }

    /// Adds what the signer has opened: for workers a private key is a file with its public half, and a certificate on a token one
    /// with its chain.
    func complete(with parts: [[UInt8]]) throws(SystemError) {
        guard let keys, !isComplete else { return }
        var entries = Array(zip(message.files, copies))
        for (part, text) in zip(keys.parts, parts) {
            let copy = SealedCopy(try SealedFile.make(named: "tlshd-public", holding: text))
            entries.append((CredentialFile(kind: part.kind, pair: part.pair, path: part.place), copy))
        }
        entries.sort { CredentialFile.precedes($0.0, $1.0) }
        message.files = entries.map(\.0)
        copies = entries.map(\.1)
        isComplete = true
    }
}

extension SignerKeys {
    var usesTokens: Bool { parts.contains { $0.source != .file } }
}

/// A sealed file in a box, since an array cannot hold what cannot be copied.
package final class SealedCopy {
    /// The sealed file; it stays this object's.
    package let descriptor: OwnedDescriptor

    package init(of path: String) throws(SystemError) {
        descriptor = try SealedFile(copying: path).takeDescriptor()
    }

    init(_ descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }

    /// Borrowed.
    var number: Int32 { descriptor.number }
}

/// Where a role's credentials come from, as the settings name them.
package struct CredentialSource: Equatable {
    package let owner: CredentialsOwner
    /// In rising order of kind and pair: what workers get as it is.
    package let files: [CredentialFile]
    /// In rising order of kind and pair: what the signer opens.
    let parts: [SignerPart]
    /// The files of the parts that have one, in their order: a key's, or a PIN's.
    let partFiles: [String]
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
        var opened: [(part: SignerPart, file: String?)] = []
        func add(_ kind: CredentialKind, _ path: String?) {
            if let path { files.append(CredentialFile(kind: kind, path: path)) }
        }
        func add(_ kind: CredentialKind, _ source: PrivateKeySource?, pair: UInt8 = 0) {
            switch source {
            case nil: return
            case .file(let path) where kind == .certificate || kind == .postQuantumCertificate:
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

    var usesTokens: Bool { parts.contains { $0.source != .file } }

    /// Every file, and whether it holds a secret.
    var allFiles: [(path: String, isSecret: Bool)] {
        files.map { ($0.path, false) } + partFiles.map { ($0, true) }
    }

    /// All files together, those of private keys included, for who has no signer; what is on tokens is not among them.
    package var localFiles: [CredentialFile] {
        let keys = parts.filter { $0.source == .file }
            .map { CredentialFile(kind: $0.kind, pair: $0.pair, path: $0.place) }
        return (files + keys).sorted(by: CredentialFile.precedes)
    }

    /// The scheme of something that is on a token, which only the signer opens.
    package var tokenScheme: Substring? {
        for case .url(let url, _) in parts.map(\.source) { return url.prefix { $0 != ":" } }
        return nil
    }

    /// Reads every file.
    ///
    /// - Throws: the first that cannot be read, with what that means.
    package func read(generation: UInt32) throws(SystemError) -> CredentialSet {
        var copies: [SealedCopy] = []
        for file in files { copies.append(try SealedCopy(of: file.path)) }
        var keyCopies: [SealedCopy] = []
        for path in partFiles { keyCopies.append(try SealedCopy(of: path)) }
        return CredentialSet(
            message: RoleCredentials(
                profile: owner.profile, role: owner.role, generation: generation, files: files, rules: rules,
                limits: limits),
            copies: copies, keys: parts.isEmpty ? nil : SignerKeys(owner: owner, generation: generation, parts: parts),
            keyCopies: keyCopies)
    }

    /// Which files these are at this moment; a missing one has no identity. Any difference is a change.
    func identities() -> [String: FileIdentity] {
        var identities: [String: FileIdentity] = [:]
        for (path, _) in allFiles { identities[path] = try? FileIdentity(ofPath: path) }
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
