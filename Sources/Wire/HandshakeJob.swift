package import Handshake

/// Where a secret lies inside a message. The bytes themselves stay in the message's own buffer, which is wiped after
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
package struct HandshakeJob: Sendable, Equatable {
    /// Unique for the broker's lifetime.
    package var id: UInt64
    /// Which way the request came: on AF_TLSH a client may have no name to verify.
    package var transport: Transport
    /// Whose credentials to use.
    package var profile: ProfileNumber
    package var role: Role
    package var authentication: Authentication
    /// CLOCK_MONOTONIC nanoseconds at which the handshake is given up.
    package var deadline: UInt64
    package var peerName: String?
    /// What may be negotiated at most, as a GnuTLS priority string; `nil` for what we allow ourselves.
    package var priorities: String?
    /// What the settings leave of what we allow ourselves.
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
        id: UInt64, transport: Transport = .netlink, profile: ProfileNumber = .standard, role: Role,
        authentication: Authentication, deadline: UInt64, peerName: String? = nil, priorities: String? = nil,
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

    /// Writes the job and decides where each secret goes: the returned job's ranges say where the caller must copy
    /// them.
    func encode(
        with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>
    ) throws(WireError) -> HandshakeJob {
        var placed = self
        try writer.unsigned64(id, to: &bytes)
        try writer.unsigned8(transport.rawValue, to: &bytes)
        try writer.unsigned16(profile.rawValue, to: &bytes)
        try writer.unsigned8(role.rawValue, to: &bytes)
        try writer.unsigned8(authentication.rawValue, to: &bytes)
        try writer.unsigned64(deadline, to: &bytes)
        try writer.unsigned32(keepFor, to: &bytes)
        try writer.prefixed(peerName ?? "", "peer name", limit: MessageLimit.peerName, to: &bytes)
        try writer.prefixed(priorities ?? "", "priorities", limit: MessageLimit.priorities, to: &bytes)
        try limits.encode(with: &writer, to: &bytes)
        guard preSharedKeys.count <= MessageLimit.preSharedKeys else {
            throw .outOfRange(field: "number of PSKs", offset: writer.offset)
        }
        try writer.unsigned8(UInt8(preSharedKeys.count), to: &bytes)
        for (index, entry) in preSharedKeys.enumerated() {
            try writer.prefixed(entry.identity, "PSK identity", limit: MessageLimit.identity, to: &bytes)
            placed.preSharedKeys[index].key = try Self.place(
                entry.key, "PSK", limit: MessageLimit.preSharedKey, with: &writer, to: &bytes)
        }
        try writer.prefixed(certificate, "certificate", limit: MessageLimit.certificate, to: &bytes)
        placed.privateKey = try Self.place(
            privateKey, "private key", limit: MessageLimit.privateKey, with: &writer, to: &bytes)
        return placed
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        id = try reader.unsigned64("job", in: bytes)
        transport = try reader.enumeration("transport", in: bytes)
        profile = ProfileNumber(try reader.unsigned16("profile", in: bytes))
        role = try reader.enumeration("role", in: bytes)
        authentication = try reader.enumeration("authentication", in: bytes)
        deadline = try reader.unsigned64("deadline", in: bytes)
        keepFor = try reader.unsigned32("seconds to keep", in: bytes)
        let name = try reader.prefixedText("peer name", limit: MessageLimit.peerName, in: bytes)
        peerName = name.isEmpty ? nil : name
        let text = try reader.prefixedText("priorities", limit: MessageLimit.priorities, in: bytes)
        priorities = text.isEmpty ? nil : text
        limits = try NegotiationLimits(with: &reader, from: bytes)
        preSharedKeys = []
        let countOffset = reader.offset
        let count = try reader.unsigned8("number of PSKs", in: bytes)
        guard count <= MessageLimit.preSharedKeys else {
            throw .outOfRange(field: "number of PSKs", offset: countOffset)
        }
        for _ in 0..<count {
            let identity = try reader.prefixedBytes("PSK identity", limit: MessageLimit.identity, in: bytes)
            let key = try reader.prefixedRange("PSK", limit: MessageLimit.preSharedKey, in: bytes)
            preSharedKeys.append(PreSharedKeyField(identity: identity, key: SecretRange(key)))
        }
        certificate = try reader.prefixedBytes("certificate", limit: MessageLimit.certificate, in: bytes)
        privateKey = SecretRange(try reader.prefixedRange("private key", limit: MessageLimit.privateKey, in: bytes))
    }

    private static func place(
        _ secret: SecretRange, _ field: String, limit: Int, with writer: inout ByteWriter,
        to bytes: inout MutableSpan<UInt8>
    ) throws(WireError) -> SecretRange {
        guard secret.count <= limit else { throw .outOfRange(field: field, offset: writer.offset) }
        try writer.unsigned16(UInt16(secret.count), to: &bytes)
        return SecretRange(try writer.reserve(secret.count, in: bytes))
    }
}
