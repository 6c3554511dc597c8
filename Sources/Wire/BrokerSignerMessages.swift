package import Handshake

/// A message of the signer to the broker; docs/broker-protocol.md.
package enum SignerReport: ChannelMessage {
    /// The answer to `setUp`: what its sandbox lacks on this kernel; empty when nothing.
    case ready(unconfined: String)
    /// The answer to `load`.
    case loaded(SignerVerdict)
    /// The answer to `ping`.
    case alive
    /// A worker asked in a way that the protocol does not permit; its channel is closed.
    case misbehaved(worker: UInt32, text: String)

    package enum Kind: UInt8, CaseIterable, Sendable {
        case ready = 65
        case loaded = 66
        case alive = 67
        case misbehaved = 68
    }

    package static let title = "signer's report"

    package var kind: Kind {
        switch self {
        case .ready: .ready
        case .loaded: .loaded
        case .alive: .alive
        case .misbehaved: .misbehaved
        }
    }

    package init(_ kind: Kind) {
        self =
            switch kind {
            case .ready: .ready(unconfined: "")
            case .loaded: .loaded(SignerVerdict())
            case .alive: .alive
            case .misbehaved: .misbehaved(worker: 0, text: "")
            }
    }

    package mutating func codeFields(
        _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        switch self {
        case .ready(var unconfined):
            try coder.text("unconfined", &unconfined, limit: MessageLimit.text, in: &bytes)
            self = .ready(unconfined: unconfined)
        case .loaded(var verdict):
            try verdict.code(&coder, in: &bytes)
            self = .loaded(verdict)
        case .alive: break
        case .misbehaved(var worker, var text):
            try coder.integer("worker", &worker, in: &bytes)
            try coder.text("text", &text, limit: MessageLimit.text, in: &bytes)
            self = .misbehaved(worker: worker, text: text)
        }
    }
}

/// The answer to `load`: with a problem, none of the parts can be used.
package struct SignerVerdict: MessageFields, Sendable, Equatable {
    package var owner: CredentialsOwner
    package var generation: UInt32
    /// The problem, with file or URL and the remedy; empty for none.
    package var problem: String
    /// True if the problem may end without a change of files and settings, as with a token that is not plugged in. A
    /// wrong PIN is not: tokens lock themselves after a few.
    package var isPassing: Bool
    /// For each part PEM that is no secret, in their order: of a key its public half, of a certificate its chain. Empty
    /// with a problem.
    package var parts: [[UInt8]]

    package init(
        owner: CredentialsOwner = CredentialsOwner(.standard, .client), generation: UInt32 = 0, problem: String = "",
        isPassing: Bool = false, parts: [[UInt8]] = []
    ) {
        self.owner = owner
        self.generation = generation
        self.problem = problem
        self.isPassing = isPassing
        self.parts = parts
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try owner.code(&coder, in: &bytes)
        try coder.integer("generation", &generation, in: &bytes)
        try coder.text("problem", &problem, limit: MessageLimit.text, in: &bytes)
        try coder.flag("passing", &isPassing, in: &bytes)
        try coder.list("number of parts", &parts, limit: MessageLimit.signerParts, blank: [], in: &bytes) {
            (coder, part, bytes) throws(WireError) in
            try coder.bytes("part", &part, limit: MessageLimit.certificate, in: &bytes)
        }
    }
}
