package import Wire

/// Messages at the start of the buffer.
extension SecretBuffer {
    /// Parses the first `length` bytes, which must be exactly one message.
    package mutating func read<Message: ChannelMessage>(first length: Int) throws(WireError) -> Message {
        try withMutableSpan { (bytes) throws(WireError) in try Message(from: &bytes, length: length) }
    }

    /// Writes a message.
    ///
    /// - Returns: The length, and the message with the places to which the caller must copy the secrets.
    package mutating func write<Message: ChannelMessage>(
        _ message: Message
    ) throws(WireError) -> (length: Int, placed: Message) {
        try withMutableSpan { (bytes) throws(WireError) in try message.encode(to: &bytes) }
    }
}
