internal import CGnuTLS
package import Handshake
package import System
internal import TLSWire
package import Wire
internal import X509

/// One TLS handshake on a borrowed socket: a state machine that never blocks.
///
/// Call `step` when the socket may be ready or the deadline has passed, until it returns `finished` or `failed`. One
/// thread.
@safe package final class HandshakeSession {
    package enum Step: Sendable, Equatable {
        /// Call again when one of these is possible, or when the clock (`Clock.monotonicNanoseconds`) shows `until`.
        case wants(Poller.Interest, until: UInt64?)
        /// Keys are ready for `KernelTLS.install`. Nothing is buffered, and nothing more will be read.
        case finished(NegotiatedSession)
        case failed(HandshakeFailure)
    }

    enum Phase {
        case handshaking
        /// GnuTLS is done, but the socket has not accepted all of its bytes yet.
        case sending
        /// The handshake is complete on our side, but the server may still refuse our certificate (see `awaitVerdict`).
        case awaitingVerdict(until: UInt64)
        case finished(NegotiatedSession)
        case failed(HandshakeFailure)
    }

    package let role: Role
    package let authentication: Authentication
    let peerName: PeerName?
    let log: SessionLog
    let environment: TLSEnvironment
    /// The environment's priorities, or those narrowed by the request.
    let priorities: Priorities
    /// On AF_TLSH the name of the server is optional for a client; without one only the chain is verified.
    let isPeerNameOptional: Bool
    let findKey: PSKFinder
    let tags: SessionTags

    /// Valid from init to deinit; its pointer is this object.
    let session: gnutls_session_t
    let transport: RecordBoundedTransport
    let credentials: Credentials?
    let requestChain: CertificateChain?
    /// Kept alive for GnuTLS.
    var clientKey: ClientPSKCredentials?
    /// Messages to be signed if the signer process signs; `nil` otherwise, and after the signature.
    var transcript: HandshakeTranscript?
    private var signingKey: RemoteKey?
    var preSharedKey: FoundPSK?

    var phase = Phase.handshaking
    /// A failure found inside a callback. It is more precise than the code that GnuTLS returns for it.
    var verdict: HandshakeFailure?
    /// The alert for the verdict, if it differs from the usual alert of its reason.
    var verdictAlert: Alert?
    /// Type of the last message that GnuTLS received.
    var lastReceived: gnutls_handshake_description_t?
    /// Client: contents of our ClientHello.
    var offered: ClientHelloIdentities?
    /// Curve in the peer's certificates that TLS 1.3 does not have, for the log.
    var foreignCurve: String?
    var handedKeyOut = false
    var sentServerHello = false
    var presentedCertificate = false
    /// True after the peer's chain and its possession of the key were verified.
    var verifiedPeer = false
    /// True after the peer's certificate passed all checks.
    var isPeerJudged = false
    /// A chain that is to be added to the cache of `credentials` once the peer is accepted.
    var newlyVerified: (presented: [UInt8], chain: [Certificate], verdict: VerifiedChains.ChainVerdict)?
    /// The peer's entry in the cache of verified chains.
    var knownPeer: VerifiedChains.Entry?
    var earnedTags: [String] = []
    /// Remarks for the log on a peer that is accepted.
    var remarks: [String] = []
    var applicationProtocolRemarks: [String] = []
    var revocationRemarks: [String] = []
    var helloSentAt: UInt64 = 0
    /// Nanoseconds from our ClientHello to the server's answer.
    var answerTime: UInt64 = 0
    /// Minimum time for a server to refuse our certificate, in nanoseconds.
    package var minimumVerdictTimeout: UInt64 = 5_000_000
    /// The peer's record_size_limit, content type included; `nil` if it sent none.
    var recordSizeLimit: UInt16?
    /// Sequence number of the next record to receive, if it differs from GnuTLS's.
    var receiveSequence: [UInt8]?
    /// Collects the traffic secrets if they are to be kept.
    var traffic: TrafficSecrets?

    /// The peer's certificate, verified or not.
    package internal(set) var peerCertificate: CertificateDescription?
    /// The identity in use, or the one that failed.
    package internal(set) var pskIdentity: String?
    /// Index of the offered PSK in the job.
    package internal(set) var pskIndex: Int?
    package internal(set) var alertSent: Alert?
    package internal(set) var alertReceived: Alert?
    package internal(set) var ticketsReceived = 0
    /// The peer has sent a KeyUpdate with update_requested (RFC 8446 §4.6.3).
    var owesKeyUpdate = false
    /// Records consumed after the handshake.
    var recordsAfterHandshake = 0

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
        role = job.role
        authentication = job.authentication
        peerName = job.peerName.map { PeerName($0) }
        self.log = log
        self.environment = environment
        isPeerNameOptional = job.transport == .listener
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

    /// Limits the bytes that the peer may send before the handshake is done.
    package func limitIncoming(_ count: Int) { transport.incoming.limit = count }

    /// True if the peer has sent anything.
    package var hasReceived: Bool { transport.hasReceived }

    /// Advances the handshake as far as the socket allows.
    package func step() -> Step {
        while true {
            switch phase {
            case .handshaking:
                if let waiting = runHandshake() { return waiting }
            case .sending:
                if let waiting = sendRest() { return waiting }
            case .awaitingVerdict(let deadline):
                if let waiting = awaitVerdict(until: deadline) { return waiting }
            case .finished(let session): return .finished(session)
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

    /// Runs GnuTLS until it needs the socket.
    ///
    /// - Returns: The events to wait for, or `nil` if the phase changed.
    private func runHandshake() -> Step? {
        signingKey?.asker = self
        let code = unsafe gnutls_handshake(session)
        signingKey?.asker = nil
        transport.consumeRead()
        transport.flush()
        if code == GNUTLS_E_INTERRUPTED { return nil }
        if code == GNUTLS_E_AGAIN {
            // Writing to a closed connection fails, but an alert of the peer may still be readable: only reading
            // decides.
            return .wants(transport.isFlushed ? .read : [.read, .write], until: nil)
        }
        guard code == GNUTLS_E_SUCCESS else {
            fail(judge(code))
            return nil
        }
        phase = .sending
        return nil
    }

    /// Waits until the kernel has accepted all bytes of GnuTLS. Keys must not be installed before.
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

    /// Checks the negotiated parameters after GnuTLS is done.
    ///
    /// - Returns: The events to wait for, or `nil` if the phase changed.
    private func complete() -> Step? {
        do throws(HandshakeFailure) {
            let negotiated = try describeSession()
            switch role {
            case .client:
                let timeout = presentedCertificate ? verdictTimeout : 0
                log(1, "handshake done; waiting up to \(timeout / 1_000_000) ms for the server's verdict")
                let deadline = Clock.monotonicNanoseconds() + timeout
                phase = .awaitingVerdict(until: deadline)
                // Our certificate was sent just now, so an answer cannot be here yet.
                if timeout > 0 { return .wants(.read, until: deadline) }
            case .server: phase = .finished(negotiated)
            }
        } catch {
            fail(error)
        }
        return nil
    }

    /// The negotiated parameters, after checking that they are what was asked for.
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

    /// The ALPN protocol; empty if none was negotiated.
    var selectedApplicationProtocol: String {
        var selected = unsafe gnutls_datum_t()
        guard unsafe gnutls_alpn_get_selected_protocol(session, &selected) >= 0 else { return "" }
        // The datum points into the session.
        let bytes = unsafe UnsafeBufferPointer(start: selected.data, count: Int(selected.size))
        return unsafe String(decoding: bytes, as: UTF8.self)
    }

    /// The chain that the retrieve callback presents.
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
