package import Handshake

/// What a worker sends the broker on the control channel; docs/broker-protocol.md.
package enum WorkerMessage: PlainMessage {
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

    private enum Kind: UInt8 {
        case ready = 65
        case configured = 66
        case result = 67
        case log = 68
        case heard = 69
    }

    /// Writes the message and returns its length.
    package func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> Int {
        var writer = ByteWriter("worker message")
        switch self {
        case .ready(let abilities):
            try writer.unsigned8(Kind.ready.rawValue, to: &bytes)
            try writer.prefixed(abilities.libraryVersion, "version", limit: MessageLimit.text, to: &bytes)
            try writer.unsigned8(abilities.bindsSHA384 ? 1 : 0, to: &bytes)
            try writer.prefixed(abilities.cipherSuites, "cipher suites", limit: MessageLimit.text, to: &bytes)
            try writer.prefixed(abilities.problem, "problem", limit: MessageLimit.text, to: &bytes)
            try writer.prefixed(abilities.unconfined, "unconfined", limit: MessageLimit.text, to: &bytes)
        case .configured(let verdict):
            try writer.unsigned8(Kind.configured.rawValue, to: &bytes)
            try verdict.encode(with: &writer, to: &bytes)
        case .result(let job, let result):
            try writer.unsigned8(Kind.result.rawValue, to: &bytes)
            try writer.unsigned64(job, to: &bytes)
            try result.encode(with: &writer, to: &bytes)
        case .log(let level, let job, let text):
            try writer.unsigned8(Kind.log.rawValue, to: &bytes)
            try writer.unsigned8(level, to: &bytes)
            try writer.unsigned64(job, to: &bytes)
            try writer.prefixed(text, "text", limit: MessageLimit.text, to: &bytes)
        case .heard(let job):
            try writer.unsigned8(Kind.heard.rawValue, to: &bytes)
            try writer.unsigned64(job, to: &bytes)
        }
        return writer.offset
    }

    /// Reads a message; the whole span must be one.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        let kind: Kind = try reader.enumeration("kind of worker message", in: bytes)
        let limit = MessageLimit.text
        switch kind {
        case .ready:
            self = .ready(
                WorkerAbilities(
                    libraryVersion: try reader.prefixedText("version", limit: limit, in: bytes),
                    bindsSHA384: try reader.boolean("SHA-384 binder", in: bytes),
                    cipherSuites: try reader.prefixedText("cipher suites", limit: limit, in: bytes),
                    problem: try reader.prefixedText("problem", limit: limit, in: bytes),
                    unconfined: try reader.prefixedText("unconfined", limit: limit, in: bytes)))
        case .configured: self = .configured(try CredentialsVerdict(with: &reader, from: bytes))
        case .result:
            self = .result(
                job: try reader.unsigned64("job", in: bytes), try HandshakeResult(with: &reader, from: bytes))
        case .log:
            self = .log(
                level: try reader.unsigned8("level", in: bytes), job: try reader.unsigned64("job", in: bytes),
                text: try reader.prefixedText("text", limit: limit, in: bytes))
        case .heard: self = .heard(job: try reader.unsigned64("job", in: bytes))
        }
        try reader.finish("worker message")
    }
}

/// What the worker's TLS library can do, found out at run time.
package struct WorkerAbilities: Sendable, Equatable {
    /// Such as `3.8.9`.
    package var libraryVersion: String
    /// Whether PSKs with SHA-384 binders work (GnuTLS 3.8.11 and later).
    package var bindsSHA384: Bool
    /// The suites that the crypto policy and the kernel leave, for the log.
    package var cipherSuites: String
    /// Why no handshake can be served at all; empty when all is well.
    package var problem: String
    /// What its sandbox lacks on this kernel; empty when nothing.
    package var unconfined: String

    package init(
        libraryVersion: String, bindsSHA384: Bool, cipherSuites: String, problem: String, unconfined: String
    ) {
        self.libraryVersion = libraryVersion
        self.bindsSHA384 = bindsSHA384
        self.cipherSuites = cipherSuites
        self.problem = problem
        self.unconfined = unconfined
    }
}
