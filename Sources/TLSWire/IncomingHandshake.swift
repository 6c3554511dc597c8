package import Handshake

/// Counts the bytes that a peer sends during its handshake, so that its memory is bounded.
///
/// The length of an unencrypted handshake message, that is a hello, is in its first four bytes. Later messages are
/// encrypted, and only the sum of their record lengths is limited.
package struct IncomingHandshake: Sendable {
    /// Maximum length of a hello. One with shares of three hybrid groups and a PSK has 5 kB.
    package static let longestHello = 16_384

    /// Minimum number of bytes that a record is counted as, because each record takes time however short it is. A peer
    /// that must send short records fills each of them (RFC 8449 §4).
    package static let leastRecord = 64

    /// Bytes of all records.
    package var limit = HandshakeBytes.standard
    private var taken = 0
    /// First bytes of a hello's header, in network order.
    private var header = 0
    private var headerCount = 0
    /// Remaining bytes of a hello.
    private var left = 0

    package init() {}

    /// Counts a record from its header.
    package mutating func begin(_ record: TLSRecordHeader) throws(HandshakeFailure) {
        taken += max(Self.leastRecord, TLSRecordHeader.size + record.bodyLength)
        guard taken <= limit else {
            throw HandshakeFailure(.handshakeTooLong, "more than \(limit) bytes, [limits] handshake_bytes")
        }
    }

    /// Processes a part of an unencrypted handshake record.
    package mutating func take(_ bytes: Span<UInt8>) throws(HandshakeFailure) {
        var position = 0
        while position < bytes.count {
            guard left == 0 else {
                let count = min(left, bytes.count - position)
                left -= count
                position += count
                continue
            }
            header = header << 8 | Int(bytes[position])
            headerCount += 1
            position += 1
            // One byte of type, three of length (RFC 8446 §4).
            guard headerCount == 4 else { continue }
            left = header & 0xFF_FFFF
            (header, headerCount) = (0, 0)
            guard left <= Self.longestHello else {
                throw HandshakeFailure(
                    .handshakeTooLong, "a hello of \(left) bytes, at most \(Self.longestHello) are taken")
            }
        }
    }
}
