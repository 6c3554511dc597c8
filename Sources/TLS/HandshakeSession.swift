internal import CGnuTLS
package import Handshake
internal import SigningWire
package import System
internal import TLSWire
package import Wire
package import X509

/// One TLS handshake on a borrowed socket: a state machine that never blocks.
///
/// Call `step` when the socket may be ready or the deadline has passed, until it returns `finished` or `failed`. Then
/// `installKeys` passes a finished session to the kernel. One thread.
@safe package final class HandshakeSession {
    package enum Step: Sendable, Equatable {
        /// Call again when one of these is possible, or when the clock (`Clock.monotonicNanoseconds`) shows `until`.
        case wants(Poller.Interest, until: UInt64?)
        /// Keys are ready for `installKeys`. Nothing is buffered, and nothing more will be read.
        case finished(NegotiatedSession)
        case failed(HandshakeFailure)
    }

    /// The phases of a handshake. `move` makes every transition:
    ///
    ///     handshaking --> sending --(client)--> awaitingVerdict <--> finished
    ///          |           |   |                       |             ^   |
    ///          |           |   +-------(server)--------|-------------+   |
    ///          +-----------+---------------------------+-----------------+--> failed
    ///
    /// A finished client goes back to `awaitingVerdict` when the kernel refuses its socket, which the server may have
    /// closed with an alert (`lookForAlert`).
    private enum Phase {
        /// GnuTLS exchanges messages with the peer.
        case handshaking(Exchange)
        /// GnuTLS is done, but the socket has not accepted all of its bytes yet.
        case sending
        /// The handshake is complete on our side, but the server may still refuse our certificate (see `awaitVerdict`).
        case awaitingVerdict(PostHandshake)
        /// The keys may be installed, or are installed.
        case finished(NegotiatedSession, PostHandshake)
        case failed(HandshakeFailure)
    }

    /// State while GnuTLS exchanges messages.
    private final class Exchange {
        /// Type of the last message that GnuTLS received.
        var lastReceived: gnutls_handshake_description_t?
        /// Client: contents of our ClientHello.
        var offered: ClientHelloIdentities?
        var helloSentAt: UInt64 = 0
        var sentServerHello = false
        /// Curve in the peer's certificates that TLS 1.3 does not have, for the log.
        var foreignCurve: String?
        /// Messages to be signed if the signer process signs; `nil` otherwise, and after the signature.
        var transcript: HandshakeTranscript?
        /// Our key if the signer process holds it.
        var signingKey: RemoteKey?
        /// A failure found inside a callback. It is more precise than the code that GnuTLS returns for it.
        var verdict: HandshakeFailure?
    }

    /// State of the messages that follow the handshake.
    private final class PostHandshake {
        /// End of the wait for the server's verdict; CLOCK_MONOTONIC nanoseconds.
        var deadline: UInt64
        /// Records consumed after the handshake.
        var records = 0
        /// The peer has sent a KeyUpdate with update_requested (RFC 8446 §4.6.3).
        var owesKeyUpdate = false
        /// The handshake messages that were consumed. GnuTLS keeps a part of a message, which the consumer would lack.
        var framing = HandshakeFraming()
        /// The message that began last in the records since a boundary.
        var lastMessage: UInt8?

        init(until deadline: UInt64 = 0) {
            self.deadline = deadline
        }
    }

    /// The broker's number of the handshake.
    let job: UInt64
    private let role: Role
    private let authentication: Authentication
    private let peerName: PeerName?
    /// On AF_TLSH the name of the server is optional for a client; without one only the chain is verified.
    private let isPeerNameOptional: Bool
    private let environment: TLSEnvironment
    private let log: SessionLog
    /// The environment's priorities, or those narrowed by the request.
    private let priorities: Priorities
    private let credentials: Credentials?
    private let requestChain: CertificateChain?

    /// Valid from init to deinit; its pointer is this object.
    let session: gnutls_session_t
    let transport: RecordBoundedTransport
    private let applicationProtocol: ApplicationProtocol
    private let verification: PeerVerification
    private let preSharedKey: PSKSelection

    private var phase: Phase
    /// Our chain that the peer asked for; `nil` if none was presented.
    package private(set) var presentedChain: CertificateChain?
    var presentedCertificate: Bool { presentedChain != nil }
    /// Time at which the exchange of messages ended; `nil` before. CLOCK_MONOTONIC nanoseconds.
    package private(set) var completedAt: UInt64?
    /// Nanoseconds from our ClientHello to the server's answer.
    private var answerTime: UInt64 = 0
    /// Minimum time for a server to refuse our certificate, in nanoseconds.
    package var minimumVerdictTimeout: UInt64 = 5_000_000
    /// True if a client waits for the verdict of a server that asked for a certificate also if it presented none.
    package var awaitsVerdictWithoutCertificate = false
    /// True if the server has asked for a certificate.
    private var wasAskedForCertificate = false
    /// The peer's record_size_limit, content type included; `nil` if it sent none.
    private var recordSizeLimit: UInt16?
    /// Collects the traffic secrets if they are to be kept.
    private var traffic: TrafficSecrets?
    private(set) var ticketsReceived = 0
    package private(set) var alertSent: Alert?
    package private(set) var alertReceived: Alert?

    /// Prepares a handshake; nothing is sent yet.
    ///
    /// - Parameters:
    ///   - secrets: the buffer that the job's ranges point into. Not used after this call.
    ///   - socket: borrowed; must stay open as long as this object lives.
    ///   - credentials: the role's credentials; required unless the handshake uses a PSK.
    ///   - tags: session tags that a server assigns to verified clients.
    ///   - signer: asks the process that holds the private keys; required if the request brings a certificate without
    ///     key.
    ///   - findKey: called at most once, by a server, for the identity that its client offers.
    /// - Throws: The reason why the handshake cannot start. Nothing was sent; `refuse` can send the alert.
    package init(
        _ job: HandshakeJob, secrets: borrowing SecretBuffer, socket: Int32, environment: TLSEnvironment,
        credentials: Credentials?, tags: SessionTags = SessionTags(), signer: SignerCall? = nil,
        findKey: @escaping PSKFinder, log: SessionLog
    ) throws(HandshakeFailure) {
        self.job = job.id
        role = job.role
        authentication = job.authentication
        peerName = job.peerName.map { PeerName($0) }
        self.log = log
        self.environment = environment
        isPeerNameOptional = job.transport == .listener
        priorities = try environment.priorities(for: job)
        self.credentials = credentials
        requestChain = try CertificateChain.ofRequest(job, secrets, signer, credentials?.rules ?? PeerRules())
        transport = RecordBoundedTransport(socket: socket)
        transport.refusesEarlyChange = job.role == .server
        var made: gnutls_session_t?
        try GnuTLS.require(
            unsafe gnutls_init(&made, cgnutls_session_flags(job.role == .server ? 1 : 0)), "gnutls_init")
        guard let made = unsafe made else { throw HandshakeFailure(.libraryFailure, "no session") }
        unsafe session = made
        let applicationProtocol = unsafe ApplicationProtocol(of: made, credentials?.rules)
        self.applicationProtocol = applicationProtocol
        verification = unsafe PeerVerification(
            of: made, role, peerName, isPeerNameOptional: isPeerNameOptional, credentials, tags,
            hasOwnPriorities: priorities === environment.priorities, applicationProtocol, log)
        preSharedKey = unsafe PSKSelection(for: made, environment, priorities, findKey)
        let exchange = Exchange()
        if job.authentication == .x509, requestChain?.key.remote != nil || credentials?.hasRemoteKey == true {
            exchange.transcript = HandshakeTranscript()
        }
        phase = .handshaking(exchange)
        unsafe gnutls_session_set_ptr(made, Unmanaged.passUnretained(self).toOpaque())
        unsafe gnutls_transport_set_ptr(made, Unmanaged.passUnretained(transport).toOpaque())
        unsafe gnutls_transport_set_push_function(made, pushRecord)
        unsafe gnutls_transport_set_pull_function(made, pullRecord)
        unsafe gnutls_handshake_set_timeout(made, 0)
        unsafe gnutls_handshake_set_hook_function(made, cgnutls_any_message(), GNUTLS_HOOK_PRE, observeMessage)
        if job.keepFor > 0 { unsafe gnutls_handshake_set_secret_function(made, collectSecrets) }
        transport.onRecord = { direction, header in
            log(
                3,
                "\(direction == .transmit ? "sent" : "received") record \(header.type.name), \(header.bodyLength) bytes"
            )
        }
        switch job.authentication {
        case .unauthenticated, .x509: try prepareCertificates()
        case .preSharedKey: try preSharedKey.prepare(job, secrets)
        }
    }

    deinit { unsafe gnutls_deinit(session) }

    private func prepareCertificates() throws(HandshakeFailure) {
        guard let credentials else { throw HandshakeFailure(.roleNotConfigured) }
        if role == .client, authentication == .x509, requestChain == nil, !credentials.presentsCertificate {
            throw HandshakeFailure(.roleNotConfigured, "no certificate of our own is configured")
        }
        try GnuTLS.require(unsafe gnutls_priority_set(session, priorities.certificates), "gnutls_priority_set")
        try GnuTLS.require(
            unsafe gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials.handle)),
            "gnutls_credentials_set")
        try applicationProtocol.announce()
        unsafe gnutls_session_set_verify_function(session, verifyPeer)
        switch role {
        case .client:
            guard peerName != nil || isPeerNameOptional else { throw HandshakeFailure(.peerNameMissing) }
            // A name that is not a valid DNS name is not sent; the certificate check decides.
            if let name = peerName?.serverName {
                _ = unsafe gnutls_server_name_set(session, GNUTLS_NAME_DNS, name, name.utf8.count)
            }
        case .server:
            unsafe gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST)
            // The list of a system's authorities is 14 kB, and clients that choose a certificate by it choose wrongly.
            unsafe gnutls_certificate_send_x509_rdn_sequence(session, 1)
        }
    }

    /// Limits the bytes that the peer may send before the handshake is done.
    package func limitIncoming(_ count: Int) { transport.incoming.limit = count }

    /// True if the peer has sent anything.
    package var hasReceived: Bool { transport.hasReceived }

    /// The peer's certificate, verified or not.
    var peerCertificate: CertificateDescription? { verification.certificate }

    /// The certificates that the peer presented, leaf first.
    package func peerChain() throws(HandshakeFailure) -> [Certificate] {
        try unsafe PresentedChain(of: session).parsed()
    }

    /// The peer's entry in the cache of verified chains.
    var knownPeer: VerifiedChains.Entry? { verification.knownPeer }

    /// The PSK identity in use, or the one that failed.
    var pskIdentity: String? { preSharedKey.identity }

    /// Index of the offered PSK in the job.
    var pskIndex: Int? { preSharedKey.index }

    /// True after the peer was verified, by its certificate or its PSK.
    var isPeerVerified: Bool {
        if case .finished(let negotiated, _) = phase { negotiated.peerAuthenticated } else { verification.isVerified }
    }

    /// Advances the handshake as far as the socket allows.
    package func step() -> Step {
        while true {
            switch phase {
            case .handshaking(let exchange):
                if let waiting = runHandshake(exchange) { return waiting }
            case .sending:
                if let waiting = sendRest() { return waiting }
            case .awaitingVerdict(let later):
                if let waiting = awaitVerdict(later) { return waiting }
            case .finished(let session, _): return .finished(session)
            case .failed(let failure): return .failed(failure)
            }
        }
    }

    /// Fails the handshake from outside and sends the alert. Does nothing if it has already ended.
    package func abort(_ failure: HandshakeFailure) {
        switch phase {
        case .handshaking, .sending, .awaitingVerdict: fail(failure)
        case .finished, .failed: return
        }
    }

    /// The result for the broker.
    package func result(elapsed: Duration) -> HandshakeResult {
        let outcome: HandshakeResult.Outcome =
            switch phase {
            case .finished(let session, _): .success(session)
            case .failed(let failure): .failure(failure)
            case .handshaking, .sending, .awaitingVerdict: .failure(HandshakeFailure(.libraryFailure, "not finished"))
            }
        return HandshakeResult(
            outcome: outcome, peerCertificate: verification.certificate, pskIdentity: preSharedKey.identity,
            alertSent: alertSent, alertReceived: alertReceived,
            tags: verification.isVerified ? verification.tags : [],
            remarks: verification.remarks + applicationProtocol.remarks, elapsed: elapsed)
    }

    /// The one place where the phase changes.
    private func move(to next: Phase) {
        switch (phase, next) {
        case (.handshaking, .sending), (.sending, .awaitingVerdict), (.sending, .finished),
            (.awaitingVerdict, .finished), (.finished, .awaitingVerdict),
            (.handshaking, .failed), (.sending, .failed), (.awaitingVerdict, .failed), (.finished, .failed):
            phase = next
        default:
            assertionFailure("no transition of a handshake: \(phase) to \(next)")
            phase = .failed(HandshakeFailure(.libraryFailure, "a transition that does not exist"))
        }
    }

    // MARK: The exchange of messages

    /// Runs GnuTLS until it needs the socket.
    ///
    /// - Returns: The events to wait for, or `nil` if the phase changed.
    private func runHandshake(_ exchange: Exchange) -> Step? {
        exchange.signingKey?.asker = self
        let code = unsafe gnutls_handshake(session)
        exchange.signingKey?.asker = nil
        transport.consumeRead()
        transport.flush()
        if code == GNUTLS_E_INTERRUPTED { return nil }
        if code == GNUTLS_E_AGAIN {
            // Writing to a closed connection fails, but an alert of the peer may still be readable: only reading
            // decides.
            return .wants(transport.isFlushed ? .read : [.read, .write], until: nil)
        }
        guard code == GNUTLS_E_SUCCESS else {
            fail(judge(code, exchange))
            return nil
        }
        move(to: .sending)
        return nil
    }

    private var exchange: Exchange? {
        if case .handshaking(let exchange) = phase { exchange } else { nil }
    }

    /// Handles a message that is sent or was received, before GnuTLS processes it.
    ///
    /// - Returns: `true` if the handshake may continue.
    fileprivate func observe(_ type: gnutls_handshake_description_t, isIncoming: Bool, _ bytes: Span<UInt8>) -> Bool {
        // A string constant of the library.
        let name = unsafe gnutls_handshake_description_get_name(type).map { unsafe String(cString: $0) } ?? "message"
        log(1, "\(isIncoming ? "received" : "sent") \(name), \(bytes.count) bytes")
        switch phase {
        case .handshaking(let exchange):
            exchange.transcript?.add(type.rawValue, bytes)
            if isIncoming { exchange.lastReceived = type }
            do throws(HandshakeFailure) {
                try isIncoming ? received(type, bytes, exchange) : sent(type, bytes, exchange)
                return true
            } catch {
                exchange.verdict = error
                return false
            }
        case .awaitingVerdict(let later):
            guard isIncoming else { return true }
            if type == GNUTLS_HANDSHAKE_NEW_SESSION_TICKET { ticketsReceived += 1 }
            if type == GNUTLS_HANDSHAKE_KEY_UPDATE { later.owesKeyUpdate = bytes.count == 1 && bytes[0] == 1 }
            return true
        case .sending, .finished, .failed: return true
        }
    }

    private func sent(_ type: gnutls_handshake_description_t, _ bytes: Span<UInt8>, _ exchange: Exchange) {
        switch type {
        case GNUTLS_HANDSHAKE_CLIENT_HELLO:
            exchange.helloSentAt = Clock.monotonicNanoseconds()
            exchange.offered = try? ClientHelloIdentities(from: bytes)
        case GNUTLS_HANDSHAKE_SERVER_HELLO: exchange.sentServerHello = true
        default: return
        }
    }

    private func received(
        _ type: gnutls_handshake_description_t, _ bytes: Span<UInt8>, _ exchange: Exchange
    ) throws(HandshakeFailure) {
        switch type {
        case GNUTLS_HANDSHAKE_CLIENT_HELLO: try judgeClientHello(bytes)
        case GNUTLS_HANDSHAKE_SERVER_HELLO:
            answerTime = Clock.monotonicNanoseconds() - exchange.helloSentAt
            try judgeServerHello(bytes, exchange)
        case GNUTLS_HANDSHAKE_HELLO_RETRY_REQUEST: try judgeServerHello(bytes, exchange)
        case GNUTLS_HANDSHAKE_ENCRYPTED_EXTENSIONS: try judgeExtensions(bytes, exchange)
        case GNUTLS_HANDSHAKE_CERTIFICATE_PKT: exchange.foreignCurve = EllipticCurve.foreign(in: bytes)
        case GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY: try judgeCertificates()
        default: return
        }
    }

    /// Server: checks the ClientHello before GnuTLS answers it.
    private func judgeClientHello(_ bytes: Span<UInt8>) throws(HandshakeFailure) {
        let hello = try reading(try ClientHelloIdentities(from: bytes))
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
        case .unauthenticated, .x509: try applicationProtocol.check(offered: hello.applicationProtocols)
        case .preSharedKey:
            let identity = try PSKSelection.external(of: hello.identities)
            guard let chosen = preSharedKey.chosen else { return try preSharedKey.choose(identity) }
            // The second hello, after a retry request, must offer the same (RFC 8446 §4.1.2).
            guard chosen == identity.name else { throw violation("its identity changed", .illegalParameter) }
        }
    }

    /// Client: checks that the server echoes our session ID (RFC 8446 §4.1.3), which GnuTLS does not check.
    private func judgeServerHello(_ bytes: Span<UInt8>, _ exchange: Exchange) throws(HandshakeFailure) {
        let session = try reading(try ClientHelloIdentities.session(inServerHello: bytes))
        guard let offered = exchange.offered, let session, session != offered.session else { return }
        throw violation("its hello does not repeat our session id", .illegalParameter)
    }

    /// Client: checks EncryptedExtensions before GnuTLS processes it. A server may only answer extensions that it was
    /// sent (RFC 8446 §4.2); GnuTLS ignores unknown ones.
    private func judgeExtensions(_ bytes: Span<UInt8>, _ exchange: Exchange) throws(HandshakeFailure) {
        let extensions = try reading(try EncryptedExtensions(from: bytes))
        if let offered = exchange.offered,
            let other = extensions.extensions.first(where: { !offered.extensions.contains($0) })
        {
            throw violation("it answers the extension \(other), which we did not send", .unsupportedExtension)
        }
        recordSizeLimit = extensions.recordSizeLimit
        if let name = extensions.applicationProtocol { try applicationProtocol.check(answered: name) }
    }

    /// Checks the peer's certificates before its signature is verified. If the key is on a curve that TLS 1.3 does not
    /// have, that is reported instead of errors that follow from it.
    private func judgeCertificates() throws(HandshakeFailure) {
        do throws(HandshakeFailure) {
            try verification.check()
        } catch {
            let follows: [FailureReason] = [.certificateTooCostly, .certificateSignatureInvalid, .certificateInvalid]
            guard follows.contains(error.reason), let curve = unsafe PresentedChain(of: session).leafCurve else {
                throw error
            }
            throw unsupportedKey(on: curve)
        }
    }

    /// Accepts a peer that has proven possession of the key of its certificate, or that has none.
    ///
    /// - Returns: `true` if the handshake may continue.
    fileprivate func acceptPeer() -> Bool {
        do throws(HandshakeFailure) {
            try verification.accept()
            return true
        } catch {
            exchange?.verdict = error
            return false
        }
    }

    /// Maps a parse error to decode_error. A repeated extension is well-formed and maps to illegal_parameter (RFC 8446
    /// §4.2).
    private func reading<Value>(
        _ message: @autoclosure () throws(WireError) -> Value
    ) throws(HandshakeFailure) -> Value {
        do throws(WireError) {
            return try message()
        } catch {
            if case .duplicate = error { throw violation(error.description, .illegalParameter) }
            throw violation(error.description, .decodeError)
        }
    }

    /// The chain that the retrieve callback presents.
    func chainToPresent() -> CertificateChain? {
        wasAskedForCertificate = true
        guard authentication == .x509 else { return nil }
        let chain = unsafe requestChain ?? credentials?.chain(for: session)
        presentedChain = chain
        exchange?.signingKey = chain?.key.remote
        chain?.key.remote?.asker = self
        return chain
    }

    /// Our role, and the transcript hash so far by the hash of the cipher suite: for the signer. Drops the transcript.
    func takeTranscriptDigest() -> (role: Role, digest: [UInt8]) {
        guard let transcript = exchange?.transcript else { return (role, []) }
        exchange?.transcript = nil
        return (role, transcript.digest(by: unsafe gnutls_prf_hash_get(session)))
    }

    /// Notes why the signer did not sign, before GnuTLS is told that the signature failed.
    func noteSigningFailure(_ failure: HandshakeFailure) { exchange?.verdict = failure }

    /// Copies the PSK for GnuTLS; `false` for another identity than the one that was looked up.
    func copyPreSharedKey(of identity: [UInt8], to target: UnsafeMutablePointer<gnutls_datum_t>) -> Bool {
        unsafe preSharedKey.copy(of: identity, to: target)
    }

    /// Stores traffic secrets; `false` if memory could not be allocated.
    @unsafe fileprivate func collect(_ read: UnsafeRawPointer?, _ write: UnsafeRawPointer?, _ size: Int) -> Bool {
        do throws(SystemError) {
            let kept = if let traffic { traffic } else { try TrafficSecrets() }
            traffic = kept
            unsafe kept.store(read, write, size)
            return true
        } catch {
            return false
        }
    }

    // MARK: After the exchange

    /// Waits until the kernel has accepted all bytes of GnuTLS. Keys must not be installed before.
    private func sendRest() -> Step? {
        transport.flush()
        if transport.brokenBy != .success {
            fail(HandshakeFailure(.connectionReset, transport.brokenBy.name))
        } else if !transport.isFlushed {
            return .wants(.write, until: nil)
        } else {
            return complete()
        }
        return nil
    }

    /// Checks the negotiated parameters after GnuTLS is done.
    ///
    /// - Returns: The events to wait for, or `nil` if the phase changed.
    private func complete() -> Step? {
        let now = Clock.monotonicNanoseconds()
        completedAt = now
        do throws(HandshakeFailure) {
            // No message may span a change of keys (RFC 8446 §5.1); GnuTLS keeps what is left of Finished's record.
            guard unsafe gnutls_record_check_pending(session) == 0 else {
                throw violation("a message behind Finished in one record", .unexpectedMessage)
            }
            let negotiated = try describeSession()
            switch role {
            case .client:
                let mayBeRefused = presentedCertificate || wasAskedForCertificate && awaitsVerdictWithoutCertificate
                let timeout = mayBeRefused ? verdictTimeout : 0
                log(1, "handshake done; waiting up to \(timeout / 1_000_000) ms for the server's verdict")
                let deadline = now + timeout
                move(to: .awaitingVerdict(PostHandshake(until: deadline)))
                // Our certificate was sent just now, so an answer cannot be here yet.
                if timeout > 0 { return .wants(.read, until: deadline) }
            case .server: move(to: .finished(negotiated, PostHandshake()))
            }
        } catch {
            fail(error)
        }
        return nil
    }

    /// The negotiated parameters, after checking that they are what was asked for.
    private func describeSession() throws(HandshakeFailure) -> NegotiatedSession {
        guard unsafe gnutls_protocol_get_version(session) == GNUTLS_TLS1_3 else {
            throw HandshakeFailure(.protocolVersionUnsupported)
        }
        let number = unsafe cgnutls_kernel_cipher(session)
        guard let cipher = KernelCipher(rawValue: number), environment.kernel.ciphers.contains(cipher) else {
            throw HandshakeFailure(.kernelTLSCipherUnsupported, "cipher \(number)")
        }
        switch authentication {
        case .preSharedKey:
            guard unsafe gnutls_auth_get_type(session) == GNUTLS_CRD_PSK else {
                throw HandshakeFailure(.pskBinderMismatch, "the peer did not use the PSK")
            }
        case .unauthenticated, .x509:
            if !verification.isVerified, let demand = verification.demand {
                throw HandshakeFailure(.certificateMissing, demand)
            }
        }
        // A string constant.
        let group = unsafe gnutls_group_get_name(gnutls_group_get(session)).map { unsafe String(cString: $0) }
        return NegotiatedSession(
            cipherSuite: cipher.suite, group: group ?? "unknown", applicationProtocol: applicationProtocol.selected,
            peerAuthenticated: authentication == .preSharedKey || verification.isVerified)
    }

    // MARK: The server's verdict

    /// Time that a client waits for the server to refuse its certificate, in nanoseconds.
    ///
    /// In TLS 1.3 a client is done before its server has checked the client's certificate (RFC 8446 §4.4.2), and an
    /// alert that arrives after the keys were installed reaches a consumer that does not log its name. So a client that
    /// presented a certificate waits as long as the server took to answer its ClientHello, within 5 ms and 1 s:
    /// checking takes no longer than signing, and the round trip is the same. A busy server answers late, and waiting
    /// clients add to its load: for 10 s after a server accepted us the wait is at most 50 ms, with no minimum. For a
    /// minute after a server refused us it is twice the answer time, because it is likely to refuse us again.
    private var verdictTimeout: UInt64 {
        if isRecent(verification.knownPeer?.refusedUsAt, 60) {
            return max(minimumVerdictTimeout, min(2 * answerTime, 1_000_000_000))
        }
        return acceptedUsRecently
            ? min(answerTime, 50_000_000) : max(minimumVerdictTimeout, min(answerTime, 1_000_000_000))
    }

    private var acceptedUsRecently: Bool { isRecent(verification.knownPeer?.acceptedUsAt, 10) }

    private func isRecent(_ moment: UInt64?, _ seconds: UInt64) -> Bool {
        guard let moment else { return false }
        return Clock.monotonicNanoseconds() - moment < seconds * 1_000_000_000
    }

    /// Limit of records without data after a handshake. Servers send one or two tickets.
    private static let mostRecordsAfterHandshake = 64

    /// Interval at which a partially received record is polled; the socket stays readable, so epoll would return at
    /// once.
    private static let partialRecordInterval: UInt64 = 5_000_000

    private enum Finding {
        case goOn
        case decided
        case wait(Poller.Interest)
    }

    /// Reads what follows the server's handshake messages, but consumes only TLS messages: tickets are consumed and
    /// counted, an alert ends the handshake. Application data stays for the consumer; it also proves that the server
    /// accepts us.
    ///
    /// - Returns: The events to wait for, or `nil` if the phase changed.
    private func awaitVerdict(_ later: PostHandshake) -> Step? {
        while true {
            switch readAfterHandshake(later) {
            case .goOn: continue
            case .decided:
                finish(later)
                return nil
            case .wait(let interest):
                let now = Clock.monotonicNanoseconds()
                // The rest of a message comes, or the time of the handshake ends.
                let end = later.framing.isAtBoundary ? later.deadline : .max
                guard now < end else {
                    finish(later)
                    return nil
                }
                return .wants(interest, until: interest.isEmpty ? min(end, now + Self.partialRecordInterval) : end)
            }
        }
    }

    /// Ends the wait, unless the server's verdict has already failed the handshake.
    private func finish(_ later: PostHandshake) {
        guard case .awaitingVerdict = phase else { return }
        if presentedCertificate, !acceptedUsRecently {
            verification.knownPeer?.acceptedUsAt = Clock.monotonicNanoseconds()
        }
        do throws(HandshakeFailure) {
            move(to: .finished(try describeSession(), later))
        } catch {
            fail(error)
        }
    }

    private func readAfterHandshake(_ later: PostHandshake) -> Finding {
        switch transport.peek() {
        case .nothing: return .wait(.read)
        case .partial: return .wait([])
        case .end:
            fail(HandshakeFailure(.peerClosed, "directly after the handshake"))
        case .broken:
            fail(HandshakeFailure(.connectionReset, transport.brokenBy.name))
        case .notTLS:
            fail(malformedRecord ?? HandshakeFailure(.protocolViolation, "no TLS record after the handshake"))
        case .record(let header, let bytes):
            return read(header, bytes, later)
        }
        return .decided
    }

    /// Lets GnuTLS read a copy of a record that is still in the socket, unless the record is the consumer's.
    private func read(_ header: TLSRecordHeader, _ bytes: [UInt8], _ later: PostHandshake) -> Finding {
        var plain = [UInt8](repeating: 0, count: bytes.count)
        defer {
            unsafe plain.withUnsafeMutableBytes { raw in
                if let base = raw.baseAddress { unsafe cgnutls_wipe(base, raw.count) }
            }
        }
        var type: UInt8 = 0
        if header.type == .applicationData {
            let count = unsafe Int(cgnutls_open(session, bytes, bytes.count, &plain, &type))
            do throws(HandshakeFailure) {
                // RFC 8446 §5.4. GnuTLS does not tell it from a record that cannot be opened, which is left to it.
                guard count != Int(GNUTLS_E_UNEXPECTED_PACKET) else {
                    throw violation("a record of padding alone after the handshake", .unexpectedMessage)
                }
                if count >= 0,
                    try isForConsumer(
                        TLSRecordHeader.ContentType(rawValue: type), plain.span.extracting(first: count), later)
                {
                    log(1, "application data is waiting for the consumer")
                    return .decided
                }
            } catch {
                fail(error)
                return .decided
            }
        }
        let tickets = ticketsReceived
        let code = transport.withCopy(of: bytes) { unsafe gnutls_record_recv(session, &plain, plain.count) }
        if code == Int(GNUTLS_E_AGAIN) || code == Int(GNUTLS_E_INTERRUPTED) {
            guard transport.discard(bytes.count) else {
                fail(HandshakeFailure(.libraryFailure, "a record changed while it was read"))
                return .decided
            }
            // GnuTLS answers only together with application data, which it never gets here.
            if later.owesKeyUpdate, unsafe gnutls_session_key_update(session, 0) >= 0 { later.owesKeyUpdate = false }
            transport.flush()
            later.records += 1
            guard later.records < Self.mostRecordsAfterHandshake else {
                fail(HandshakeFailure(.protocolViolation, "too many messages after the handshake"))
                return .decided
            }
            // A ticket shows that the server has accepted us. More may follow.
            if ticketsReceived > tickets { later.deadline = 0 }
            return .goOn
        }
        FaultInjection.pause()
        // An alert is for us and must not stay for the consumer.
        _ = transport.discard(bytes.count)
        fail(judgeRecord(Int32(truncatingIfNeeded: code)))
        return .decided
    }

    /// Checks the content of a record after the handshake.
    ///
    /// - Returns: `true` if it is application data.
    private func isForConsumer(
        _ type: TLSRecordHeader.ContentType?, _ content: Span<UInt8>, _ later: PostHandshake
    ) throws(HandshakeFailure) -> Bool {
        // Records of other types may not come between those of a message (RFC 8446 §5.1).
        guard type == .handshake || type == .alert || later.framing.isAtBoundary else {
            throw violation("a record within a message after the handshake", .unexpectedMessage)
        }
        guard type == .handshake else { return type == .applicationData }
        if later.framing.isAtBoundary { later.lastMessage = nil }
        try later.framing.take(content) { (message, _) throws(HandshakeFailure) in
            // A message may not span a change of keys (RFC 8446 §5.1).
            guard later.lastMessage != UInt8(GNUTLS_HANDSHAKE_KEY_UPDATE.rawValue) else {
                throw violation("a message behind a KeyUpdate in one record", .unexpectedMessage)
            }
            later.lastMessage = message
        }
        return false
    }

    private func judgeRecord(_ code: Int32) -> HandshakeFailure {
        switch code {
        case 0: HandshakeFailure(.peerClosed, "directly after the handshake, with close_notify")
        case GNUTLS_E_FATAL_ALERT_RECEIVED, GNUTLS_E_WARNING_ALERT_RECEIVED: judgeAlert()
        default: GnuTLSError(code: code, call: "gnutls_record_recv").failure
        }
    }

    // MARK: Handing over to the kernel

    /// Installs the keys of both directions in the kernel. Afterwards only the kernel may send or receive on the
    /// socket.
    ///
    /// - Throws: The reason. The handshake has then failed, and the alert was sent if the connection allowed it.
    package func installKeys() throws(HandshakeFailure) {
        let socket = transport.socket
        do throws(HandshakeFailure) {
            try checkHandOver()
            do throws(HandshakeFailure) {
                try KernelTLS.attach(socket)
            } catch {
                // TCP_ULP requires an established connection. A connection that the server has closed may contain its
                // refusal.
                throw role == .client ? lookForAlert() ?? error : error
            }
            if let payloadLimit { try KernelTLS.limitPayload(of: socket, to: payloadLimit) }
            try unsafe KernelTLS.setKeys(of: session, on: socket, receive: false)
        } catch {
            fail(error)
            throw error
        }
        // Commit point: from here on the kernel encrypts what is written, so no alert can be sent.
        do throws(HandshakeFailure) {
            try unsafe KernelTLS.setKeys(of: session, on: socket, receive: true)
            try takeLateAlert()
        } catch {
            move(to: .failed(error))
            throw error
        }
        log(1, "the kernel holds the keys")
    }

    /// Checks that the keys may be installed, without calling the kernel.
    private func checkHandOver() throws(HandshakeFailure) {
        guard case .finished(let negotiated, _) = phase else {
            throw HandshakeFailure(.libraryFailure, "the handshake has not finished")
        }
        // The client of a server may be anonymous. The server of a client may not, nor may a peer with a PSK.
        let mayBeAnonymous = role == .server && authentication != .preSharedKey
        guard negotiated.peerAuthenticated || mayBeAnonymous else {
            throw HandshakeFailure(.libraryFailure, "the peer is not verified")
        }
        guard transport.isFlushed, transport.isAtRecordBoundary, unsafe gnutls_record_check_pending(session) == 0
        else { throw HandshakeFailure(.libraryFailure, "bytes are left over after the handshake") }
        if payloadLimit != nil, !environment.kernel.limitsTransmitPayload {
            throw HandshakeFailure(.recordSizeLimitUnsupported, "it accepts records of \(recordSizeLimit ?? 0) bytes")
        }
    }

    /// Reason why `installKeys` would refuse this session before it calls the kernel; `nil` if it would not. For
    /// probes, which install no keys.
    package var handOverProblem: HandshakeFailure? {
        do throws(HandshakeFailure) {
            try checkHandOver()
            return nil
        } catch {
            return error
        }
    }

    /// Plain bytes per record that the peer accepts: its limit includes the content type (RFC 8449 §4). `nil` if a full
    /// record fits.
    var payloadLimit: UInt16? {
        guard let limit = recordSizeLimit, limit <= 16_384 else { return nil }
        return limit - 1
    }

    /// Looks for an alert once more, without waiting, on a connection that the server has closed since the last look.
    private func lookForAlert() -> HandshakeFailure? {
        guard case .finished(_, let later) = phase else { return nil }
        later.deadline = 0
        move(to: .awaitingVerdict(later))
        _ = awaitVerdict(later)
        guard case .failed(let failure) = phase else { return nil }
        return failure
    }

    /// Looks once more for a server's refusal, which may have arrived since the last look (docs/decisions/0003).
    private func takeLateAlert() throws(HandshakeFailure) {
        let connection = TCPConnection(transport.socket)
        guard role == .client, connection.waitingRecord == .alert else { return }
        guard let description = connection.takeAlert() else {
            throw HandshakeFailure(.protocolViolation, "a malformed alert directly after the handshake")
        }
        throw judge(Alert(rawValue: description))
    }

    /// Moves the secrets out of a session whose keys are installed. `nil` if none were to be kept.
    package func takeTrafficSecrets() -> TrafficSecrets? {
        defer { traffic = nil }
        guard case .finished = phase, let traffic, unsafe traffic.matches(session) else { return nil }
        return traffic
    }

    // MARK: Failure

    /// Fails the handshake and sends the alert, if the connection still allows it. Does nothing if it has failed.
    private func fail(_ failure: HandshakeFailure) {
        if case .failed = phase { return }
        move(to: .failed(failure))
        log(1, "failed: \(failure.reason.row.explanation)\(failure.detail.isEmpty ? "" : " (\(failure.detail))")")
        // After an alert from the peer or on a broken connection nothing can be received.
        guard transport.brokenBy == .success, alertReceived == nil else { return }
        // The client's kernel parses bytes that arrive before it has sent a ClientHello as RPC; the broker sends the
        // alert later.
        guard role == .client || transport.hasReceived else { return }
        if let alert = failure.alert { send(alert) }
    }

    /// Refuses a handshake that could not be prepared, with an alert in clear text before any hello.
    ///
    /// - Returns: The alert that was sent; `nil` if the reason has none, or the socket did not accept it.
    package static func refuse(_ failure: HandshakeFailure, on socket: Int32) -> Alert? {
        guard let alert = failure.alert else { return nil }
        return TCPConnection(socket).send(alert.recordInClear) ? alert : nil
    }

    private func send(_ alert: Alert) {
        // user_canceled is a warning and must be followed by close_notify (RFC 8446 §6.1).
        let alerts: [(gnutls_alert_level_t, Alert)] =
            alert == .userCanceled
            ? [(GNUTLS_AL_WARNING, alert), (GNUTLS_AL_WARNING, .closeNotify)] : [(GNUTLS_AL_FATAL, alert)]
        for (level, one) in alerts {
            let description = gnutls_alert_description_t(UInt32(one.rawValue))
            guard unsafe gnutls_alert_send(session, level, description) >= 0 else { return }
        }
        FaultInjection.pause()
        transport.flush()
        guard transport.isFlushed, transport.brokenBy == .success else { return }
        alertSent = alert
        log(1, "sent alert \(alert.name)")
    }

    /// Failure for a GnuTLS error code, using the state of the session and the transport.
    private func judge(_ code: Int32, _ exchange: Exchange) -> HandshakeFailure {
        if let verdict = exchange.verdict { return verdict }
        let error = GnuTLSError(code: code, call: "gnutls_handshake")
        if let text = transport.plainText {
            return HandshakeFailure(.peerSpeaksPlainText, "the peer sent \(text.description)")
        }
        if code == GNUTLS_E_FATAL_ALERT_RECEIVED || code == GNUTLS_E_WARNING_ALERT_RECEIVED {
            return judgeAlert()
        }
        if let excess = transport.excess { return excess }
        if let malformedRecord { return malformedRecord }
        if transport.brokenBy != .success {
            return HandshakeFailure(.connectionReset, transport.brokenBy.name)
        }
        if transport.isAtEnd { return HandshakeFailure(.peerClosed, "during the handshake") }
        // Between its request for the key and its ServerHello, GnuTLS checks only the binder.
        if preSharedKey.wasCopied, !exchange.sentServerHello, code == GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER {
            return HandshakeFailure(.pskBinderMismatch)
        }
        return judge(error, exchange)
    }

    /// Failure for the header of a record that cannot be one. A first byte that is not a record type is an unexpected
    /// message (RFC 8446 §5, §5.4); a record that is too long is a record_overflow (§5.1).
    private var malformedRecord: HandshakeFailure? {
        guard let broken = transport.violation else { return nil }
        if case .outOfRange = broken { return violation(broken.description, .recordOverflow) }
        return violation(broken.description, .unexpectedMessage)
    }

    /// Failure for a GnuTLS error code that has no other explanation.
    private func judge(_ error: GnuTLSError, _ exchange: Exchange) -> HandshakeFailure {
        let reason = error.reason
        let isOfChoice = [.noCommonCipherSuite, .noCommonGroup, .noCommonSignatureScheme].contains(reason)
        switch exchange.lastReceived {
        case GNUTLS_HANDSHAKE_SERVER_HELLO where isOfChoice, GNUTLS_HANDSHAKE_HELLO_RETRY_REQUEST where isOfChoice:
            // The server chose something that we did not offer.
            return violation(error.text, .illegalParameter)
        case GNUTLS_HANDSHAKE_CERTIFICATE_PKT where isOfChoice || reason == .certificateInvalid:
            if let curve = exchange.foreignCurve { return unsupportedKey(on: curve) }
        case GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY where error.code == GNUTLS_E_KEY_USAGE_VIOLATION:
            if let problem = unsafe (try? PresentedChain(of: session).parsed())?.first?.signingProblem {
                return HandshakeFailure(reason, problem.text)
            }
        case GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY where isOfChoice || error.code == GNUTLS_E_CONSTRAINT_ERROR:
            // The peer's key cannot make TLS 1.3 signatures, or it signed with a scheme of another key type.
            if let curve = unsafe PresentedChain(of: session).leafCurve { return unsupportedKey(on: curve) }
            return violation(error.text, .illegalParameter)
        case GNUTLS_HANDSHAKE_CLIENT_HELLO where reason == .noCommonCipherSuite && presentedCertificate:
            if let problem = presentedChain?.leaf.signingProblem {
                return HandshakeFailure(.certificateUnreadable, problem.text)
            }
            if !canSignForPeer { return HandshakeFailure(.noCommonSignatureScheme) }
        default: break
        }
        return error.failure
    }

    /// True if the client offers a signature scheme of one of our keys.
    private var canSignForPeer: Bool { unsafe credentials?.fitting(session) != nil }

    private func unsupportedKey(on curve: String) -> HandshakeFailure {
        HandshakeFailure(
            .certificateInvalid, "its key is on the curve \(curve), which TLS 1.3 does not have",
            alert: .unsupportedCertificate)
    }

    /// A protocol violation by the peer, with the alert of RFC 8446.
    private func violation(_ text: String, _ alert: Alert) -> HandshakeFailure {
        HandshakeFailure(.protocolViolation, text, alert: alert)
    }

    /// Failure for an alert from the peer. In TLS 1.3 each alert ends the session, whatever its level (RFC 8446 §6).
    private func judgeAlert() -> HandshakeFailure {
        judge(Alert(rawValue: UInt8(truncatingIfNeeded: unsafe gnutls_alert_get(session).rawValue)))
    }

    private func judge(_ alert: Alert) -> HandshakeFailure {
        alertReceived = alert
        log(1, "received alert \(alert.name)")
        if alert == .unknownPSKIdentity { return HandshakeFailure(.alertUnknownPSKIdentity) }
        // With a PSK only the binder, and a Finished derived from the same key, can fail to decrypt or verify.
        if alert == .decryptError, role == .client, authentication == .preSharedKey {
            return HandshakeFailure(.pskBinderMismatch, "it sent \(alert.name)")
        }
        if alert == .closeNotify || alert == .userCanceled {
            return HandshakeFailure(.peerClosed, "with \(alert.name)")
        }
        if alert == .internalError { return HandshakeFailure(.alertInternalError) }
        let whose = role == .client ? "server" : "client"
        guard Self.aboutCertificates.contains(alert) else {
            return HandshakeFailure(.alertReceived, "the \(whose) sent \(alert.name)")
        }
        verification.knownPeer?.refusedUsAt = Clock.monotonicNanoseconds()
        if alert == .certificateRequired {
            return HandshakeFailure(.alertReceived, "the \(whose) demands a certificate")
        }
        return HandshakeFailure(.alertReceived, "the \(whose) refused our certificate: \(alert.name)")
    }

    private static let aboutCertificates: Set<Alert> = [
        .badCertificate, .unsupportedCertificate, .certificateRevoked, .certificateExpired, .certificateUnknown,
        .unknownCA, .certificateRequired,
    ]

    /// The session of a GnuTLS object, whose pointer it is.
    static func of(_ session: gnutls_session_t?) -> HandshakeSession? {
        guard let session = unsafe session, let context = unsafe gnutls_session_get_ptr(session) else { return nil }
        return unsafe Unmanaged<HandshakeSession>.fromOpaque(context).takeUnretainedValue()
    }
}

/// GnuTLS's hook for handshake messages. The message is valid during the call.
private func observeMessage(
    _ session: gnutls_session_t?, _ type: UInt32, _ when: UInt32, _ incoming: UInt32,
    _ message: UnsafePointer<gnutls_datum_t>?
) -> Int32 {
    guard let handshake = unsafe HandshakeSession.of(session) else { return 0 }
    let bytes = unsafe UnsafeBufferPointer(start: message?.pointee.data, count: Int(message?.pointee.size ?? 0))
    let mayGoOn = unsafe handshake.observe(
        gnutls_handshake_description_t(type), isIncoming: incoming != 0, bytes.span)
    return mayGoOn ? 0 : GNUTLS_E_USER_ERROR
}

/// GnuTLS callback that verifies the peer, after CertificateVerify if there is a certificate.
private func verifyPeer(_ session: gnutls_session_t?) -> Int32 {
    unsafe HandshakeSession.of(session)?.acceptPeer() == true ? 0 : -1
}

/// GnuTLS callback for secrets, which are valid during the call.
private func collectSecrets(
    _ session: gnutls_session_t?, _ level: gnutls_record_encryption_level_t, _ read: UnsafeRawPointer?,
    _ write: UnsafeRawPointer?, _ size: Int
) -> Int32 {
    guard level == GNUTLS_ENCRYPTION_LEVEL_APPLICATION, let handshake = unsafe HandshakeSession.of(session) else {
        return 0
    }
    return unsafe handshake.collect(read, write, size) ? 0 : GNUTLS_E_MEMORY_ERROR
}

/// Log of a handshake. Level 1 has each message and decision, level 3 the type and size of each record. Keys are never
/// logged.
package struct SessionLog {
    private let level: UInt8
    private let write: (UInt8, String) -> Void

    /// - Parameters:
    ///   - level: lines above this level are not formatted.
    ///   - write: called with a line's level and text.
    package init(upTo level: UInt8, write: @escaping (UInt8, String) -> Void) {
        self.level = level
        self.write = write
    }

    func callAsFunction(_ level: UInt8, _ text: @autoclosure () -> String) {
        if level <= self.level { write(level, text()) }
    }
}
