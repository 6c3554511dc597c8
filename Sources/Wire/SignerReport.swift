package import Handshake

/// What the signer sends the broker; docs/broker-protocol.md.
package enum SignerReport: PlainMessage {
    /// The answer to `setUp`: what its sandbox lacks on this kernel; empty when nothing.
    case ready(unconfined: String)
    /// The answer to `load`.
    case loaded(SignerVerdict)
    /// The answer to `ping`.
    case alive
    /// A worker asked in a way that the protocol does not permit; its channel is closed.
    case misbehaved(worker: UInt32, text: String)

    private enum Kind: UInt8 {
        case ready = 65
        case loaded = 66
        case alive = 67
        case misbehaved = 68
    }

    /// Writes the report and returns its length.
    package func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> Int {
        var writer = ByteWriter("signer's report")
        switch self {
        case .ready(let unconfined):
            try writer.unsigned8(Kind.ready.rawValue, to: &bytes)
            try writer.prefixed(unconfined, "unconfined", limit: MessageLimit.text, to: &bytes)
        case .loaded(let verdict):
            try writer.unsigned8(Kind.loaded.rawValue, to: &bytes)
            try verdict.encode(with: &writer, to: &bytes)
        case .alive: try writer.unsigned8(Kind.alive.rawValue, to: &bytes)
        case .misbehaved(let worker, let text):
            try writer.unsigned8(Kind.misbehaved.rawValue, to: &bytes)
            try writer.unsigned32(worker, to: &bytes)
            try writer.prefixed(text, "text", limit: MessageLimit.text, to: &bytes)
        }
        return writer.offset
    }

    /// Reads a report; the whole span must be one.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        let kind: Kind = try reader.enumeration("kind of report", in: bytes)
        switch kind {
        case .ready:
            self = .ready(unconfined: try reader.prefixedText("unconfined", limit: MessageLimit.text, in: bytes))
        case .loaded: self = .loaded(try SignerVerdict(with: &reader, from: bytes))
        case .alive: self = .alive
        case .misbehaved:
            self = .misbehaved(
                worker: try reader.unsigned32("worker", in: bytes),
                text: try reader.prefixedText("text", limit: MessageLimit.text, in: bytes))
        }
        try reader.finish("signer's report")
    }
}

/// What became of a `load`: with a problem, none of the parts can be used.
package struct SignerVerdict: Sendable, Equatable {
    package var owner: CredentialsOwner
    package var generation: UInt32
    /// Why not, naming file or URL and the remedy; empty when all is well.
    package var problem: String
    /// Whether it may be different without a change of files and settings, as with a token that is not plugged in. A
    /// wrong PIN is not: tokens lock themselves after a few.
    package var isPassing: Bool
    /// For each part PEM that is no secret, in their order: of a key its public half, of a certificate its chain. Empty
    /// with a problem.
    package var parts: [[UInt8]]

    package init(
        owner: CredentialsOwner, generation: UInt32, problem: String = "", isPassing: Bool = false,
        parts: [[UInt8]] = []
    ) {
        self.owner = owner
        self.generation = generation
        self.problem = problem
        self.isPassing = isPassing
        self.parts = parts
    }

    fileprivate func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try writer.credentialsOwner(owner, to: &bytes)
        try writer.unsigned32(generation, to: &bytes)
        try writer.prefixed(problem, "problem", limit: MessageLimit.text, to: &bytes)
        try writer.unsigned8(isPassing ? 1 : 0, to: &bytes)
        guard parts.count <= MessageLimit.signerParts else {
            throw .outOfRange(field: "number of parts", offset: writer.offset)
        }
        try writer.unsigned8(UInt8(parts.count), to: &bytes)
        for part in parts { try writer.prefixed(part, "part", limit: MessageLimit.certificate, to: &bytes) }
    }

    fileprivate init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        owner = try reader.credentialsOwner(in: bytes)
        generation = try reader.unsigned32("generation", in: bytes)
        problem = try reader.prefixedText("problem", limit: MessageLimit.text, in: bytes)
        isPassing = try reader.boolean("passing", in: bytes)
        parts = []
        let start = reader.offset
        let count = try reader.unsigned8("number of parts", in: bytes)
        guard count <= MessageLimit.signerParts else { throw .outOfRange(field: "number of parts", offset: start) }
        for _ in 0..<count {
            parts.append(try reader.prefixedBytes("part", limit: MessageLimit.certificate, in: bytes))
        }
    }
}
