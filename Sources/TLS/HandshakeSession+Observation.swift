internal import CGnuTLS
internal import Handshake
internal import System
internal import Wire

extension HandshakeSession {
    /// Has the library show us each handshake message before it looks at it itself.
    func observeHandshake() {
        unsafe gnutls_handshake_set_hook_function(session, cgnutls_any_message(), GNUTLS_HOOK_PRE, observeMessage)
    }

    /// A message was sent or received.
    ///
    /// - Returns: whether the handshake may go on.
    fileprivate func observe(_ type: gnutls_handshake_description_t, isIncoming: Bool, _ bytes: Span<UInt8>) -> Bool {
        // A string constant of the library.
        let name = unsafe gnutls_handshake_description_get_name(type).map { unsafe String(cString: $0) } ?? "message"
        log(1, "\(isIncoming ? "received" : "sent") \(name), \(bytes.count) bytes")
        transcript?.add(type.rawValue, bytes)
        do throws(HandshakeFailure) {
            switch (type, isIncoming) {
            case (GNUTLS_HANDSHAKE_CLIENT_HELLO, false): helloSentAt = Clock.monotonicNanoseconds()
            case (GNUTLS_HANDSHAKE_SERVER_HELLO, false): sentServerHello = true
            case (GNUTLS_HANDSHAKE_SERVER_HELLO, true): answerTime = Clock.monotonicNanoseconds() - helloSentAt
            case (GNUTLS_HANDSHAKE_CLIENT_HELLO, true): try judgeHello(bytes)
            case (GNUTLS_HANDSHAKE_ENCRYPTED_EXTENSIONS, true):
                try judgeExtensions(bytes)
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

    /// What a server decides before the library answers the hello.
    private func judgeHello(_ bytes: Span<UInt8>) throws(HandshakeFailure) {
        let hello = try Self.reading { () throws(WireError) in try ClientHelloIdentities(from: bytes) }
        guard hello.versions.contains(0x0304) else {
            throw HandshakeFailure(.protocolVersionUnsupported, "it offers TLS 1.2 or older only")
        }
        // The library ignores limits below 512 bytes, and then they do not bind us either.
        if let limit = hello.recordSizeLimit, limit >= 512 { recordSizeLimit = limit }
        switch authentication {
        case .unauthenticated, .x509: try judgeProtocols(hello.applicationProtocols)
        case .preSharedKey: try choosePreSharedKey(hello.identities)
        }
    }

    /// What a client decides before the library looks at the server's answer to its offers.
    private func judgeExtensions(_ bytes: Span<UInt8>) throws(HandshakeFailure) {
        let extensions = try Self.reading { () throws(WireError) in try EncryptedExtensions(from: bytes) }
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

    /// Looks up the key of the first external identity, which is the only one that GnuTLS' server considers, and sets
    /// the library to the hash and the suites that go with it.
    private func choosePreSharedKey(_ offered: [ClientHelloIdentities.Identity]) throws(HandshakeFailure) {
        guard let first = offered.first(where: { $0.obfuscatedAge == 0 }) else {
            throw HandshakeFailure(.pskIdentityUnknown, "it offered none")
        }
        if let found = preSharedKey?.identity {
            // The second hello, after a retry request, must offer the same (RFC 8446 §4.1.2).
            guard found == first.name else { throw HandshakeFailure(.protocolViolation, "its identity changed") }
            return
        }
        let name = first.name
        pskIdentity = String(decoding: name.prefix(MessageLimit.identity), as: UTF8.self)
        guard !name.isEmpty, !name.contains(0), name.count <= MessageLimit.identity else {
            throw HandshakeFailure(.pskIdentityUnknown, "the identity is empty, too long or holds a NUL")
        }
        let found = try lookUp(name)
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

    private static func reading<Value>(_ body: () throws(WireError) -> Value) throws(HandshakeFailure) -> Value {
        do throws(WireError) {
            return try body()
        } catch {
            throw HandshakeFailure(.protocolViolation, error.description)
        }
    }
}

/// GnuTLS's hook. The session's pointer is its `HandshakeSession`; the message is valid during the call.
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
