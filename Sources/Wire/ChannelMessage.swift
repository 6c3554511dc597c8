/// A message of a channel between our processes; docs/broker-protocol.md.
package protocol ChannelMessage: Sendable, Equatable {
    /// Reads a message; the whole span must be one.
    init(from bytes: Span<UInt8>) throws(WireError)
}

/// A message that never carries a secret.
package protocol PlainMessage: ChannelMessage {
    /// Writes the message and returns its length.
    func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> Int
}

/// A message that may carry secrets. Codecs never see them: writing leaves room, reading says where they are.
package protocol SecretMessage: ChannelMessage {
    /// Where the secrets belong in the message as it was written.
    associatedtype Places

    /// Writes the message.
    ///
    /// - Returns: its length, and the places where the caller must copy the secrets.
    func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> (length: Int, places: Places)

    /// How many descriptors must come with it.
    var descriptorCount: Int { get }
}
