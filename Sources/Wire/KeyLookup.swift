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
