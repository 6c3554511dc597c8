internal import CGnuTLS
package import Handshake
package import System
package import Wire

/// One TLS handshake on a socket that is not ours: a state machine that never blocks.
///
/// Call `step` whenever the socket may be ready, and now and then besides, until it has finished or failed. One thread.
@safe package final class HandshakeSession {
    package enum Step: Sendable, Equatable {
        /// Call again when one of these is possible, or when the clock (`Clock.monotonicNanoseconds`) shows `until`.
        case wants(Poller.Interest, until: UInt64?)
        /// Keys are ready for `KernelTLS.install`; nothing is buffered, nothing more will be read.
        case finished(NegotiatedSession)
        case failed(HandshakeFailure)
    }

    enum Phase {
        case handshaking
        /// The library is done, and the socket has not yet taken all that it sent.
        case sending
        /// The handshake is done for us, but the server may still refuse our certificate (see `awaitVerdict`).
        case awaitingVerdict(until: UInt64)
        case finished(NegotiatedSession)
        case failed(HandshakeFailure)
    }

    package let role: Role
    package let authentication: Authentication
    let peerName: PeerName?
    let log: SessionLog
    let environment: TLSEnvironment
    /// The environment's, or what the request leaves of them.
    let priorities: Priorities
    /// On AF_TLSH a client may be given no name; then the chain alone is verified.
    let mayLackPeerName: Bool
    let findKey: PSKFinder
    let tags: SessionTags

    /// Valid from init to deinit; its pointer is this object.
    let session: gnutls_session_t
    let transport: RecordBoundedTransport
    let credentials: Credentials?
    let requestChain: CertificateChain?
    /// Kept alive for the library.
    var clientKey: ClientPSKCredentials?
    /// What our signature is for, where another process makes it; `nil` before, otherwise and afterwards.
    var transcript: HandshakeTranscript?
    private var signingKey: RemoteKey?
    var preSharedKey: FoundPSK?

    var phase = Phase.handshaking
    /// A verdict reached inside a callback, which the library's own code would only blur.
    var verdict: HandshakeFailure?
    /// The alert of a verdict, where it is not its reason's usual one.
    var verdictAlert: Alert?
    /// The message that the library has looked at last, or looks at.
    var lastReceived: gnutls_handshake_description_t?
    /// What a client has sent.
    var offered: ClientHelloIdentities?
    /// A curve of the peer's certificates that TLS 1.3 does not have, for the log.
    var foreignCurve: String?
    var handedKeyOut = false
    var sentServerHello = false
    var presentedCertificate = false
    /// Its chain was verified, and that it holds the key.
    var verifiedPeer = false
    /// Its certificate was judged, and nothing was wrong with it.
    var isPeerJudged = false
    /// A chain that `credentials` have not verified before, until the peer is accepted.
    var newlyVerified: (presented: [UInt8], chain: [Certificate], verdict: VerifiedChains.ChainVerdict)?
    /// The peer's place among the chains that were verified.
    var knownPeer: VerifiedChains.Entry?
    var earnedTags: [String] = []
    /// What is to be said of the peer though it is let in.
    var remarks: [String] = []
    var applicationProtocolRemarks: [String] = []
    var revocationRemarks: [String] = []
    var helloSentAt: UInt64 = 0
    /// Nanoseconds from our ClientHello to the server's answer.
    var answerTime: UInt64 = 0
    /// What a server gets at least to refuse our certificate, in nanoseconds.
    package var leastPatience: UInt64 = 5_000_000
    /// The largest record that the peer takes, content type included; `nil` where it did not say.
    var recordSizeLimit: UInt16?
    /// The number of the next record to receive, where it is not the library's.
    var receiveSequence: [UInt8]?
    /// Where the session's secrets are to be kept.
    var traffic: TrafficSecrets?

    /// The peer's certificate, verified or not.
    package internal(set) var peerCertificate: CertificateDescription?
    /// The identity in use, or the one that failed.
    package internal(set) var pskIdentity: String?
    /// Which of the job's PSKs is offered.
    package internal(set) var pskIndex: Int?
    package internal(set) var alertSent: Alert?
    package internal(set) var alertReceived: Alert?
    package internal(set) var ticketsReceived = 0
    /// The peer has asked for our next key (RFC 8446 §4.6.3).
    var owesKeyUpdate = false
    /// Records that were taken behind the handshake.
    var recordsBehind = 0

    /// Prepares a handshake; nothing is sent yet.
    ///
    /// - Parameters:
    ///   - secrets: the buffer that the job's ranges point into; it is not needed afterwards.
    ///   - socket: borrowed; it must stay open as long as this object lives.
    ///   - credentials: the role's; needed unless the handshake is by PSK.
    ///   - tags: what a server's verified clients can earn.
    ///   - signer: who holds the private keys; needed where the request brings a certificate, but not its key.
    ///   - findKey: asked at most once, by a server, for the identity that its client offers.
    /// - Throws: why there is no way to run it. Nothing was sent; `refuse` can tell the peer.
    package init(
        _ job: HandshakeJob, secrets: borrowing SecretBuffer, socket: Int32, environment: TLSEnvironment,
        credentials: Credentials?, tags: SessionTags = SessionTags(), signer: SignerCall? = nil,
        findKey: @escaping PSKFinder, log: SessionLog
    ) throws(HandshakeFailure) {
        role = job.role
        authentication = job.authentication
        peerName = job.peerName.map { PeerName($0) }
        self.log = log
        self.environment = environment
        mayLackPeerName = job.transport == .listener
        priorities = try environment.priorities(for: job)
        self.findKey = findKey
        self.tags = tags
        self.credentials = credentials
        requestChain = try Self.requestChain(job, secrets, signer, credentials?.rules ?? PeerRules())
        transport = RecordBoundedTransport(socket: socket)
        transport.refusesEarlyChange = job.role == .server
        var made: gnutls_session_t?
        try Self.require(unsafe gnutls_init(&made, cgnutls_session_flags(job.role == .server ? 1 : 0)), "gnutls_init")
        guard let made = unsafe made else { throw HandshakeFailure(.libraryFailure, "no session") }
        unsafe session = made
        unsafe gnutls_session_set_ptr(made, Unmanaged.passUnretained(self).toOpaque())
        unsafe gnutls_transport_set_ptr(made, Unmanaged.passUnretained(transport).toOpaque())
        unsafe gnutls_transport_set_push_function(made, pushRecord)
        unsafe gnutls_transport_set_pull_function(made, pullRecord)
        unsafe gnutls_handshake_set_timeout(made, 0)
        observeHandshake()
        if authentication == .x509, requestChain?.key.remote != nil || credentials?.hasRemoteKey == true {
            transcript = HandshakeTranscript()
        }
        if job.keepFor > 0 { collectTrafficSecrets() }
        transport.onRecord = { direction, header in
            log(
                3,
                "\(direction == .transmit ? "sent" : "received") record \(header.type.name), \(header.bodyLength) bytes"
            )
        }
        switch job.authentication {
        case .unauthenticated, .x509: try prepareCertificates()
        case .preSharedKey: try preparePreSharedKey(job, secrets)
        }
    }

    deinit { unsafe gnutls_deinit(session) }

    /// How many bytes the peer may send before the handshake is done.
    package func limitIncoming(_ count: Int) { transport.incoming.limit = count }

    /// Whether the peer has sent anything.
    package var hasHeard: Bool { transport.hasHeard }

    /// Goes on as far as the socket allows.
    package func step() -> Step {
        while true {
            switch phase {
            case .handshaking:
                if let waiting = shakeHands() { return waiting }
            case .sending:
                if let waiting = sendRest() { return waiting }
            case .awaitingVerdict(let deadline):
                if let waiting = awaitVerdict(until: deadline) { return waiting }
            case .finished(let session): return .finished(session)
            case .failed(let failure): return .failed(failure)
            }
        }
    }

    /// Ends the handshake from outside; the peer is told. Does nothing when it has ended already.
    package func giveUp(_ failure: HandshakeFailure) {
        switch phase {
        case .handshaking, .sending, .awaitingVerdict: fail(failure)
        case .finished, .failed: return
        }
    }

    /// What the broker is to be told.
    package func result(elapsed: Duration) -> HandshakeResult {
        let outcome: HandshakeResult.Outcome =
            switch phase {
            case .finished(let session): .success(session)
            case .failed(let failure): .failure(failure)
            case .handshaking, .sending, .awaitingVerdict: .failure(HandshakeFailure(.libraryFailure, "not finished"))
            }
        return HandshakeResult(
            outcome: outcome, peerCertificate: peerCertificate, pskIdentity: pskIdentity, alertSent: alertSent,
            alertReceived: alertReceived, tags: verifiedPeer ? earnedTags : [],
            remarks: remarks + revocationRemarks + applicationProtocolRemarks,
            elapsed: elapsed)
    }

    // MARK: The handshake proper

    /// Runs the library until it needs the socket.
    ///
    /// - Returns: what to wait for, or `nil` when the phase changed.
    private func shakeHands() -> Step? {
        signingKey?.asker = self
        let code = unsafe gnutls_handshake(session)
        signingKey?.asker = nil
        transport.settle()
        transport.flush()
        if code == GNUTLS_E_INTERRUPTED { return nil }
        if code == GNUTLS_E_AGAIN {
            // A peer whose side is gone cannot answer, but an alert of its may still be there: only reading decides.
            return .wants(transport.isFlushed ? .read : [.read, .write], until: nil)
        }
        guard code == GNUTLS_E_SUCCESS else {
            fail(judge(code))
            return nil
        }
        phase = .sending
        return nil
    }

    /// Waits until the kernel has all that the library sent: keys come after it.
    private func sendRest() -> Step? {
        transport.flush()
        if transport.brokenBy != 0 {
            fail(HandshakeFailure(.connectionReset, SystemError.name(of: transport.brokenBy)))
        } else if !transport.isFlushed {
            return .wants(.write, until: nil)
        } else {
            return complete()
        }
        return nil
    }

    /// The library is content; we look at what it agreed on.
    ///
    /// - Returns: what to wait for, or `nil` when the phase changed.
    private func complete() -> Step? {
        do throws(HandshakeFailure) {
            let negotiated = try describeSession()
            switch role {
            case .client:
                let patience = presentedCertificate ? verdictPatience : 0
                log(1, "handshake done; waiting up to \(patience / 1_000_000) ms for the server's verdict")
                let deadline = Clock.monotonicNanoseconds() + patience
                phase = .awaitingVerdict(until: deadline)
                // Our certificate has only just left.
                if patience > 0 { return .wants(.read, until: deadline) }
            case .server: phase = .finished(negotiated)
            }
        } catch {
            fail(error)
        }
        return nil
    }

    /// What was agreed, after checking that it is what was asked for.
    func describeSession() throws(HandshakeFailure) -> NegotiatedSession {
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
            verifiedPeer = true
        case .unauthenticated, .x509:
            if !verifiedPeer, let demand = certificateDemand { throw HandshakeFailure(.certificateMissing, demand) }
        }
        // A string constant.
        let group = unsafe gnutls_group_get_name(gnutls_group_get(session)).map { unsafe String(cString: $0) }
        return NegotiatedSession(
            cipherSuite: cipher.suite, group: group ?? "unknown", applicationProtocol: selectedApplicationProtocol,
            peerAuthenticated: verifiedPeer)
    }

    /// Empty where none was agreed.
    var selectedApplicationProtocol: String {
        var selected = unsafe gnutls_datum_t()
        guard unsafe gnutls_alpn_get_selected_protocol(session, &selected) >= 0 else { return "" }
        // The datum points into the session.
        let bytes = unsafe UnsafeBufferPointer(start: selected.data, count: Int(selected.size))
        return unsafe String(decoding: bytes, as: UTF8.self)
    }

    /// What the retrieve callback presents.
    func chainToPresent() -> CertificateChain? {
        guard authentication == .x509 else { return nil }
        let chain = unsafe requestChain ?? credentials?.chain(for: session)
        presentedCertificate = chain != nil
        signingKey = chain?.key.remote
        signingKey?.asker = self
        return chain
    }

    /// RFC 9289 §4.1.
    static let applicationProtocol = "sunrpc"

    static func require(_ code: Int32, _ call: String) throws(HandshakeFailure) {
        guard code >= 0 else {
            throw HandshakeFailure(.libraryFailure, GnuTLSError(code: code, call: call).description)
        }
    }
}
