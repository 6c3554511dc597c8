package import Handshake

/// What the broker sends the signer; docs/broker-protocol.md. The first byte is the kind.
package enum SignerOrder: SecretMessage {
    /// First of all. With `opensTokens` it stays able to use token modules, and what these need.
    case setUp(opensTokens: Bool, libraryLogLevel: UInt8)
    /// Load a role's keys; a descriptor for each part that has one, in their order.
    case load(SignerKeys)
    /// Forget a generation of a role's keys.
    case release(owner: CredentialsOwner, generation: UInt32)
    /// Hold the DER key that a request named, for the worker that runs its handshake.
    case hold(job: UInt64, worker: UInt32, key: SecretRange)
    /// Forget it.
    case forget(job: UInt64)
    /// Serve a worker; exactly one descriptor, the channel to it. A former one of the same worker is closed.
    case connect(worker: UInt32)
    /// Answer with `alive`.
    case ping

    private enum Kind: UInt8 {
        case setUp = 1
        case load = 2
        case release = 3
        case hold = 4
        case forget = 5
        case connect = 6
        case ping = 7
    }

    /// Writes the order.
    ///
    /// - Returns: its length, and where the caller must copy the key of `hold`.
    package func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> (length: Int, places: Range<Int>) {
        var writer = ByteWriter("order to the signer")
        var place = 0..<0
        switch self {
        case .setUp(let opensTokens, let level):
            try writer.unsigned8(Kind.setUp.rawValue, to: &bytes)
            try writer.unsigned8(opensTokens ? 1 : 0, to: &bytes)
            try writer.unsigned8(level, to: &bytes)
        case .load(let keys):
            try writer.unsigned8(Kind.load.rawValue, to: &bytes)
            try keys.encode(with: &writer, to: &bytes)
        case .release(let owner, let generation):
            try writer.unsigned8(Kind.release.rawValue, to: &bytes)
            try writer.credentialsOwner(owner, to: &bytes)
            try writer.unsigned32(generation, to: &bytes)
        case .hold(let job, let worker, let key):
            try writer.unsigned8(Kind.hold.rawValue, to: &bytes)
            try writer.unsigned64(job, to: &bytes)
            try writer.unsigned32(worker, to: &bytes)
            guard key.count <= MessageLimit.privateKey else {
                throw .outOfRange(field: "private key", offset: writer.offset)
            }
            try writer.unsigned16(UInt16(key.count), to: &bytes)
            place = try writer.reserve(key.count, in: bytes)
        case .forget(let job):
            try writer.unsigned8(Kind.forget.rawValue, to: &bytes)
            try writer.unsigned64(job, to: &bytes)
        case .connect(let worker):
            try writer.unsigned8(Kind.connect.rawValue, to: &bytes)
            try writer.unsigned32(worker, to: &bytes)
        case .ping: try writer.unsigned8(Kind.ping.rawValue, to: &bytes)
        }
        return (writer.offset, place)
    }

    /// Reads an order; the whole span must be one.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        let kind: Kind = try reader.enumeration("kind of order", in: bytes)
        switch kind {
        case .setUp:
            self = .setUp(
                opensTokens: try reader.boolean("tokens", in: bytes),
                libraryLogLevel: try reader.unsigned8("library log level", in: bytes))
        case .load: self = .load(try SignerKeys(with: &reader, from: bytes))
        case .release:
            self = .release(
                owner: try reader.credentialsOwner(in: bytes),
                generation: try reader.unsigned32("generation", in: bytes))
        case .hold:
            self = .hold(
                job: try reader.unsigned64("job", in: bytes), worker: try reader.unsigned32("worker", in: bytes),
                key: SecretRange(
                    try reader.prefixedRange("private key", limit: MessageLimit.privateKey, in: bytes)))
        case .forget: self = .forget(job: try reader.unsigned64("job", in: bytes))
        case .connect: self = .connect(worker: try reader.unsigned32("worker", in: bytes))
        case .ping: self = .ping
        }
        try reader.finish("order to the signer")
    }

    /// How many descriptors must come with it.
    package var descriptorCount: Int {
        switch self {
        case .setUp, .release, .hold, .forget, .ping: 0
        case .connect: 1
        case .load(let keys): keys.parts.filter(\.bringsDescriptor).count
        }
    }
}
