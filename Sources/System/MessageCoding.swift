package import Wire

/// Messages at the start of the buffer.
extension SecretBuffer {
    /// Parses the first `length` bytes, which must be exactly one message.
    package func read<Message: ChannelMessage>(first length: Int) throws(WireError) -> Message {
        try withSpan(first: length) { (bytes) throws(WireError) in try Message(from: bytes) }
    }

    /// Writes a message and returns its length.
    package mutating func write(_ message: some PlainMessage) throws(WireError) -> Int {
        try withMutableSpan { (bytes) throws(WireError) in try message.encode(to: &bytes) }
    }

    /// Writes a message.
    ///
    /// - Returns: The length, and the offsets to which the caller must copy the secrets.
    package mutating func write<Message: SecretMessage>(
        _ message: Message
    ) throws(WireError) -> (length: Int, places: Message.Places) {
        try withMutableSpan { (bytes) throws(WireError) in try message.encode(to: &bytes) }
    }
}
