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
