internal import CGnuTLS
internal import Glibc
internal import Handshake
package import System
package import Wire

/// Makes a role's credentials out of its files: one `load` for each, then `finish`.
@safe package struct CredentialsLoader: ~Copyable {
    private let specification: RoleCredentials
    private let signer: SignerCall?
    /// Valid until `finish` hands it on, or deinit.
    private var handle: gnutls_certificate_credentials_t?
    private var certificates: [CredentialKind: [Certificate]] = [:]
    private var keys: [CredentialKind: PrivateKey] = [:]
    private var notes: [String] = []
    private var warnings: [String] = []
    private var trustsSomebody = false
    private var revocationLists: RevocationLists?

    /// - Parameter signer: who holds the private keys: their files are only the public halves then. Without one the files are the keys,
    ///   for tests and measurements.
    package init(_ specification: RoleCredentials, signer: SignerCall? = nil) throws(CredentialsError) {
        self.specification = specification
        self.signer = signer
        let code = unsafe gnutls_certificate_allocate_credentials(&handle)
        guard code >= 0 else {
            throw .libraryFailure(GnuTLSError(code: code, call: "gnutls_certificate_allocate_credentials").description)
        }
    }

    deinit {
        if let handle = unsafe handle { unsafe gnutls_certificate_free_credentials(handle) }
    }

    /// Reads one file.
    ///
    /// - Throws: what is wrong with it; the loader is of no use then.
    package mutating func load(_ file: CredentialFile, _ descriptor: borrowing OwnedDescriptor) throws(CredentialsError)
    {
        let contents: SealedContents
        do throws(SystemError) {
            contents = try SealedContents(of: descriptor)
        } catch {
            throw .unreadable(path: file.path, problem: error.description)
        }
        try unsafe contents.withUnsafeBytes { (bytes) throws(CredentialsError) in try unsafe load(file, bytes) }
    }

    /// Puts the parts together.
    package consuming func finish() throws(CredentialsError) -> Credentials {
        guard trustsSomebody else { throw .trustStoreMissing }
        let chain = try pair(.certificate, .privateKey)
        let special = try postQuantumPair()
        if specification.role == .server, chain == nil { throw .serverCertificateMissing }
        if chain == nil { notes.append("no certificate of our own") }
        guard let owned = unsafe handle else { throw .libraryFailure("no credentials") }
        unsafe handle = nil
        let text = notes.joined(separator: "; ")
        let summary = warnings.isEmpty ? text : "WARNING: \(warnings.joined(separator: "; ")); \(text)"
        return unsafe Credentials(specification.role, adopting: owned, chain, special, revocationLists, summary)
    }

    private mutating func load(_ file: CredentialFile, _ bytes: UnsafeRawBufferPointer) throws(CredentialsError) {
        switch file.kind {
        case .trustStore: try unsafe loadTrustStore(file.path, bytes)
        case .revocationList: try unsafe loadRevocationLists(file.path, bytes)
        case .certificate, .postQuantumCertificate:
            guard isUsable(file.kind) else { return }
            do throws(GnuTLSError) {
                certificates[file.kind] = try unsafe Certificate.list(fromPEM: bytes)
            } catch {
                throw .certificateUnusable(path: file.path, problem: error.text)
            }
        case .privateKey, .postQuantumPrivateKey:
            guard isUsable(file.kind) else { return }
            do throws(GnuTLSError) {
                keys[file.kind] = try unsafe privateKey(file, bytes)
            } catch {
                throw .privateKeyUnusable(path: file.path, problem: error.text)
            }
        }
    }

    private func privateKey(_ file: CredentialFile, _ bytes: UnsafeRawBufferPointer) throws(GnuTLSError) -> PrivateKey {
        guard let signer else { return try unsafe PrivateKey(bytes, GNUTLS_X509_FMT_PEM) }
        let reference = KeyReference(
            specification.owner, generation: specification.generation, kind: file.kind, pair: 0)
        return try PrivateKey(
            remote: RemoteKey(try unsafe PublicKey(pem: bytes), reference, ask: signer))
    }

    private mutating func loadTrustStore(_ path: String, _ bytes: UnsafeRawBufferPointer) throws(CredentialsError) {
        var datum = unsafe gnutls_datum_t(borrowing: bytes)
        let count =
            unsafe bytes.isEmpty ? 0 : gnutls_certificate_set_x509_trust_mem(handle, &datum, GNUTLS_X509_FMT_PEM)
        switch count {
        case 0, GNUTLS_E_NO_CERTIFICATE_FOUND, GNUTLS_E_BASE64_UNEXPECTED_HEADER_ERROR:
            throw .trustStoreEmpty(path: path)
        case ..<0: throw .trustStoreUnusable(path: path, problem: GnuTLSError(code: count, call: "").text)
        default:
            trustsSomebody = true
            notes.append("trusts \(count) \(count == 1 ? "authority" : "authorities") of \(path)")
        }
    }

    private mutating func loadRevocationLists(_ path: String, _ bytes: UnsafeRawBufferPointer) throws(CredentialsError)
    {
        let lists: RevocationLists
        do throws(GnuTLSError) {
            lists = try unsafe RevocationLists(fromPEM: bytes)
            // The library keeps copies.
            let code = unsafe gnutls_certificate_set_x509_crl(
                handle, lists.handles.baseAddress, Int32(lists.handles.count))
            try GnuTLS.check(code, "gnutls_certificate_set_x509_crl")
        } catch {
            throw .revocationListUnusable(path: path, problem: error.text)
        }
        let count = unsafe lists.handles.count
        var note = "\(count) revocation \(count == 1 ? "list" : "lists") of \(path)"
        if let next = lists.nextUpdate {
            note += ", next update \(dateText(next))"
            if next < Int64(time(nil)) {
                warnings.append(
                    "revocation list \(path) is out of date since \(dateText(next)): no peer of its issuer passes")
            }
        }
        notes.append(note)
        revocationLists = lists
    }

    /// Whether a part can be used by this library at all: post-quantum pairs need one that knows ML-DSA (GnuTLS 3.8.9).
    private func isUsable(_ kind: CredentialKind) -> Bool {
        switch kind {
        case .postQuantumCertificate, .postQuantumPrivateKey:
            unsafe gnutls_pk_get_id("ML-DSA-65") != GNUTLS_PK_UNKNOWN
        case .trustStore, .revocationList, .certificate, .privateKey: true
        }
    }

    private mutating func postQuantumPair() throws(CredentialsError) -> CertificateChain? {
        guard isUsable(.postQuantumCertificate) else {
            if specification.kinds.contains(.postQuantumCertificate) {
                warnings.append("the post-quantum certificate is not used, GnuTLS \(GnuTLS.version) knows no ML-DSA")
            }
            return nil
        }
        return try pair(.postQuantumCertificate, .postQuantumPrivateKey)
    }

    private func path(_ kind: CredentialKind) -> String? { specification.files.first { $0.kind == kind }?.path }

    private mutating func pair(
        _ certificateKind: CredentialKind, _ keyKind: CredentialKind
    ) throws(CredentialsError) -> CertificateChain? {
        let keyPath = path(keyKind) ?? ""
        guard let certificatePath = path(certificateKind), let list = certificates[certificateKind] else {
            if keyPath.isEmpty { return nil }
            throw .certificateMissing(keyPath: keyPath)
        }
        if keyPath.isEmpty { throw .privateKeyMissing(certificatePath: certificatePath) }
        let made: CertificateChain?
        do throws(GnuTLSError) {
            made = try keys[keyKind].flatMap { (key) throws(GnuTLSError) in try CertificateChain.sorted(list, key) }
        } catch {
            throw .privateKeyUnusable(path: keyPath, problem: error.text)
        }
        guard let chain = made else { throw .keyMismatch(certificatePath: certificatePath, keyPath: keyPath) }
        describe(chain, certificatePath)
        return chain
    }

    private mutating func describe(_ chain: CertificateChain, _ path: String) {
        let leaf = chain.leaf
        let now = Int64(time(nil))
        if leaf.notAfter >= 0, leaf.notAfter < now {
            warnings.append("our certificate \(path) (\(leaf.subject)) expired on \(dateText(leaf.notAfter)), renew it")
        } else if leaf.notBefore > now {
            warnings.append(
                "our certificate \(path) (\(leaf.subject)) is valid only from \(dateText(leaf.notBefore)) on")
        }
        var note =
            unsafe "certificate \(leaf.subject) of \(path) until \(dateText(leaf.notAfter)), chain of \(chain.entries.count)"
        if chain.unused > 0 { note += " (\(chain.unused) other certificates in the file are not sent)" }
        notes.append(note)
    }
}
