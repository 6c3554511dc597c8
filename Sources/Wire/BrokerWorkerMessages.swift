package import Handshake

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
    /// Parts of its sandbox that this kernel lacks; empty for none.
    package var unconfined: String

    package init(
        libraryVersion: String = "", bindsSHA384: Bool = false, cipherSuites: String = "", problem: String = "",
        unconfined: String = ""
    ) {
        self.libraryVersion = libraryVersion
        self.bindsSHA384 = bindsSHA384
        self.cipherSuites = cipherSuites
        self.problem = problem
        self.unconfined = unconfined
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        let limit = MessageLimit.text
        try coder.text("version", &libraryVersion, limit: limit, in: &bytes)
        try coder.flag("SHA-384 binder", &bindsSHA384, in: &bytes)
        try coder.text("cipher suites", &cipherSuites, limit: limit, in: &bytes)
        try coder.text("problem", &problem, limit: limit, in: &bytes)
        try coder.text("unconfined", &unconfined, limit: limit, in: &bytes)
    }
}
