package import Handshake
internal import Policy
package import Settings
package import System
internal import Unconfined
package import Wire

/// Copies of the credential files of a role. Sent to all workers, including those that start later; the signer gets its
/// part.
package final class CredentialSet {
    package private(set) var message: RoleCredentials
    /// In the order of `message.files`.
    private var copies: [SealedCopy]
    /// Keys for the signer; `nil` if there are none.
    let keys: SignerKeys?
    /// Files of the parts that have one, in their order.
    private let keyCopies: [SealedCopy]
    /// True if the set can be sent to workers: the signer has opened its keys, if there are any.
    private(set) var isComplete: Bool

    init(message: RoleCredentials, copies: [SealedCopy], keys: SignerKeys? = nil, keyCopies: [SealedCopy] = []) {
        self.message = message
        self.copies = copies
        self.keys = keys
        self.keyCopies = keyCopies
        isComplete = keys == nil
    }

    /// The copies' descriptors, borrowed; valid as long as this object.
    package var descriptors: [Int32] { copies.map(\.number) }
    var keyDescriptors: [Int32] { keyCopies.map(\.number) }

    /// The signer that has its keys.
    var signer: SignerKind { message.signer }

    /// Adds what the signer has opened. A worker gets the public half of a private key, and a certificate on a token
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

/// A reference to a sealed file, because an array cannot contain noncopyable values.
package final class SealedCopy: Sendable {
    /// The sealed file; owned by this object.
    package let descriptor: OwnedDescriptor

    package init(of path: String) throws(SystemError) {
        descriptor = try SealedFile(copying: path).takeDescriptor()
    }

    /// Copies the part of a file that a worker gets: certificates and revocation lists. The file of a private key is
    /// copied whole, for programs without a signer.
    ///
    /// - Throws: As `SealedFile`, also for a directory without revocation lists.
    package convenience init(of file: CredentialFile) throws(SystemError) {
        if file.kind == .privateKey || file.kind == .postQuantumPrivateKey {
            try self.init(of: file.path)
            return
        }
        var content = PublicPEM()
        let members = try file.members() ?? [file.path]
        for path in members {
            // Only certificates and revocation lists are copied into our memory; the file may also contain a private
            // key. The mapping and the sealed copy end here, and the kernel clears their pages before they are reused.
            let whole = try SealedContents(of: SealedFile(copying: path).takeDescriptor())
            whole.withSpan { bytes in
                content.add(
                    bytes, named: path == file.path ? nil : path, mayBeDER: file.kind == .revocationList)
            }
            guard content.bytes.count <= SealedFile.limit else {
                throw SystemError("open", .success, "\(file.path): it has more than \(SealedFile.limit) bytes")
            }
        }
        self.init(try SealedFile.make(named: "tlshd-public", holding: content.bytes))
    }

    init(_ descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }

    /// Borrowed.
    var number: Int32 { descriptor.number }
}

extension CredentialFile {
    private static let listEndings = [".pem", ".crl", ".der"]

    /// The files in a directory of revocation lists, sorted; `nil` if the path is no directory.
    ///
    /// - Throws: `opendir`; `success` if the directory contains no list.
    package func members() throws(SystemError) -> [String]? {
        guard kind == .revocationList else { return nil }
        let names: [String]
        do throws(SystemError) {
            names = try FolderListing.names(in: path)
        } catch {
            if error.number == .enotdir || error.number == .enoent { return nil }
            throw error
        }
        let lists = names.filter { name in !name.hasPrefix(".") && Self.listEndings.contains(where: name.hasSuffix) }
        guard !lists.isEmpty else {
            let endings = Self.listEndings.joined(separator: ", ")
            throw SystemError("open", .success, "\(path): the folder has no files that end in \(endings)")
        }
        return lists.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { "\(path)/\($0)" }
    }
}

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
            "x509.truststore is not set, so that a certificate of any of the \(authorities.counted("authority", "authorities")) of \(store) is accepted "
                + "as a client's, even with xprtsec=mtls",
            "name the authority of the clients in x509.truststore, or \(store) if all of these are meant"
        )
    }

    private var signer: SignerKind { parts.contains { $0.source != .file } ? .tokens : .files }

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
                profile: owner.profile, role: owner.role, generation: generation, files: files,
                signer: signer, rules: rules, limits: limits, floors: floors),
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
