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
    /// By the pair that they belong to.
    private var certificates: [Pair: [Certificate]] = [:]
    private var keys: [Pair: PrivateKey] = [:]
    private var notes: [String] = []
    /// What should be changed.
    private var warnings: [String] = []
    /// What is so by the clock: the dates are among the facts.
    private var dated: [String] = []
    private var trustsSomebody = false
    private var revocationLists: RevocationLists?
    private var facts = CredentialsFacts()

    /// A certificate with its key, of which a role may have several.
    private enum Pair: Hashable {
        case postQuantum
        /// 0 is the one without a name.
        case ordinary(UInt8)

        /// `nil` for a file that is no part of one.
        init?(_ file: CredentialFile) {
            switch file.kind {
            case .certificate, .privateKey: self = .ordinary(file.pair)
            case .postQuantumCertificate, .postQuantumPrivateKey: self = .postQuantum
            case .trustStore, .revocationList: return nil
            }
        }
    }

    /// - Parameter signer: who holds the private keys: their files are only the public halves then. Without one the
    ///   files are the keys, for tests and measurements.
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
        let rules = specification.rules
        let verifiesByPin = !trustsSomebody && !rules.pins.isEmpty
        guard trustsSomebody || verifiesByPin else { throw .trustStoreMissing }
        if verifiesByPin {
            notes.append("trusts \(rules.pins.count) pinned \(rules.pins.count == 1 ? "peer" : "peers")")
        }
        var chains: [CertificateChain] = []
        for pair in pairs {
            if let chain = try chain(of: pair) { chains.append(chain) }
        }
        if specification.role == .server, chains.isEmpty { throw .serverCertificateMissing }
        if chains.isEmpty { notes.append("no certificate of our own") }
        guard let owned = unsafe handle else { throw .libraryFailure("no credentials") }
        let anchors = unsafe TrustAnchors(of: owned, rules)
        if let lists = revocationLists,
            let problem = lists.problem(with: anchors) ?? lists.problem(with: specification.floors)
        {
            let path = specification.files.first { $0.kind == .revocationList }?.path ?? ""
            throw .revocationListUnusable(path: path, problem: problem)
        }
        unsafe handle = nil
        warnings += anchors.warnings(rules)
        let text = notes.joined(separator: "; ")
        facts.warning = MessageText.fit(warnings.joined(separator: "; "))
        let all = warnings + dated
        let summary = all.isEmpty ? text : "\(CredentialsVerdict.warning)\(all.joined(separator: "; ")); \(text)"
        return unsafe Credentials(
            specification.role, adopting: owned, chains, revocationLists, anchors, rules, verifiesByPin: verifiesByPin,
            summary, facts)
    }

    private mutating func load(_ file: CredentialFile, _ bytes: UnsafeRawBufferPointer) throws(CredentialsError) {
        switch file.kind {
        case .trustStore: try unsafe loadTrustStore(file.path, bytes)
        case .revocationList: try unsafe loadRevocationLists(file.path, bytes)
        case .certificate, .postQuantumCertificate:
            guard let pair = Pair(file), isUsable(pair) else { return }
            do throws(PEMProblem) {
                certificates[pair] = try unsafe Certificate.list(of: PEMFile(bytes))
            } catch {
                throw .certificateUnusable(path: file.path, problem: error.description)
            }
        case .privateKey, .postQuantumPrivateKey:
            guard let pair = Pair(file), isUsable(pair) else { return }
            keys[pair] = try unsafe privateKey(file, bytes)
        }
    }

    private func privateKey(
        _ file: CredentialFile, _ bytes: UnsafeRawBufferPointer
    ) throws(CredentialsError) -> PrivateKey {
        guard let signer else {
            do throws(KeyOpeningError) {
                // As the signer opens it.
                return try unsafe SigningKey(pem: bytes).key
            } catch {
                throw .privateKeyUnusable(path: file.path, problem: error.text)
            }
        }
        let reference = KeyReference(
            specification.owner, generation: specification.generation, kind: file.kind, pair: file.pair)
        do throws(GnuTLSError) {
            return try PrivateKey(remote: RemoteKey(try unsafe PublicKey(pem: bytes), reference, ask: signer))
        } catch {
            throw .privateKeyUnusable(path: file.path, problem: error.text)
        }
    }

    private mutating func loadTrustStore(_ path: String, _ bytes: UnsafeRawBufferPointer) throws(CredentialsError) {
        let file = unsafe PEMFile(bytes)
        let wanted = file.count(of: .certificate)
        guard wanted > 0 else { throw .trustStoreEmpty(path: path) }
        var datum = unsafe gnutls_datum_t(borrowing: bytes)
        let count = unsafe gnutls_certificate_set_x509_trust_mem(handle, &datum, GNUTLS_X509_FMT_PEM)
        // The library says neither which it could not read nor that it left some out.
        if count != wanted || !file.isComplete, let problem = file.damagedCertificate() {
            throw .trustStoreUnusable(path: path, problem: problem.description)
        }
        guard count > 0 else {
            throw .trustStoreUnusable(path: path, problem: GnuTLSError(code: count, call: "").text)
        }
        trustsSomebody = true
        facts.authorities = UInt32(count)
        notes.append("trusts \(count) \(count == 1 ? "authority" : "authorities") of \(path)")
    }

    private mutating func loadRevocationLists(_ path: String, _ bytes: UnsafeRawBufferPointer) throws(CredentialsError)
    {
        let lists: RevocationLists
        do throws(PEMProblem) {
            lists = try unsafe RevocationLists(PEMFile(bytes))
        } catch {
            throw .revocationListUnusable(path: path, problem: error.description)
        }
        // The library keeps copies.
        let code = unsafe gnutls_certificate_set_x509_crl(handle, lists.handles.baseAddress, Int32(lists.handles.count))
        guard code >= 0 else {
            throw .revocationListUnusable(path: path, problem: GnuTLSError(code: code, call: "").text)
        }
        let count = lists.lists.count
        var note = "\(count) revocation \(count == 1 ? "list" : "lists") of \(path)"
        if let next = lists.nextUpdate {
            note += ", next update \(dateText(next))"
            if next < Int64(time(nil)) {
                dated.append(
                    "revocation list \(path) is out of date since \(dateText(next)): no peer of its issuer passes")
            }
        }
        notes.append(note)
        revocationLists = lists
        facts.revocationLists = UInt32(clamping: count)
        facts.nextUpdate = lists.nextUpdate
        facts.floors = lists.floors
    }

    /// Whether a pair can be used by this library at all.
    private func isUsable(_ pair: Pair) -> Bool { pair != .postQuantum || GnuTLS.knowsMLDSA }

    /// All that are named, in the order in which they are tried.
    private var pairs: [Pair] {
        var numbers: Set<UInt8> = [0]
        for case .ordinary(let number) in specification.files.compactMap(Pair.init) { numbers.insert(number) }
        return [.postQuantum] + numbers.sorted().map { .ordinary($0) }
    }

    private func file(_ pair: Pair, _ kinds: Set<CredentialKind>) -> CredentialFile? {
        specification.files.first { Pair($0) == pair && kinds.contains($0.kind) }
    }

    private mutating func chain(of pair: Pair) throws(CredentialsError) -> CertificateChain? {
        let found = file(pair, [.certificate, .postQuantumCertificate])
        guard isUsable(pair) else {
            if found != nil {
                warnings.append(
                    "the post-quantum certificate is not used, this GnuTLS \(GnuTLS.version) was built without ML-DSA")
            }
            return nil
        }
        let keyPath = file(pair, [.privateKey, .postQuantumPrivateKey])?.path ?? ""
        guard let certificate = found, let list = certificates[pair] else {
            if keyPath.isEmpty { return nil }
            throw .certificateMissing(keyPath: keyPath)
        }
        if keyPath.isEmpty { throw .privateKeyMissing(certificatePath: certificate.path) }
        let made: CertificateChain?
        do throws(GnuTLSError) {
            made = try keys[pair].flatMap { (key) throws(GnuTLSError) in try CertificateChain.sorted(list, key) }
        } catch {
            // An intermediate with such a key, say.
            if error.call == CertificateChain.importing {
                throw .certificateUnusable(path: certificate.path, problem: error.text)
            }
            throw .privateKeyUnusable(path: keyPath, problem: error.text)
        }
        guard let chain = made else { throw .keyMismatch(certificatePath: certificate.path, keyPath: keyPath) }
        try judgeKeys(of: chain, certificate.path)
        describe(chain, certificate)
        return chain
    }

    /// What is too small to be taken from a peer is not presented to one.
    private mutating func judgeKeys(of chain: CertificateChain, _ path: String) throws(CredentialsError) {
        let rules = specification.rules
        for certificate in chain.certificates where certificate.hasSmallKey(rules) {
            guard !certificate.isRefused(rules) else {
                throw .keyTooSmall(path: path, problem: certificate.keySizeText, least: rules.leastRSABits)
            }
            warnings.append("\(certificate.keySizeText) (\(path)), less than \(PeerRules.soundRSA), reissue it")
        }
    }

    private mutating func describe(_ chain: CertificateChain, _ file: CredentialFile) {
        for certificate in chain.certificates {
            facts.add(CredentialsFacts.Certificate(kind: file.kind, pair: file.pair, certificate.summary))
        }
        let leaf = chain.leaf
        let path = file.path
        let now = Int64(time(nil))
        if leaf.notAfter >= 0, leaf.notAfter < now {
            dated.append("our certificate \(path) (\(leaf.subject)) expired on \(dateText(leaf.notAfter)), renew it")
        } else if leaf.notBefore > now {
            dated.append(
                "our certificate \(path) (\(leaf.subject)) is valid only from \(dateText(leaf.notBefore)) on")
        }
        if let problem = chain.lengthProblem {
            warnings.append(
                "our certificate \(path) \(problem); have it issued by an authority that is nearer to the root")
        }
        var note =
            unsafe "certificate \(leaf.subject) of \(path) until \(dateText(leaf.notAfter)), chain of \(chain.entries.count)"
        if chain.unused > 0 { note += " (\(chain.unused) other certificates in the file are not sent)" }
        notes.append(note)
    }
}
