internal import CGnuTLS
internal import Handshake
internal import SigningWire
internal import System
internal import TLSWire
internal import Wire

extension HandshakeSession {
    /// Registers a hook that sees each handshake message before GnuTLS processes it.
    func observeHandshake() {
        unsafe gnutls_handshake_set_hook_function(session, cgnutls_any_message(), GNUTLS_HOOK_PRE, observeMessage)
    }

    /// Handles a message that is sent or was received.
    ///
    /// - Returns: `true` if the handshake may continue.
    fileprivate func observe(_ type: gnutls_handshake_description_t, isIncoming: Bool, _ bytes: Span<UInt8>) -> Bool {
        // A string constant of the library.
        let name = unsafe gnutls_handshake_description_get_name(type).map { unsafe String(cString: $0) } ?? "message"
        log(1, "\(isIncoming ? "received" : "sent") \(name), \(bytes.count) bytes")
        transcript?.add(type.rawValue, bytes)
        if isIncoming { lastReceived = type }
        do throws(HandshakeFailure) {
            switch (type, isIncoming) {
            case (GNUTLS_HANDSHAKE_CLIENT_HELLO, false):
                helloSentAt = Clock.monotonicNanoseconds()
                offered = try? ClientHelloIdentities(from: bytes)
            case (GNUTLS_HANDSHAKE_SERVER_HELLO, false): sentServerHello = true
            case (GNUTLS_HANDSHAKE_SERVER_HELLO, true):
                answerTime = Clock.monotonicNanoseconds() - helloSentAt
                try judgeServerHello(bytes)
            case (GNUTLS_HANDSHAKE_HELLO_RETRY_REQUEST, true): try judgeServerHello(bytes)
            case (GNUTLS_HANDSHAKE_CLIENT_HELLO, true): try judgeHello(bytes)
            case (GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY, true): try judgeCertificates()
            case (GNUTLS_HANDSHAKE_ENCRYPTED_EXTENSIONS, true): try judgeExtensions(bytes)
            case (GNUTLS_HANDSHAKE_CERTIFICATE_PKT, true): foreignCurve = EllipticCurve.foreign(in: bytes)
            case (GNUTLS_HANDSHAKE_NEW_SESSION_TICKET, true): ticketsReceived += 1
            case (GNUTLS_HANDSHAKE_KEY_UPDATE, true): owesKeyUpdate = bytes.count == 1 && bytes[0] == 1
            default: break
            }
            return true
        } catch {
            verdict = error
            return false
        }
    }

    /// Checks the peer's certificates before its signature is verified. If the key is on a curve that TLS 1.3 does not
    /// have, that is reported instead of errors that follow from it.
    private func judgeCertificates() throws(HandshakeFailure) {
        do throws(HandshakeFailure) {
            try judgePeer()
        } catch {
            let follows: [FailureReason] = [.certificateTooCostly, .certificateSignatureInvalid, .certificateInvalid]
            guard follows.contains(error.reason), let curve = leafCurve else { throw error }
            throw unsupportedKey(on: curve)
        }
    }

    /// Server: checks the ClientHello before GnuTLS answers it.
    private func judgeHello(_ bytes: Span<UInt8>) throws(HandshakeFailure) {
        let hello = try reading { () throws(WireError) in try ClientHelloIdentities(from: bytes) }
        guard hello.versions.contains(0x0304) else {
            throw HandshakeFailure(.protocolVersionUnsupported, "it offers TLS 1.2 or older only")
        }
        // GnuTLS refuses an empty list (RFC 8446 §4.1.2).
        guard hello.compressionMethods == [0] || hello.compressionMethods.isEmpty else {
            throw violation("its hello offers compression", .illegalParameter)
        }
        if let missing = hello.missingExtension(for: authentication != .preSharedKey) {
            throw violation("its hello lacks the extension \(missing)", .missingExtension)
        }
        guard hello.binders == hello.identities.count else {
            throw violation(
                "its hello has \(hello.identities.count) PSK identities and \(hello.binders) binders", .illegalParameter
            )
        }
        // GnuTLS ignores limits below 512 bytes, so they are ignored here too.
        if let limit = hello.recordSizeLimit, limit >= 512 { recordSizeLimit = limit }
        switch authentication {
        case .unauthenticated, .x509: try judgeProtocols(hello.applicationProtocols)
        case .preSharedKey: try choosePreSharedKey(hello.identities)
        }
    }

    /// Client: checks that the server echoes our session ID (RFC 8446 §4.1.3), which GnuTLS does not check.
    private func judgeServerHello(_ bytes: Span<UInt8>) throws(HandshakeFailure) {
        let session = try reading { () throws(WireError) in
            try ClientHelloIdentities.session(inServerHello: bytes)
        }
        guard let offered, let session, session != offered.session else { return }
        throw violation("its hello does not repeat our session id", .illegalParameter)
    }

    /// Client: checks EncryptedExtensions before GnuTLS processes it. A server may only answer extensions that it was
    /// sent (RFC 8446 §4.2); GnuTLS ignores unknown ones.
    private func judgeExtensions(_ bytes: Span<UInt8>) throws(HandshakeFailure) {
        let extensions = try reading { () throws(WireError) in try EncryptedExtensions(from: bytes) }
        if let offered, let other = extensions.extensions.first(where: { !offered.extensions.contains($0) }) {
            throw violation("it answers the extension \(other), which we did not send", .unsupportedExtension)
        }
        recordSizeLimit = extensions.recordSizeLimit
        guard let name = extensions.applicationProtocol, name != Array(Self.applicationProtocol.utf8),
            let rules = credentials?.rules
        else { return }
        let text = String(decoding: name, as: UTF8.self)
        applicationProtocolRemarks = try rules.judge(unoffered: text)
    }

    private func judgeProtocols(_ offered: [[UInt8]]) throws(HandshakeFailure) {
        if offered.isEmpty, let rules = credentials?.rules {
            applicationProtocolRemarks = try rules.judge(applicationProtocol: "", wanted: Self.applicationProtocol)
        }
        guard !offered.isEmpty, !offered.contains(Array(Self.applicationProtocol.utf8)) else { return }
        let names = offered.prefix(8).map { String(decoding: $0, as: UTF8.self) }.joined(separator: ", ")
        throw HandshakeFailure(.applicationProtocolMismatch, "it offers \(names), not \(Self.applicationProtocol)")
    }

    /// Looks up the key of the first external identity, the only one that GnuTLS considers as a server, and sets the
    /// hash and cipher suites that go with it.
    private func choosePreSharedKey(_ offered: [ClientHelloIdentities.Identity]) throws(HandshakeFailure) {
        guard let first = offered.first(where: { $0.obfuscatedAge == 0 }) ?? offered.first else {
            throw HandshakeFailure(.pskIdentityUnknown, "it offered none")
        }
        if let found = preSharedKey?.identity {
            // The second hello, after a retry request, must offer the same (RFC 8446 §4.1.2).
            guard found == first.name else { throw violation("its identity changed", .illegalParameter) }
            return
        }
        let name = first.name
        pskIdentity = String(decoding: name.prefix(MessageLimit.identity), as: UTF8.self)
        guard !name.isEmpty, !name.contains(0), name.count <= MessageLimit.identity else {
            throw HandshakeFailure(.pskIdentityUnknown, "the identity is empty, too long or holds a NUL")
        }
        let found = try lookUp(name)
        // A server must ignore the age of an external PSK (RFC 8446 §4.2.11); GnuTLS skips an identity that has one.
        guard first.obfuscatedAge == 0 else { throw HandshakeFailure(.pskTicketAgeUnsupported) }
        if let problem = environment.problem(with: found.hash) { throw problem }
        guard let credentials = environment.serverCredentials(found.hash) else {
            throw HandshakeFailure(.pskHashUnsupported)
        }
        let priority = unsafe try require(found.hash)
        try Self.require(unsafe gnutls_priority_set(session, priority), "gnutls_priority_set")
        try Self.require(
            unsafe gnutls_credentials_set(session, GNUTLS_CRD_PSK, UnsafeMutableRawPointer(credentials.handle)),
            "gnutls_credentials_set")
        preSharedKey = consume found
    }

    private func lookUp(_ identity: [UInt8]) throws(HandshakeFailure) -> FoundPSK {
        var buffer: SecretBuffer
        do throws(SystemError) {
            buffer = try SecretBuffer(capacity: MessageLimit.preSharedKey)
        } catch {
            throw HandshakeFailure(.libraryFailure, error.description)
        }
        switch findKey(identity, &buffer) {
        case .key(let count) where count > 0: return FoundPSK(identity, buffer, count: count)
        case .key: throw HandshakeFailure(.pskUnreadable, "the key is empty")
        case .unknown: throw HandshakeFailure(.pskIdentityUnknown)
        case .unusable(let why): throw HandshakeFailure(.pskUnreadable, why)
        }
    }

    /// Maps a parse error to decode_error. A repeated extension is well-formed and maps to illegal_parameter (RFC 8446
    /// §4.2).
    private func reading<Value>(_ body: () throws(WireError) -> Value) throws(HandshakeFailure) -> Value {
        do throws(WireError) {
            return try body()
        } catch {
            if case .duplicate = error { throw violation(error.description, .illegalParameter) }
            throw violation(error.description, .decodeError)
        }
    }
}

/// GnuTLS's hook for handshake messages. The session pointer is its `HandshakeSession`; the message is valid during the
/// call.
private func observeMessage(
    _ session: gnutls_session_t?, _ type: UInt32, _ when: UInt32, _ incoming: UInt32,
    _ message: UnsafePointer<gnutls_datum_t>?
) -> Int32 {
    guard let session = unsafe session, let context = unsafe gnutls_session_get_ptr(session) else { return 0 }
    let handshake = unsafe Unmanaged<HandshakeSession>.fromOpaque(context).takeUnretainedValue()
    let bytes = unsafe UnsafeBufferPointer(start: message?.pointee.data, count: Int(message?.pointee.size ?? 0))
    let mayGoOn = unsafe handshake.observe(
        gnutls_handshake_description_t(type), isIncoming: incoming != 0, bytes.span)
    return mayGoOn ? 0 : GNUTLS_E_USER_ERROR
}
