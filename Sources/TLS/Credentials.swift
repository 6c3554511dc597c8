package import CGnuTLS
package import Handshake
internal import SigningWire
package import System
package import Wire
package import X509

/// Certificates of a role: its trust store and the chains it presents. Immutable; a reload creates a new object, and
/// running handshakes keep the one that they started with.
@safe package final class Credentials {
    package let role: Role
    /// Description for the log. It starts with `WARNING` if something needs attention.
    package let summary: String
    /// The same facts for monitoring.
    package let facts: CredentialsFacts

    /// Trust list, CRLs and the retrieve callback; valid from init to deinit.
    package let handle: gnutls_certificate_credentials_t
    let revocationLists: RevocationLists?
    /// Authorities of the trust store.
    package let anchors: TrustAnchors
    /// Cache of peer chains that were verified.
    let verifiedChains = VerifiedChains()
    /// Chains that can be presented, in order of preference.
    package let chains: [CertificateChain]
    /// Rules for peers.
    package let rules: PeerRules
    /// True if no trust store is configured but digests of peer certificates are: then only the digests decide.
    package let verifiesByPin: Bool

    init(
        _ role: Role, adopting handle: gnutls_certificate_credentials_t, _ chains: [CertificateChain],
        _ revocationLists: RevocationLists?, _ anchors: TrustAnchors, _ rules: PeerRules, verifiesByPin: Bool,
        _ summary: String, _ facts: CredentialsFacts
    ) {
        self.anchors = anchors
        self.revocationLists = revocationLists
        self.role = role
        unsafe self.handle = handle
        self.chains = chains
        self.rules = rules
        self.verifiesByPin = verifiesByPin
        self.summary = summary
        self.facts = facts
        unsafe gnutls_certificate_set_retrieve_function3(handle, retrieveCertificate)
    }

    deinit { unsafe gnutls_certificate_free_credentials(handle) }

    /// True if this role has a certificate of its own.
    var presentsCertificate: Bool { !chains.isEmpty }

    /// True if the signer process holds a key of this role.
    var hasRemoteKey: Bool { chains.contains { $0.key.remote != nil } }

    /// Selects the chain for a peer: the first whose key can make a signature that the peer offers (RFC 8446 §4.2.3).
    /// If there is none, it is the first chain, and GnuTLS reports why it cannot be used.
    func chain(for session: gnutls_session_t) -> CertificateChain? {
        chains.count > 1 ? unsafe fitting(session) ?? chains.first : chains.first
    }

    /// The first chain whose key can make a signature that the peer offers.
    func fitting(_ session: gnutls_session_t) -> CertificateChain? {
        var offered: [gnutls_sign_algorithm_t] = []
        var algorithm = GNUTLS_SIGN_UNKNOWN
        while unsafe gnutls_sign_algorithm_get_requested(session, offered.count, &algorithm) >= 0 {
            offered.append(algorithm)
        }
        return chains.first { chain in offered.contains { chain.canSign($0) } }
    }
}

/// GnuTLS callback that selects the certificate to present. The returned pointers belong to the `CertificateChain`,
/// which outlives the session.
private func retrieveCertificate(
    _ session: gnutls_session_t?, _ info: UnsafePointer<gnutls_cert_retr_st>?,
    _ certificates: UnsafeMutablePointer<UnsafeMutablePointer<gnutls_pcert_st>?>?,
    _ count: UnsafeMutablePointer<UInt32>?,
    _ responses: UnsafeMutablePointer<UnsafeMutablePointer<gnutls_ocsp_data_st>?>?,
    _ responseCount: UnsafeMutablePointer<UInt32>?, _ key: UnsafeMutablePointer<OpaquePointer?>?,
    _ flags: UnsafeMutablePointer<UInt32>?
) -> Int32 {
    guard let handshake = unsafe HandshakeSession.of(session) else { return -1 }
    unsafe count?.pointee = 0
    unsafe responseCount?.pointee = 0
    unsafe flags?.pointee = 0
    guard let chain = handshake.chainToPresent() else { return 0 }
    unsafe certificates?.pointee = chain.entries.baseAddress
    unsafe count?.pointee = UInt32(chain.entries.count)
    unsafe key?.pointee = chain.key.handle
    return 0
}

/// Reads the private key of a file, whose contents are valid during the call.
package typealias KeyReader = (
    _ file: CredentialFile, _ contents: UnsafeRawBufferPointer
) throws(TextError) -> PrivateKey

/// Builds a role's credentials from its files: call `load` for each file, then `finish`.
@safe package struct CredentialsLoader: ~Copyable {
    private let specification: RoleCredentials
    private let readKey: KeyReader
    /// Valid until `finish` passes it on, or deinit.
    private var handle: gnutls_certificate_credentials_t?
    /// Keyed by the pair that they belong to.
    private var certificates: [Pair: [Certificate]] = [:]
    private var keys: [Pair: PrivateKey] = [:]
    private var notes: [String] = []
    /// Problems that the operator should fix.
    private var warnings: [String] = []
    /// Problems that depend on the date. The dates are among the facts.
    private var dated: [String] = []
    private var trustsSomebody = false
    private var revocationLists: RevocationLists?
    private var facts = CredentialsFacts()

    /// A certificate and its key. A role may have several pairs.
    private enum Pair: Hashable {
        case postQuantum
        /// 0 is the pair without a name.
        case ordinary(UInt8)

        /// `nil` for a file that is not part of a pair.
        init?(_ file: CredentialFile) {
            switch file.kind {
            case .certificate, .privateKey: self = .ordinary(file.pair)
            case .postQuantumCertificate, .postQuantumPrivateKey: self = .postQuantum
            case .trustStore, .revocationList: return nil
            }
        }
    }

    /// - Parameter signer: asks the process that holds the private keys, whose files then contain only the public
    ///   halves.
    package init(_ specification: RoleCredentials, signer: @escaping SignerCall) throws(TextError) {
        try unsafe self.init(specification) { (file, bytes) throws(TextError) in
            let reference = KeyReference(
                specification.owner, generation: specification.generation, kind: file.kind, pair: file.pair)
            do throws(GnuTLSError) {
                return try PrivateKey(remote: RemoteKey(try unsafe PublicKey(pem: bytes), reference, ask: signer))
            } catch {
                throw .unusable(key: file.path, TextError(error.text))
            }
        }
    }

    /// - Parameter readKey: reads the files with private keys.
    package init(_ specification: RoleCredentials, readingKeys readKey: @escaping KeyReader) throws(TextError) {
        self.specification = specification
        unsafe self.readKey = readKey
        let code = unsafe gnutls_certificate_allocate_credentials(&handle)
        guard code >= 0 else {
            let error = GnuTLSError(code: code, call: "gnutls_certificate_allocate_credentials")
            throw TextError("the TLS library failed: \(error)")
        }
    }

    deinit {
        if let handle = unsafe handle { unsafe gnutls_certificate_free_credentials(handle) }
    }

    /// Reads one file.
    ///
    /// - Throws: The problem with the file. The loader must not be used afterwards.
    package mutating func load(_ file: CredentialFile, _ descriptor: borrowing OwnedDescriptor) throws(TextError) {
        let contents = try TextError.of("\(file.path) cannot be read", try SealedContents(of: descriptor))
        try unsafe contents.withUnsafeBytes { (bytes) throws(TextError) in try unsafe load(file, bytes) }
    }

    /// Combines the loaded files.
    package consuming func finish() throws(TextError) -> Credentials {
        let rules = specification.rules
        let verifiesByPin = !trustsSomebody && !rules.pins.isEmpty
        guard trustsSomebody || verifiesByPin else {
            // The broker adds the system's trust store if none is configured.
            throw TextError(
                "there is no trust store", remedy: "install ca-certificates, or set x509.truststore", joint: "; ")
        }
        if verifiesByPin {
            notes.append("trusts \(rules.pins.count.counted("pinned peer"))")
        }
        var chains: [CertificateChain] = []
        for pair in pairs {
            if let chain = try chain(of: pair) { chains.append(chain) }
        }
        if specification.role == .server, chains.isEmpty {
            throw TextError("a server needs a certificate and a private key", remedy: "set both", joint: "; ")
        }
        if chains.isEmpty { notes.append("no certificate of our own") }
        guard let owned = unsafe handle else { throw TextError("the TLS library failed: no credentials") }
        let anchors = unsafe TrustAnchors(of: owned, rules)
        if let lists = revocationLists,
            let problem = lists.problem(with: anchors) ?? lists.problem(with: specification.floors)
        {
            let path = specification.files.first { $0.kind == .revocationList }?.path ?? ""
            throw .unusable(revocationList: path, problem)
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

    private mutating func load(_ file: CredentialFile, _ bytes: UnsafeRawBufferPointer) throws(TextError) {
        switch file.kind {
        case .trustStore: try unsafe loadTrustStore(file.path, bytes)
        case .revocationList: try unsafe loadRevocationLists(file.path, bytes)
        case .certificate, .postQuantumCertificate:
            guard let pair = Pair(file), isUsable(pair) else { return }
            do throws(TextError) {
                certificates[pair] = try unsafe Certificate.list(of: PEMFile(bytes))
            } catch {
                throw .unusable(certificate: file.path, error.description)
            }
        case .privateKey, .postQuantumPrivateKey:
            guard let pair = Pair(file), isUsable(pair) else { return }
            keys[pair] = try unsafe readKey(file, bytes)
        }
    }

    private mutating func loadTrustStore(_ path: String, _ bytes: UnsafeRawBufferPointer) throws(TextError) {
        let file = unsafe PEMFile(bytes)
        let wanted = file.count(of: .certificate)
        guard wanted > 0 else {
            // An empty trust store is never intended.
            throw TextError(
                "trust store \(path) holds no certificate", remedy: "add the PEM certificates of your authorities",
                joint: "; ")
        }
        var datum = unsafe gnutls_datum_t(borrowing: bytes)
        let count = unsafe gnutls_certificate_set_x509_trust_mem(handle, &datum, GNUTLS_X509_FMT_PEM)
        // GnuTLS reports neither unreadable nor omitted certificates.
        if count != wanted || !file.isComplete, let problem = file.damagedCertificate() {
            throw .unusable(trustStore: path, problem.description)
        }
        guard count > 0 else {
            throw .unusable(trustStore: path, GnuTLSError(code: count, call: "").text)
        }
        trustsSomebody = true
        facts.authorities = UInt32(count)
        notes.append("trusts \(count.counted("authority", "authorities")) of \(path)")
    }

    private mutating func loadRevocationLists(_ path: String, _ bytes: UnsafeRawBufferPointer) throws(TextError) {
        let lists: RevocationLists
        do throws(TextError) {
            lists = try unsafe RevocationLists(PEMFile(bytes))
        } catch {
            throw .unusable(revocationList: path, error.description)
        }
        // GnuTLS keeps copies.
        let code = unsafe gnutls_certificate_set_x509_crl(handle, lists.handles.baseAddress, Int32(lists.handles.count))
        guard code >= 0 else {
            throw .unusable(revocationList: path, GnuTLSError(code: code, call: "").text)
        }
        let count = lists.lists.count
        var note = "\(count.counted("revocation list")) of \(path)"
        if let next = lists.nextUpdate {
            note += ", next update \(dateText(next))"
            if next < Clock.unixTime() {
                dated.append(
                    "revocation list \(path) expired on \(dateText(next)): peers of its issuer are refused")
            }
        }
        notes.append(note)
        revocationLists = lists
        facts.revocationLists = UInt32(clamping: count)
        facts.nextUpdate = lists.nextUpdate
        facts.floors = lists.floors
    }

    /// Returns `true` if this GnuTLS supports the pair's algorithms.
    private func isUsable(_ pair: Pair) -> Bool { pair != .postQuantum || GnuTLS.knowsMLDSA }

    /// All configured pairs, in the order in which they are tried.
    private var pairs: [Pair] {
        var numbers: Set<UInt8> = [0]
        for case .ordinary(let number) in specification.files.compactMap(Pair.init) { numbers.insert(number) }
        return [.postQuantum] + numbers.sorted().map { .ordinary($0) }
    }

    private func file(_ pair: Pair, _ kinds: Set<CredentialKind>) -> CredentialFile? {
        specification.files.first { Pair($0) == pair && kinds.contains($0.kind) }
    }

    private mutating func chain(of pair: Pair) throws(TextError) -> CertificateChain? {
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
            throw TextError(
                "private key \(keyPath) is set without a certificate", remedy: "set both or neither", joint: "; ")
        }
        if keyPath.isEmpty {
            throw TextError(
                "certificate \(certificate.path) is set without a private key", remedy: "set both or neither",
                joint: "; ")
        }
        let made: CertificateChain?
        do throws(GnuTLSError) {
            made = try keys[pair].flatMap { (key) throws(GnuTLSError) in try CertificateChain.sorted(list, key) }
        } catch {
            // For example an intermediate with such a key.
            if error.call == CertificateChain.importing {
                throw .unusable(certificate: certificate.path, error.text)
            }
            throw .unusable(key: keyPath, TextError(error.text))
        }
        guard let chain = made else {
            throw TextError(
                "no certificate in \(certificate.path) belongs to the private key \(keyPath)",
                remedy: "install a certificate and a key that belong together", joint: "; ")
        }
        try judgeKeys(of: chain, certificate.path)
        describe(chain, certificate)
        return chain
    }

    /// Applies the limits for peers' RSA keys to our own certificates.
    private mutating func judgeKeys(of chain: CertificateChain, _ path: String) throws(TextError) {
        let rules = specification.rules
        for certificate in chain.certificates where certificate.hasSmallKey(rules) {
            guard !certificate.isRefused(rules) else {
                throw TextError(
                    "certificate \(path) cannot be used: \(certificate.keySizeText), and x509.rsa.minimum is "
                        + "\(rules.leastRSABits)",
                    remedy: "reissue it with a key of \(PeerRules.soundRSA) bits or more", joint: "; ")
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
        let now = Clock.unixTime()
        if leaf.notAfter >= 0, leaf.notAfter < now {
            dated.append("our certificate \(path) (\(leaf.subject)) expired on \(dateText(leaf.notAfter)), renew it")
        } else if leaf.notBefore > now {
            dated.append(
                "our certificate \(path) (\(leaf.subject)) is valid only from \(dateText(leaf.notBefore)) on")
        }
        if let problem = chain.lengthProblem {
            warnings.append(
                "our certificate \(path) \(problem); use an issuer closer to the root")
        }
        for problem in [leaf.signingProblem, leaf.staplingProblem].compactMap(\.self) {
            warnings.append("our certificate \(path): \(problem.text); \(problem.remedy)")
        }
        var note =
            unsafe "certificate \(leaf.subject) of \(path) until \(dateText(leaf.notAfter)), chain of \(chain.entries.count)"
        if chain.unused > 0 { note += " (\(chain.unused) other certificates in the file are not sent)" }
        notes.append(note)
    }
}

/// Files with credentials that cannot be used, each with what it must hold.
extension TextError {
    static func unusable(trustStore path: String, _ problem: String) -> TextError {
        TextError(
            "trust store \(path) cannot be used: \(problem)", remedy: "it must hold PEM certificates of authorities",
            joint: "; ")
    }

    package static func unusable(revocationList path: String, _ problem: String) -> TextError {
        TextError(
            "revocation list \(path) cannot be used: \(problem)",
            remedy: "it must hold complete lists in PEM or DER, or be a folder of such files", joint: "; ")
    }

    package static func unusable(certificate path: String, _ problem: String) -> TextError {
        TextError(
            "certificate \(path) cannot be used: \(problem)",
            remedy: "it must hold a PEM certificate and its intermediates", joint: "; ")
    }

    package static func unusable(key path: String, _ problem: TextError) -> TextError {
        problem.introduced(by: "private key \(path) cannot be used: ")
    }
}

/// The certificates and revocation lists of a PEM file, each with its position, so that errors can name a broken one.
@safe package struct PEMFile {
    /// Borrowed; must outlive this value.
    private let bytes: UnsafeRawBufferPointer
    private let blocks: [PEMBlock]

    /// - Parameter bytes: must outlive this value.
    @unsafe package init(_ bytes: UnsafeRawBufferPointer) {
        unsafe self.bytes = bytes
        let typed = unsafe UnsafeBufferPointer(
            start: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), count: bytes.count)
        blocks = unsafe PEMBlock.all(in: typed.span)
    }

    var isComplete: Bool { blocks.allSatisfy(\.isComplete) }

    func count(of kind: PEMBlock.Kind) -> Int { blocks.count { $0.kind == kind } }

    /// Reads each block of a type.
    ///
    /// - Throws: The position and the problem of the first block that cannot be read.
    func read<Value>(
        _ kind: PEMBlock.Kind, _ body: (UnsafeRawBufferPointer) throws(GnuTLSError) -> Value
    ) throws(TextError) -> [(value: Value, place: String)] {
        var found: [(value: Value, place: String)] = []
        for (index, block) in blocks.filter({ $0.kind == kind }).enumerated() {
            let place = Self.place(of: block, number: index + 1)
            guard block.isComplete else {
                throw TextError("\(place) cannot be read: its END line is missing")
            }
            do throws(GnuTLSError) {
                found.append((try unsafe body(UnsafeRawBufferPointer(rebasing: bytes[block.range])), place))
            } catch {
                throw TextError("\(place) cannot be read: \(error.text)")
            }
        }
        return found
    }

    /// The first certificate that cannot be read, if any.
    func damagedCertificate() -> TextError? {
        do throws(TextError) {
            _ = try Certificate.list(of: self)
            return nil
        } catch {
            return error
        }
    }

    private static func place(of block: PEMBlock, number: Int) -> String {
        let what = block.kind == .certificate ? "certificate" : "list"
        let file = block.file.map { " of \($0)" } ?? ""
        return "\(what) \(number) (line \(block.line)\(file))"
    }
}

extension Certificate {
    /// All certificates of a file, in file order. An empty list is an error.
    package static func list(of file: PEMFile) throws(TextError) -> [Certificate] {
        let found = try unsafe file.read(.certificate) { (block) throws(GnuTLSError) in
            try unsafe Certificate.list(fromPEM: block)
        }
        guard !found.isEmpty else { throw TextError("it holds no certificate in PEM") }
        return found.flatMap(\.value)
    }
}
