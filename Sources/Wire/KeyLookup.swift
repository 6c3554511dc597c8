/// A worker's question on the key channel: which PSK belongs to this identity? Allowed only for a server-side PSK
/// handshake that this worker is running.
package struct KeyLookup: PlainMessage {
    package var job: UInt64
    /// As the peer sent it: never empty, never with a NUL.
    package var identity: [UInt8]

    package init(job: UInt64, identity: [UInt8]) {
        self.job = job
        self.identity = identity
    }

    package func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> Int {
        var writer = ByteWriter("key lookup")
        try writer.unsigned64(job, to: &bytes)
        try writer.prefixed(identity, "PSK identity", limit: MessageLimit.identity, to: &bytes)
        return writer.offset
    }

    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        job = try reader.unsigned64("job", in: bytes)
        let start = reader.offset
        identity = try reader.prefixedBytes("PSK identity", limit: MessageLimit.identity, in: bytes)
        guard !identity.isEmpty, !identity.contains(0) else {
            throw .malformedText(field: "PSK identity", offset: start)
        }
        try reader.finish("key lookup")
    }
}

/// The broker's answer to a `KeyLookup`, in the order of the questions.
package enum KeyAnswer: SecretMessage {
    case key(SecretRange)
    /// No key with exactly this description.
    case unknown
    /// There is one, but it cannot be used; why.
    case unusable(String)

    private enum Kind: UInt8 {
        case key = 1
        case unknown = 2
        case unusable = 3
    }

    /// Writes the answer.
    ///
    /// - Returns: its length, and where the caller must copy the key.
    package func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> (length: Int, places: Range<Int>) {
        var writer = ByteWriter("key answer")
        var place = 0..<0
        switch self {
        case .key(let secret):
            guard secret.count <= MessageLimit.preSharedKey else { throw .outOfRange(field: "PSK", offset: 0) }
            try writer.unsigned8(Kind.key.rawValue, to: &bytes)
            try writer.unsigned16(UInt16(secret.count), to: &bytes)
            place = try writer.reserve(secret.count, in: bytes)
        case .unknown:
            try writer.unsigned8(Kind.unknown.rawValue, to: &bytes)
        case .unusable(let why):
            try writer.unsigned8(Kind.unusable.rawValue, to: &bytes)
            try writer.prefixed(why, "reason", limit: MessageLimit.text, to: &bytes)
        }
        return (writer.offset, place)
    }

    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        let kind: Kind = try reader.enumeration("kind of key answer", in: bytes)
        switch kind {
        case .key:
            self = .key(SecretRange(try reader.prefixedRange("PSK", limit: MessageLimit.preSharedKey, in: bytes)))
        case .unknown: self = .unknown
        case .unusable: self = .unusable(try reader.prefixedText("reason", limit: MessageLimit.text, in: bytes))
        }
        try reader.finish("key answer")
    }

    /// No descriptor ever comes with one.
    package var descriptorCount: Int { 0 }
}
