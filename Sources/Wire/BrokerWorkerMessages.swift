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
    /// The channel to a signer, exactly one descriptor; it takes the place of the former.
    case signer(SignerKind)
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
            case .signer: .signer(.files)
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
        case .signer(var signer):
            try coder.choice("signer", &signer, in: &bytes)
            self = .signer(signer)
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

/// A message of a worker to the broker on the control channel; docs/broker-protocol.md.
package enum WorkerMessage: ChannelMessage {
    /// The answer to the first `setUp`.
    case ready(WorkerAbilities)
    /// The answer to `credentials`: in force, or refused and the former ones still are.
    case configured(CredentialsVerdict)
    /// The end of a handshake; the worker holds neither its descriptor nor its keys any longer.
    case result(job: UInt64, HandshakeResult)
    /// The first byte of a handshake's peer has come, and the handshake goes on; once per job at most.
    case heard(job: UInt64)
    /// A line for the log, above the default level; `job` 0 where it belongs to none.
    case log(level: UInt8, job: UInt64, text: String)

    package enum Kind: UInt8, CaseIterable, Sendable {
        case ready = 65
        case configured = 66
        case result = 67
        case log = 68
        case heard = 69
    }

    package static let title = "worker message"

    package var kind: Kind {
        switch self {
        case .ready: .ready
        case .configured: .configured
        case .result: .result
        case .heard: .heard
        case .log: .log
        }
    }

    package init(_ kind: Kind) {
        self =
            switch kind {
            case .ready: .ready(WorkerAbilities())
            case .configured: .configured(CredentialsVerdict())
            case .result: .result(job: 0, HandshakeResult(outcome: .failure(HandshakeFailure(.libraryFailure))))
            case .heard: .heard(job: 0)
            case .log: .log(level: 0, job: 0, text: "")
            }
    }

    package mutating func codeFields(
        _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        switch self {
        case .ready(var abilities):
            try abilities.code(&coder, in: &bytes)
            self = .ready(abilities)
        case .configured(var verdict):
            try verdict.code(&coder, in: &bytes)
            self = .configured(verdict)
        case .result(var job, var result):
            try coder.integer("job", &job, in: &bytes)
            try result.code(&coder, in: &bytes)
            self = .result(job: job, result)
        case .log(var level, var job, var text):
            try coder.integer("level", &level, in: &bytes)
            // Lines of level 0 are the broker's own.
            try coder.require(level > 0, .outOfRange(field: "level", offset: 1))
            try coder.integer("job", &job, in: &bytes)
            try coder.text("text", &text, limit: MessageLimit.text, in: &bytes)
            self = .log(level: level, job: job, text: text)
        case .heard(var job):
            try coder.integer("job", &job, in: &bytes)
            self = .heard(job: job)
        }
    }
}

/// Features of the worker's TLS library, found out at run time.
package struct WorkerAbilities: MessageFields, Sendable, Equatable {
    /// Such as `3.8.9`.
    package var libraryVersion: String
    /// True if PSKs with SHA-384 binders work (GnuTLS 3.8.11 and later).
    package var bindsSHA384: Bool
    /// The suites that the crypto policy and the kernel leave, for the log.
    package var cipherSuites: String
    /// The reason why no handshake can be served; empty for none.
    package var problem: String
    package var confinement: Confinement

    package init(
        libraryVersion: String = "", bindsSHA384: Bool = false, cipherSuites: String = "", problem: String = "",
        confinement: Confinement = Confinement()
    ) {
        self.libraryVersion = libraryVersion
        self.bindsSHA384 = bindsSHA384
        self.cipherSuites = cipherSuites
        self.problem = problem
        self.confinement = confinement
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        let limit = MessageLimit.text
        try coder.text("version", &libraryVersion, limit: limit, in: &bytes)
        try coder.flag("SHA-384 binder", &bindsSHA384, in: &bytes)
        try coder.text("cipher suites", &cipherSuites, limit: limit, in: &bytes)
        try coder.text("problem", &problem, limit: limit, in: &bytes)
        try confinement.code(&coder, in: &bytes)
    }
}

/// A worker's question on the key channel: which PSK belongs to this identity? Allowed only for a server-side PSK
/// handshake that this worker is running.
package struct KeyLookup: ChannelMessage {
    package var job: UInt64
    /// The identity as the peer sent it; not empty, and without NUL.
    package var identity: [UInt8]

    package init(job: UInt64, identity: [UInt8]) {
        self.job = job
        self.identity = identity
    }

    /// There is one kind, and no byte for it: a worker sends nothing else on this channel.
    package enum Kind: UInt8, CaseIterable, Sendable {
        case lookup = 0
    }

    package static let title = "key lookup"
    package static func kind(firstByte: UInt8) -> Kind? { .lookup }

    package var kind: Kind { .lookup }

    package init(_ kind: Kind) {
        self.init(job: 0, identity: [])
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try codeFields(&coder, in: &bytes)
    }

    package mutating func codeFields(
        _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        try coder.integer("job", &job, in: &bytes)
        let start = coder.offset
        try coder.bytes("PSK identity", &identity, limit: MessageLimit.identity, in: &bytes)
        try coder.require(
            !identity.isEmpty && !identity.contains(0), .malformedText(field: "PSK identity", offset: start))
    }
}

/// The broker's answer to a `KeyLookup`, in the order of the questions.
package enum KeyAnswer: ChannelMessage {
    case key(SecretRange)
    /// No key with exactly this description.
    case unknown
    /// There is one, but it cannot be used; why.
    case unusable(String)

    package enum Kind: UInt8, CaseIterable, Sendable {
        case key = 1
        case unknown = 2
        case unusable = 3
    }

    package static let title = "key answer"

    package var kind: Kind {
        switch self {
        case .key: .key
        case .unknown: .unknown
        case .unusable: .unusable
        }
    }

    package init(_ kind: Kind) {
        self =
            switch kind {
            case .key: .key(SecretRange())
            case .unknown: .unknown
            case .unusable: .unusable("")
            }
    }

    package mutating func codeFields(
        _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        switch self {
        case .key(var key):
            try coder.secret("PSK", &key, limit: MessageLimit.preSharedKey, in: &bytes)
            self = .key(key)
        case .unknown: break
        case .unusable(var why):
            try coder.text("reason", &why, limit: MessageLimit.text, in: &bytes)
            self = .unusable(why)
        }
    }
}

/// Facts that a worker needs before its first handshake.
package struct WorkerSetUp: MessageFields, Sendable, Equatable {
    package var kernelTLS: KernelTLSCapabilities
    /// `-l`: 0 one line per handshake, 1 each step, 3 the records' types and sizes.
    package var logLevel: UInt8
    /// `[debug] tls`: GnuTLS's own log level, 0 to 9.
    package var libraryLogLevel: UInt8

    /// Maximum number of bytes that a peer may send before its handshake is done.
    package var handshakeBytes: Int
    /// Maximum size of the data of the process; counts only in the first set-up.
    package var memoryLimit: UInt64

    package init(
        kernelTLS: KernelTLSCapabilities = KernelTLSCapabilities(ciphers: [], limitsTransmitPayload: false),
        logLevel: UInt8 = 0, libraryLogLevel: UInt8 = 0,
        handshakeBytes: Int = HandshakeBytes.standard, memoryLimit: UInt64 = .max
    ) {
        self.kernelTLS = kernelTLS
        self.logLevel = logLevel
        self.libraryLogLevel = libraryLogLevel
        self.handshakeBytes = handshakeBytes
        self.memoryLimit = memoryLimit
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        var ciphers = KernelCipher.allCases.filter(kernelTLS.ciphers.contains), known = Set<KernelCipher>()
        let most = Int(UInt8.max)
        try coder.list("number of ciphers", &ciphers, limit: most, blank: .aes128GCM, in: &bytes) {
            (coder, cipher, bytes) throws(WireError) in
            let start = coder.offset
            try coder.choice("cipher", &cipher, in: &bytes)
            guard known.insert(cipher).inserted else { throw .duplicate(field: "cipher", offset: start) }
        }
        kernelTLS.ciphers = known
        try coder.flag("payload limit", &kernelTLS.limitsTransmitPayload, in: &bytes)
        try coder.flag("rekeying", &kernelTLS.rekeys, in: &bytes)
        try coder.integer("log level", &logLevel, in: &bytes)
        try coder.integer("library log level", &libraryLogLevel, in: &bytes)
        let start = coder.offset
        var limit = UInt32(clamping: handshakeBytes)
        try coder.integer("handshake bytes", &limit, in: &bytes)
        handshakeBytes = Int(limit)
        try coder.require(
            HandshakeBytes.range.contains(handshakeBytes), .outOfRange(field: "handshake bytes", offset: start))
        try coder.integer("memory limit", &memoryLimit, in: &bytes)
    }
}

/// Descriptors of a worker at its start.
package enum WorkerDescriptor {
    /// SOCK_SEQPACKET: `BrokerMessage` in, `WorkerMessage` out.
    package static let control: Int32 = 3
    /// SOCK_SEQPACKET: `KeyLookup` out, `KeyAnswer` in.
    package static let keys: Int32 = 4
    /// A memfd of a page: the job that the worker computes for, 0 for none.
    package static let step: Int32 = 5
}

/// Descriptor of the signer at its start.
package enum SignerDescriptor {
    /// SOCK_SEQPACKET: `SignerOrder` in, `SignerReport` out. The channels to workers come as orders.
    package static let control: Int32 = 3
}

// Permit tables of the broker and a worker: the control channel and the key channel; docs/broker-protocol.md.

extension BrokerMessage {
    package typealias Opposite = WorkerMessage
    package typealias State = ConfinedState
    package static let firstState = State.beforeSetUp

    package static let permits: [Permit<BrokerMessage>] = [
        Permit(.setUp, in: [.beforeSetUp, .serving], then: .serving, limit: MessageLimit.short),
        Permit(.credentials, in: [.serving], descriptors: .onePerFile(limit: MessageLimit.descriptors)),
        Permit(.withdraw, in: [.serving], limit: MessageLimit.short),
        Permit(.tags, in: [.serving]),
        Permit(.signer, in: [.serving], descriptors: .exactly(1), limit: MessageLimit.short),
        Permit(.handshake, in: [.serving], descriptors: .exactly(1)),
        Permit(.keyUpdate, in: [.serving], descriptors: .exactly(1), limit: MessageLimit.short),
        Permit(.cancel, in: [.serving], limit: MessageLimit.short),
    ]

    package var reference: MessageReference {
        switch self {
        case .credentials(let credentials): .credentials(credentials.owner, generation: credentials.generation)
        case .handshake(let job): .job(job.id)
        case .keyUpdate(let job): .job(job.id)
        case .setUp, .withdraw, .tags, .signer, .cancel: .none
        }
    }

    package var fileCount: Int {
        if case .credentials(let credentials) = self { credentials.files.count } else { 0 }
    }
}

extension WorkerMessage {
    package typealias Opposite = BrokerMessage
    package typealias State = ProcessState
    package static let firstState = State.starting

    package static let permits: [Permit<WorkerMessage>] = [
        Permit(.ready, in: [.starting], then: .ready, .once),
        Permit(.configured, in: [.ready], .answer([.credentials], inOrder: true)),
        Permit(.heard, in: [.ready], limit: MessageLimit.short, .notice([.handshake])),
        Permit(.result, in: [.ready], .answer([.handshake, .keyUpdate], inOrder: false)),
        Permit(.log, in: [.ready]),
    ]

    package var reference: MessageReference {
        switch self {
        case .configured(let verdict): .credentials(verdict.owner, generation: verdict.generation)
        case .result(let job, _), .heard(let job): .job(job)
        case .ready, .log: .none
        }
    }
}

extension KeyLookup {
    package typealias Opposite = KeyAnswer
    package typealias State = OpenState
    package static let firstState = State.open

    package static let permits = [Permit<KeyLookup>(.lookup, in: [.open], limit: MessageLimit.keyMessage)]
}

extension KeyAnswer {
    package typealias Opposite = KeyLookup
    package typealias State = OpenState
    package static let firstState = State.open

    package static let permits: [Permit<KeyAnswer>] = Kind.allCases.map { kind in
        Permit(kind, in: [.open], limit: MessageLimit.keyMessage, .answer([.lookup], inOrder: true))
    }
}
