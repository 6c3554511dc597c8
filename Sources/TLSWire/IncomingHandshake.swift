internal import Handshake

/// Counts what a peer sends before its handshake is done, so that it ends before it takes more memory than it may.
///
/// Handshake messages in clear text, which are hellos, show their length in their first four bytes; those behind them
/// are encrypted, and their records' bytes are summed up.
package struct IncomingHandshake: Sendable {
    /// Why the handshake must end.
    package enum Excess: Error, Sendable, Equatable {
        /// A hello is announced with more bytes than `longestHello`.
        case hello(count: Int)
        /// All records together.
        case records(limit: Int)

        /// What is wrong, for a log line.
        package var description: String {
            switch self {
            case .hello(let count): "a hello of \(count) bytes, at most \(IncomingHandshake.longestHello) are taken"
            case .records(let limit): "more than \(limit) bytes, [limits] handshake_bytes"
            }
        }
    }

    /// The longest hello. One with shares of three hybrid groups and a PSK has 5 kB.
    package static let longestHello = 16_384

    /// What a record counts at least, since each takes time, however short it is. Peers that must send short records
    /// send as many bytes in each (RFC 8449 §4).
    package static let leastRecord = 64

    /// Bytes of all records.
    package var limit = HandshakeBytes.standard
    private var taken = 0
    /// The first bytes of a hello's header, most significant first.
    private var header = 0
    private var headerCount = 0
    /// Bytes that are left of a hello.
    private var left = 0

    package init() {}

    /// A record begins.
    package mutating func begin(_ record: TLSRecordHeader) throws(Excess) {
        taken += max(Self.leastRecord, TLSRecordHeader.size + record.bodyLength)
        guard taken <= limit else { throw .records(limit: limit) }
    }

    /// Part of a handshake record in clear text has come.
    package mutating func take(_ bytes: Span<UInt8>) throws(Excess) {
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
            guard left <= Self.longestHello else { throw .hello(count: left) }
        }
    }
}
