package import Handshake

/// A message of the broker to a worker; docs/broker-protocol.md. The first byte is the kind.
package enum BrokerMessage: ChannelMessage {
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

    package enum Kind: UInt8, CaseIterable, Sendable {
        case setUp = 1
        case credentials = 2
        case handshake = 3
        case cancel = 4
        case withdraw = 5
        case tags = 6
        case signer = 7
        case keyUpdate = 8
    }

    package static let title = "broker message"

    package var kind: Kind {
        switch self {
        case .setUp: .setUp
        case .credentials: .credentials
        case .withdraw: .withdraw
        case .tags: .tags
        case .handshake: .handshake
        case .signer: .signer
        case .keyUpdate: .keyUpdate
        case .cancel: .cancel
        }
    }

    package init(_ kind: Kind) {
        self =
            switch kind {
            case .setUp: .setUp(WorkerSetUp())
            case .credentials: .credentials(RoleCredentials())
            case .withdraw: .withdraw(profile: .standard)
            case .tags: .tags(SessionTags())
            case .handshake: .handshake(HandshakeJob())
            case .signer: .signer
            case .keyUpdate: .keyUpdate(KeyUpdateJob())
            case .cancel: .cancel(job: 0, reason: .shuttingDown)
            }
    }

    package mutating func codeFields(
        _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        switch self {
        case .setUp(var setUp):
            try setUp.code(&coder, in: &bytes)
            self = .setUp(setUp)
        case .credentials(var credentials):
            try credentials.code(&coder, in: &bytes)
            self = .credentials(credentials)
        case .withdraw(var profile):
            try profile.code(&coder, in: &bytes)
            self = .withdraw(profile: profile)
        case .tags(var tags):
            try tags.code(&coder, in: &bytes)
            self = .tags(tags)
        case .handshake(var job):
            try job.code(&coder, in: &bytes)
            self = .handshake(job)
        case .signer: break
        case .keyUpdate(var job):
            try job.code(&coder, in: &bytes)
            self = .keyUpdate(job)
        case .cancel(var job, var reason):
            try coder.integer("job", &job, in: &bytes)
            try coder.choice("reason", &reason, in: &bytes)
            self = .cancel(job: job, reason: reason)
        }
    }
}

/// The reason for which the broker cancels a handshake.
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
