/// A message of a channel between our processes; docs/broker-protocol.md. The first byte is the kind.
package protocol ChannelMessage: MessageFields, Sendable, Equatable {
    associatedtype Kind: RawRepresentable<UInt8>, CaseIterable, Sendable, Hashable
    /// State of the receiver.
    associatedtype State: RawRepresentable<String>, CaseIterable, Sendable, Hashable
    /// Messages in the other direction of the same channel.
    associatedtype Opposite: ChannelMessage

    /// Name for errors.
    static var title: String { get }
    static var firstState: State { get }
    /// The permit table: one row for each kind.
    static var permits: [Permit<Self>] { get }
    /// The kind by the first byte; `nil` if it is unknown.
    static func kind(firstByte: UInt8) -> Kind?
    var kind: Kind { get }
    /// A blank message, whose fields are to be read.
    init(_ kind: Kind)
    /// Writes or reads the fields after the kind.
    mutating func codeFields(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError)
    /// The handshake or credentials that the message is about.
    var reference: MessageReference { get }
    /// Number of files that the message lists, each of which comes as a descriptor.
    var fileCount: Int { get }
}

extension ChannelMessage {
    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        var kind = kind
        try coder.choice("kind of \(Self.title)", &kind, in: &bytes)
        if coder.isReading { self = Self(kind) }
        try codeFields(&coder, in: &bytes)
    }

    package static func kind(firstByte: UInt8) -> Kind? { Kind(rawValue: firstByte) }

    package var reference: MessageReference { .none }
    package var fileCount: Int { 0 }

    /// Number of descriptors that must come with the message.
    package var descriptorCount: Int { Self.permit(for: kind)?.descriptors.count(with: self) ?? 0 }

    /// The row of a kind; `nil` if it is never permitted.
    static func permit(for kind: Kind) -> Permit<Self>? { permits.first { $0.kind == kind } }

    /// A message into which one is read; its kind does not matter.
    static var blank: Self { Self(permits[0].kind) }

    /// Writes the message.
    ///
    /// - Returns: its length, and the message with the places to which the caller must copy the secrets.
    package func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> (length: Int, placed: Self) {
        var coder = MessageCoder.writing(Self.title, limit: bytes.count)
        var placed = self
        try placed.code(&coder, in: &bytes)
        return (coder.offset, placed)
    }

    /// Reads a message, which must be exactly the first `length` bytes.
    package init(from bytes: inout MutableSpan<UInt8>, length: Int) throws(WireError) {
        precondition(length <= bytes.count)
        var coder = MessageCoder.reading(Self.title, length: length)
        self = .blank
        try code(&coder, in: &bytes)
        try coder.finish()
    }
}
