package import Wire

/// Messages, written to the start of the buffer and read from there.
extension SecretBuffer {
    /// Reads the first `length` bytes, which must be one message.
    package func read<Message: ChannelMessage>(first length: Int) throws(WireError) -> Message {
        try withSpan(first: length) { (bytes) throws(WireError) in try Message(from: bytes) }
    }

    /// Writes a message and returns its length.
    package mutating func write(_ message: some PlainMessage) throws(WireError) -> Int {
        try withMutableSpan { (bytes) throws(WireError) in try message.encode(to: &bytes) }
    }

    /// Writes a message.
    ///
    /// - Returns: its length, and the places where the caller must copy the secrets.
    package mutating func write<Message: SecretMessage>(
        _ message: Message
    ) throws(WireError) -> (length: Int, places: Message.Places) {
        try withMutableSpan { (bytes) throws(WireError) in try message.encode(to: &bytes) }
    }
}
