package import Handshake

/// What the broker sends a worker; docs/broker-protocol.md. The first byte is the kind.
package enum BrokerMessage: SecretMessage {
    /// First of all, and again when log levels change.
    case setUp(WorkerSetUp)
    /// Replaces one role's credentials; the files travel as descriptors, in the order of `CredentialKind`'s raw values.
    case credentials(RoleCredentials)
    /// Forget a profile's credentials; handshakes that use them go on.
    case withdraw(profile: ProfileNumber)
    /// Replaces all session tags.
    case tags(SessionTags)
    /// Run a handshake; exactly one descriptor, the socket.
    case handshake(HandshakeJob)
    /// The channel to the signer, exactly one descriptor; it takes the place of the former.
    case signer
    /// Replace the keys of a connection whose secrets this worker keeps; exactly one descriptor, the socket.
    case keyUpdate(KeyUpdateJob)
    /// Give a handshake up: send its alert, then report it with this reason.
    case cancel(job: UInt64, reason: CancelReason)

    private enum Kind: UInt8 {
        case setUp = 1
        case credentials = 2
        case handshake = 3
        case cancel = 4
        case withdraw = 5
        case tags = 6
        case signer = 7
        case keyUpdate = 8
    }

    /// Writes the message.
    ///
    /// - Returns: its length, and for a handshake the job with the places where the caller must copy the secrets.
    package func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> (length: Int, places: HandshakeJob?) {
        var writer = ByteWriter("broker message")
        var placed: HandshakeJob?
        switch self {
        case .setUp(let setUp):
            try writer.unsigned8(Kind.setUp.rawValue, to: &bytes)
            try setUp.encode(with: &writer, to: &bytes)
        case .credentials(let credentials):
            try writer.unsigned8(Kind.credentials.rawValue, to: &bytes)
            try credentials.encode(with: &writer, to: &bytes)
        case .withdraw(let profile):
            try writer.unsigned8(Kind.withdraw.rawValue, to: &bytes)
            try writer.unsigned16(profile.rawValue, to: &bytes)
        case .tags(let tags):
            try writer.unsigned8(Kind.tags.rawValue, to: &bytes)
            try tags.encode(with: &writer, to: &bytes)
        case .handshake(let job):
            try writer.unsigned8(Kind.handshake.rawValue, to: &bytes)
            placed = try job.encode(with: &writer, to: &bytes)
        case .signer: try writer.unsigned8(Kind.signer.rawValue, to: &bytes)
        case .keyUpdate(let job):
            try writer.unsigned8(Kind.keyUpdate.rawValue, to: &bytes)
            try job.encode(with: &writer, to: &bytes)
        case .cancel(let job, let reason):
            try writer.unsigned8(Kind.cancel.rawValue, to: &bytes)
            try writer.unsigned64(job, to: &bytes)
            try writer.unsigned8(reason.rawValue, to: &bytes)
        }
        return (writer.offset, placed)
    }

    /// Reads a message; the whole span must be one.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        let kind: Kind = try reader.enumeration("kind of broker message", in: bytes)
        switch kind {
        case .setUp: self = .setUp(try WorkerSetUp(with: &reader, from: bytes))
        case .credentials: self = .credentials(try RoleCredentials(with: &reader, from: bytes))
        case .withdraw: self = .withdraw(profile: ProfileNumber(try reader.unsigned16("profile", in: bytes)))
        case .tags: self = .tags(try SessionTags(with: &reader, from: bytes))
        case .handshake: self = .handshake(try HandshakeJob(with: &reader, from: bytes))
        case .signer: self = .signer
        case .keyUpdate: self = .keyUpdate(try KeyUpdateJob(with: &reader, from: bytes))
        case .cancel:
            self = .cancel(
                job: try reader.unsigned64("job", in: bytes), reason: try reader.enumeration("reason", in: bytes))
        }
        try reader.finish("broker message")
    }

    /// How many descriptors must come with it.
    package var descriptorCount: Int {
        switch self {
        case .setUp, .cancel, .withdraw, .tags: 0
        case .handshake, .signer, .keyUpdate: 1
        case .credentials(let credentials): credentials.kinds.count
        }
    }
}

/// Why a handshake is given up from outside.
package enum CancelReason: UInt8, Sendable, Equatable, CaseIterable {
    /// The daemon stops.
    case shuttingDown = 1
    /// Others need the place: it was the oldest of the peers that have most.
    case overloaded = 2

    package var failure: HandshakeFailure {
        switch self {
        case .shuttingDown: HandshakeFailure(.shuttingDown)
        case .overloaded: HandshakeFailure(.overloaded, "others needed the place")
        }
    }
}
