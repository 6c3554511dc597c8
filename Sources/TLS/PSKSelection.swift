internal import CGnuTLS
internal import Handshake
internal import System
internal import TLSWire
internal import Wire
internal import X509

/// The PSK of a handshake: as a client the first usable one of the request, as a server the one whose identity the
/// client offers.
@safe final class PSKSelection {
    /// Borrowed from the handshake that owns this object.
    private let session: gnutls_session_t
    private let environment: TLSEnvironment
    private let priorities: Priorities
    private let findKey: PSKFinder

    /// Client: kept alive for GnuTLS.
    private var offered: ClientPSKCredentials?
    /// Server: the key that GnuTLS asks for.
    private var found: FoundPSK?
    /// Server: GnuTLS has copied the key.
    private(set) var wasCopied = false
    /// The identity in use, or the one that failed.
    private(set) var identity: String?
    /// Client: index of the offered PSK in the job.
    private(set) var index: Int?

    init(
        for session: gnutls_session_t, _ environment: TLSEnvironment, _ priorities: Priorities,
        _ findKey: @escaping PSKFinder
    ) {
        unsafe self.session = session
        self.environment = environment
        self.priorities = priorities
        self.findKey = findKey
    }

    /// Sets the credentials and priorities before the first message.
    func prepare(_ job: HandshakeJob, _ secrets: borrowing SecretBuffer) throws(HandshakeFailure) {
        switch job.role {
        case .server:
            // The hash of the PSK is known only after the ClientHello; until then any supported hash is set.
            guard
                let first = unsafe PSKHash.allCases.compactMap({ unsafe priorities.preSharedKey($0) }).first
            else { throw HandshakeFailure(.noCommonCipherSuite, "the crypto policy leaves no suite for PSKs") }
            try GnuTLS.require(unsafe gnutls_priority_set(session, first), "gnutls_priority_set")
        case .client: try offerFirstUsableKey(of: job, secrets)
        }
    }

    // MARK: Client

    /// Offers the first usable PSK. GnuTLS can offer only one external PSK in a ClientHello.
    private func offerFirstUsableKey(of job: HandshakeJob, _ secrets: borrowing SecretBuffer) throws(HandshakeFailure) {
        var problem = HandshakeFailure(.pskUnreadable, "the request names no PSK")
        for (index, entry) in job.preSharedKeys.enumerated() {
            let hash = PSKHash.of(identity: entry.identity, keyLength: entry.key.count)
            identity = String(decoding: entry.identity, as: UTF8.self)
            if let reason = environment.problem(with: hash) {
                problem = reason
                continue
            }
            guard !entry.identity.isEmpty, entry.key.count > 0 else {
                problem = HandshakeFailure(.pskUnreadable, "its identity or key is empty")
                continue
            }
            try offer(entry, hash, secrets)
            self.index = index
            return
        }
        throw problem
    }

    private func offer(
        _ entry: PreSharedKeyField, _ hash: PSKHash, _ secrets: borrowing SecretBuffer
    ) throws(HandshakeFailure) {
        let made = try HandshakeFailure.of(
            .pskUnreadable,
            try unsafe secrets.withUnsafeBytes { raw in
                try unsafe ClientPSKCredentials(
                    entry.identity, UnsafeRawBufferPointer(rebasing: raw[entry.key.range]), hash)
            })
        offered = made
        try unsafe use(hash, UnsafeMutableRawPointer(made.handle))
    }

    // MARK: Server

    /// The first external identity, the only one that GnuTLS considers as a server.
    static func external(
        of offered: [ClientHelloIdentities.Identity]
    ) throws(HandshakeFailure) -> ClientHelloIdentities.Identity {
        guard let first = offered.first(where: { $0.obfuscatedAge == 0 }) ?? offered.first else {
            throw HandshakeFailure(.pskIdentityUnknown, "it offered none")
        }
        return first
    }

    /// The identity of the key that was found; `nil` before.
    var chosen: [UInt8]? { found?.identity }

    /// Looks up the key of an identity, and sets the hash and cipher suites that go with it.
    func choose(_ offered: ClientHelloIdentities.Identity) throws(HandshakeFailure) {
        let name = offered.name
        identity = String(decoding: name.prefix(MessageLimit.identity), as: UTF8.self)
        guard !name.isEmpty, !name.contains(0), name.count <= MessageLimit.identity else {
            throw HandshakeFailure(.pskIdentityUnknown, "the identity is empty, too long or holds a NUL")
        }
        let found = try lookUp(name)
        // A server must ignore the age of an external PSK (RFC 8446 §4.2.11); GnuTLS skips an identity that has one.
        guard offered.obfuscatedAge == 0 else { throw HandshakeFailure(.pskTicketAgeUnsupported) }
        if let problem = environment.problem(with: found.hash) { throw problem }
        guard let credentials = environment.serverCredentials(found.hash) else {
            throw HandshakeFailure(.pskHashUnsupported)
        }
        try unsafe use(found.hash, UnsafeMutableRawPointer(credentials.handle))
        self.found = consume found
    }

    private func lookUp(_ identity: [UInt8]) throws(HandshakeFailure) -> FoundPSK {
        var buffer = try HandshakeFailure.of(.libraryFailure, try SecretBuffer(capacity: MessageLimit.preSharedKey))
        switch findKey(identity, &buffer) {
        case .key(let count) where count > 0: return FoundPSK(identity, buffer, count: count)
        case .key: throw HandshakeFailure(.pskUnreadable, "the key is empty")
        case .unknown: throw HandshakeFailure(.pskIdentityUnknown)
        case .unusable(let why): throw HandshakeFailure(.pskUnreadable, why)
        }
    }

    /// Copies the key for GnuTLS; `false` for another identity than the one that was looked up.
    func copy(of identity: [UInt8], to target: UnsafeMutablePointer<gnutls_datum_t>) -> Bool {
        guard unsafe found?.copy(of: identity, to: target) == true else { return false }
        wasCopied = true
        return true
    }

    /// Sets the priorities and the credentials for a PSK of this hash.
    private func use(_ hash: PSKHash, _ credentials: UnsafeMutableRawPointer) throws(HandshakeFailure) {
        guard let priority = unsafe priorities.preSharedKey(hash) else {
            throw HandshakeFailure(.noCommonCipherSuite, "the priorities leave no suite for this PSK's hash")
        }
        try GnuTLS.require(unsafe gnutls_priority_set(session, priority), "gnutls_priority_set")
        try GnuTLS.require(
            unsafe gnutls_credentials_set(session, GNUTLS_CRD_PSK, credentials), "gnutls_credentials_set")
    }
}

/// The key that a server-side handshake found for its client.
private struct FoundPSK: ~Copyable {
    let identity: [UInt8]
    let hash: PSKHash
    private let key: SecretBuffer
    private let count: Int

    init(_ identity: [UInt8], _ key: consuming SecretBuffer, count: Int) {
        self.identity = identity
        self.key = key
        self.count = count
        hash = PSKHash.of(identity: identity, keyLength: count)
    }

    /// Copies the key for GnuTLS; `false` for another identity.
    func copy(of name: [UInt8], to target: UnsafeMutablePointer<gnutls_datum_t>) -> Bool {
        guard name == identity else { return false }
        return unsafe key.withUnsafeBytes { raw in
            guard let base = raw.baseAddress else { return false }
            return unsafe cgnutls_copy(target, base, count) >= 0
        }
    }
}
