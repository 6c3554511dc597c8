/// A message of a channel between our processes; docs/broker-protocol.md. The first byte is the kind.
package protocol ChannelMessage: MessageFields, Sendable, Equatable {
    associatedtype Kind: RawRepresentable<UInt8>, CaseIterable, Sendable, Hashable

    /// Name for errors.
    static var title: String { get }
    var kind: Kind { get }
    /// A blank message, whose fields are to be read.
    init(_ kind: Kind)
    /// Writes or reads the fields after the kind.
    mutating func codeFields(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError)
    /// A message into which one is read.
    static var blank: Self { get }
    /// Number of descriptors that must come with it.
    var descriptorCount: Int { get }
}

extension ChannelMessage {
    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        var kind = kind
        try coder.choice("kind of \(Self.title)", &kind, in: &bytes)
        if coder.isReading { self = Self(kind) }
        try codeFields(&coder, in: &bytes)
    }

    package var descriptorCount: Int { 0 }

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
