internal import Handshake
internal import Settings
internal import System
internal import Wire

/// A role's credential files, read whole into sealed copies. What is sent to workers, and sent again to each new one; and what the
/// signer gets of it.
final class CredentialSet {
    private(set) var message: RoleCredentials
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
    var descriptors: [Int32] { copies.map(\.number) }
    var keyDescriptors: [Int32] { keyCopies.map(\.number) }

    var usesTokens: Bool { keys?.usesTokens == true }

    /// Adds what the signer has opened: for workers a private key is a file with its public half, and a certificate on a token one
    /// with its chain.
    func complete(with parts: [[UInt8]]) throws(SystemError) {
        guard let keys, !isComplete else { return }
        var entries = Array(zip(message.files, copies))
        for (part, text) in zip(keys.parts, parts) {
            let copy = SealedCopy(try SealedFile.make(named: "tlshd-public", holding: text))
            entries.append((CredentialFile(kind: part.kind, path: part.place), copy))
        }
        entries.sort { $0.0.kind < $1.0.kind }
        message.files = entries.map(\.0)
        copies = entries.map(\.1)
        isComplete = true
    }
}

extension SignerKeys {
    var usesTokens: Bool { parts.contains { $0.source != .file } }
}

/// A sealed file in a box, since an array cannot hold what cannot be copied.
final class SealedCopy {
    private let descriptor: OwnedDescriptor

    init(of path: String) throws(SystemError) {
        descriptor = try SealedFile(copying: path).takeDescriptor()
    }

    init(_ descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }

    /// Borrowed.
    var number: Int32 { descriptor.number }
}

/// Where a role's credentials come from, as the settings name them.
struct CredentialSource: Equatable {
    let owner: CredentialsOwner
    /// In rising order of kind: what workers get as it is.
    let files: [CredentialFile]
    /// In rising order of kind: what the signer opens.
    let parts: [SignerPart]
    /// The files of the parts that have one, in their order: a key's, or a PIN's.
    let partFiles: [String]
    /// No trust store is named: the system's is meant.
    let usesSystemTrust: Bool

    init(owner: CredentialsOwner, settings: RoleSettings) {
        self.owner = owner
        usesSystemTrust = settings.trustStore == nil
        var files: [CredentialFile] = []
        var parts: [SignerPart] = []
        var partFiles: [String] = []
        func add(_ kind: CredentialKind, _ path: String?) {
            if let path { files.append(CredentialFile(kind: kind, path: path)) }
        }
        func add(_ kind: CredentialKind, _ source: PrivateKeySource?) {
            switch source {
            case nil: return
            case .file(let path) where kind == .certificate || kind == .postQuantumCertificate: add(kind, path)
            case .file(let path):
                parts.append(SignerPart(kind: kind, place: path, source: .file))
                partFiles.append(path)
            case .url(let url):
                let source = SignerPart.Source.url(url.withoutPINFile, hasPIN: url.pinFile != nil)
                parts.append(SignerPart(kind: kind, place: url.label, source: source))
                if let path = url.pinFile { partFiles.append(path) }
            }
        }
        add(.trustStore, settings.trustStore?.value ?? SystemTrustStore.path)
        add(.revocationList, settings.crl?.value)
        add(.certificate, settings.certificate?.value)
        add(.privateKey, settings.privateKey?.value)
        add(.postQuantumCertificate, settings.pqCertificate?.value)
        add(.postQuantumPrivateKey, settings.pqPrivateKey?.value)
        self.files = files
        self.parts = parts
        self.partFiles = partFiles
    }

    var usesTokens: Bool { parts.contains { $0.source != .file } }

    /// Every file, and whether it holds a secret.
    var allFiles: [(path: String, isSecret: Bool)] {
        files.map { ($0.path, false) } + partFiles.map { ($0, true) }
    }

    /// Reads every file.
    ///
    /// - Throws: the first that cannot be read, with what that means.
    func read(generation: UInt32) throws(SystemError) -> CredentialSet {
        var copies: [SealedCopy] = []
        for file in files { copies.append(try SealedCopy(of: file.path)) }
        var keyCopies: [SealedCopy] = []
        for path in partFiles { keyCopies.append(try SealedCopy(of: path)) }
        return CredentialSet(
            message: RoleCredentials(
                profile: owner.profile, role: owner.role, generation: generation, files: files), copies: copies,
            keys: parts.isEmpty ? nil : SignerKeys(owner: owner, generation: generation, parts: parts),
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
enum SystemTrustStore {
    static let places = [
        "/etc/ssl/certs/ca-certificates.crt",  // Debian, Ubuntu, Arch, Gentoo, Alpine
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // Fedora, RHEL
        "/etc/pki/tls/certs/ca-bundle.crt",  // the same, formerly
        "/etc/ssl/ca-bundle.pem",  // SUSE
    ]

    /// The first that exists; where none does, the one of Debian, so that the error names a file.
    static var path: String { places.first(where: Host.isReadable) ?? places[0] }
}
