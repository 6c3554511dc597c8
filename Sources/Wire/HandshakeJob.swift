package import Handshake

/// The place of a secret in a message. The bytes themselves stay in the message's own buffer, which is wiped after
/// use.
package struct SecretRange: Sendable, Equatable {
    package var range: Range<Int>

    package init(_ range: Range<Int> = 0..<0) {
        self.range = range
    }

    /// For encoding: a secret of `count` bytes, whose place the encoder decides.
    package init(count: Int) {
        range = 0..<count
    }

    package var count: Int { range.count }
}

/// A pre-shared key as a message carries it.
package struct PreSharedKeyField: Sendable, Equatable {
    /// The TLS identity: the key's whole description.
    package var identity: [UInt8]
    package var key: SecretRange

    package init(identity: [UInt8], key: SecretRange) {
        self.identity = identity
        self.key = key
    }
}

/// The broker's order to a worker: run this handshake on the descriptor that comes along.
package struct HandshakeJob: MessageFields, Sendable, Equatable {
    /// Unique for the broker's lifetime.
    package var id: UInt64
    /// The transport of the request: on AF_TLSH a client may have no name to verify.
    package var transport: Transport
    /// The profile whose credentials are used.
    package var profile: ProfileNumber
    package var role: Role
    package var authentication: Authentication
    /// CLOCK_MONOTONIC nanoseconds at which the handshake is given up.
    package var deadline: UInt64
    package var peerName: String?
    /// The consumer's GnuTLS priority string, which can only narrow the negotiation; `nil` for none.
    package var priorities: String?
    /// Suites and groups that the settings allow.
    package var limits: NegotiationLimits
    /// Client: the PSKs to offer, most wanted first. Server: empty.
    package var preSharedKeys: [PreSharedKeyField]
    /// DER certificates, concatenated, that replace the configured ones; empty for none.
    package var certificate: [UInt8]
    /// The DER private key of `certificate`; empty for none.
    package var privateKey: SecretRange
    /// Seconds for which to keep the session's secrets, for key updates; 0: they are forgotten at once.
    package var keepFor: UInt32

    package init(
        id: UInt64 = 0, transport: Transport = .netlink, profile: ProfileNumber = .standard, role: Role = .client,
        authentication: Authentication = .x509, deadline: UInt64 = 0, peerName: String? = nil,
        priorities: String? = nil,
        limits: NegotiationLimits = NegotiationLimits(), preSharedKeys: [PreSharedKeyField] = [],
        certificate: [UInt8] = [], privateKey: SecretRange = SecretRange(), keepFor: UInt32 = 0
    ) {
        self.id = id
        self.transport = transport
        self.profile = profile
        self.role = role
        self.authentication = authentication
        self.deadline = deadline
        self.peerName = peerName
        self.priorities = priorities
        self.limits = limits
        self.preSharedKeys = preSharedKeys
        self.certificate = certificate
        self.privateKey = privateKey
        self.keepFor = keepFor
    }

    package var owner: CredentialsOwner { CredentialsOwner(profile, role) }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.integer("job", &id, in: &bytes)
        try coder.choice("transport", &transport, in: &bytes)
        try profile.code(&coder, in: &bytes)
        try coder.choice("role", &role, in: &bytes)
        try coder.choice("authentication", &authentication, in: &bytes)
        try coder.integer("deadline", &deadline, in: &bytes)
        try coder.integer("seconds to keep", &keepFor, in: &bytes)
        try coder.text("peer name", &peerName, limit: MessageLimit.peerName, in: &bytes)
        try coder.text("priorities", &priorities, limit: MessageLimit.priorities, in: &bytes)
        try limits.code(&coder, in: &bytes)
        let blank = PreSharedKeyField(identity: [], key: SecretRange())
        try coder.list("number of PSKs", &preSharedKeys, limit: MessageLimit.preSharedKeys, blank: blank, in: &bytes) {
            (coder, entry, bytes) throws(WireError) in
            try coder.bytes("PSK identity", &entry.identity, limit: MessageLimit.identity, in: &bytes)
            try coder.secret("PSK", &entry.key, limit: MessageLimit.preSharedKey, in: &bytes)
        }
        try coder.bytes("certificate", &certificate, limit: MessageLimit.certificate, in: &bytes)
        try coder.secret("private key", &privateKey, limit: MessageLimit.privateKey, in: &bytes)
    }
}

extension HandshakeResult: MessageFields {
    private static let mostRemarks = 4

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        let limit = MessageLimit.text
        try outcome.code(&coder, in: &bytes)
        try coder.optional("certificate", &peerCertificate, blank: .blank, in: &bytes) {
            (coder, certificate, bytes) throws(WireError) in
            try certificate.code(&coder, in: &bytes)
        }
        try coder.optional("PSK identity", &pskIdentity, blank: "", in: &bytes) {
            (coder, identity, bytes) throws(WireError) in
            try coder.text("PSK identity", &identity, limit: limit, in: &bytes)
        }
        try coder.optional("alert sent", &alertSent, blank: .closeNotify, in: &bytes) {
            (coder, alert, bytes) throws(WireError) in
            try coder.choice("alert sent", &alert, in: &bytes)
        }
        try coder.optional("alert received", &alertReceived, blank: .closeNotify, in: &bytes) {
            (coder, alert, bytes) throws(WireError) in
            try coder.choice("alert received", &alert, in: &bytes)
        }
        try coder.texts(
            "tags", "tag", &tags, limit: SessionTags.mostTags, each: SessionTags.longestName, in: &bytes)
        try coder.texts("remarks", "remark", &remarks, limit: Self.mostRemarks, each: limit, in: &bytes)
        try Self.code("elapsed", &elapsed, &coder, in: &bytes)
        try Self.code("processor time", &processorTime, &coder, in: &bytes)
    }

    /// A duration in microseconds.
    private static func code(
        _ field: String, _ duration: inout Duration, _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        let start = coder.offset
        let (seconds, attoseconds) = duration.components
        var microseconds = UInt64(clamping: seconds * 1_000_000 + attoseconds / 1_000_000_000_000)
        try coder.integer(field, &microseconds, in: &bytes)
        guard let count = Int64(exactly: microseconds) else { throw .outOfRange(field: field, offset: start) }
        duration = .microseconds(count)
    }
}

extension HandshakeResult.Outcome: MessageFields {
    private enum Kind: UInt8 {
        case success = 1
        case failure = 2
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        let limit = MessageLimit.text
        var kind = kind
        try coder.choice("outcome", &kind, in: &bytes)
        if coder.isReading { self = Self.blank(kind) }
        switch self {
        case .success(var session):
            try coder.text("cipher suite", &session.cipherSuite, limit: limit, in: &bytes)
            try coder.text("group", &session.group, limit: limit, in: &bytes)
            try coder.text("ALPN", &session.applicationProtocol, limit: limit, in: &bytes)
            try coder.flag("peer authenticated", &session.peerAuthenticated, in: &bytes)
            self = .success(session)
        case .failure(let failure):
            var reason = failure.reason, detail = failure.detail
            try coder.choice("reason", &reason, in: &bytes)
            try coder.text("detail", &detail, limit: limit, in: &bytes)
            self = .failure(HandshakeFailure(reason, detail))
        }
    }

    private var kind: Kind {
        switch self {
        case .success: .success
        case .failure: .failure
        }
    }

    private static func blank(_ kind: Kind) -> Self {
        switch kind {
        case .success:
            .success(NegotiatedSession(cipherSuite: "", group: "", applicationProtocol: "", peerAuthenticated: false))
        case .failure: .failure(HandshakeFailure(.libraryFailure))
        }
    }
}

/// The broker's order to a worker: replace keys of a connection whose secrets it keeps. The descriptor comes along.
package struct KeyUpdateJob: MessageFields, Sendable, Equatable {
    /// Unique for the broker's lifetime, among handshakes too.
    package var id: UInt64
    /// The job of the connection's handshake.
    package var session: UInt64
    package var steps: KeyUpdate.Steps
    /// CLOCK_MONOTONIC nanoseconds at which it is given up.
    package var deadline: UInt64
    /// Seconds for which the secrets are kept from then on, by the settings of now.
    package var keepFor: UInt32

    package init(
        id: UInt64 = 0, session: UInt64 = 0, steps: KeyUpdate.Steps = [], deadline: UInt64 = 0, keepFor: UInt32 = 0
    ) {
        self.id = id
        self.session = session
        self.steps = steps
        self.deadline = deadline
        self.keepFor = keepFor
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.integer("job", &id, in: &bytes)
        try coder.integer("session", &session, in: &bytes)
        let start = coder.offset
        var raw = steps.rawValue
        try coder.integer("steps", &raw, in: &bytes)
        steps = KeyUpdate.Steps(rawValue: raw)
        try coder.require(steps.isValid, .unknownValue(field: "steps", value: UInt64(raw), offset: start))
        try coder.integer("deadline", &deadline, in: &bytes)
        try coder.integer("seconds to keep", &keepFor, in: &bytes)
    }
}
