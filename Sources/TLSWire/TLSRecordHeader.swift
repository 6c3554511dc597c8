package import Handshake
package import Wire

/// The header of a TLS record (RFC 8446 §5.1).
package struct TLSRecordHeader: Sendable, Equatable {
    /// Length of a header in bytes.
    package static let size = 5
    /// Maximum length of a protected record: 2^14 bytes plus 256.
    package static let longestBody = longestPlainBody + 256
    /// Maximum length of an unprotected record.
    package static let longestPlainBody = 16_384

    package enum ContentType: UInt8, Sendable, Equatable, CaseIterable {
        case changeCipherSpec = 20
        case alert = 21
        case handshake = 22
        case applicationData = 23

        /// Name in RFC 8446.
        package var name: String {
            switch self {
            case .changeCipherSpec: "change_cipher_spec"
            case .alert: "alert"
            case .handshake: "handshake"
            case .applicationData: "application_data"
            }
        }
    }

    package var type: ContentType
    /// Length of the body; at least 1.
    package var bodyLength: Int

    package init(type: ContentType, bodyLength: Int) {
        self.type = type
        self.bodyLength = bodyLength
    }

    /// Parses the first five bytes of `bytes`. The version is ignored, as RFC 8446 §5.1 requires.
    ///
    /// - Throws: The reason why it is no record of TLS 1.3; `outOfRange` if it is too long.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        type = try reader.enumeration("record type", in: bytes)
        _ = try reader.unsigned16("record version", in: bytes)
        bodyLength = Int(try reader.unsigned16("record length", in: bytes))
        guard bodyLength > 0 else { throw .missing(field: "the record's content") }
        guard bodyLength <= (type == .applicationData ? Self.longestBody : Self.longestPlainBody) else {
            throw .outOfRange(field: "record length", offset: 3)
        }
    }
}

/// A guess at the protocol of bytes that are not TLS. Used in messages only.
package enum PlainText: Sendable, Equatable {
    /// An RPC record (RFC 5531 §11) with a call or a reply.
    case rpcCall
    case rpcReply
    /// An RPC reply to the probe of RFC 9289 §4.1.
    case rpcStartTLS
    /// ICReq or ICResp of NVMe/TCP, the first PDUs of a connection without TLS.
    case nvmeInitializeRequest
    case nvmeInitializeResponse
    /// Another NVMe/TCP PDU.
    case nvme(type: UInt8)
    case http
    case ssh
    case unknown

    /// Guesses from the first bytes of the stream.
    package init(lookingAt bytes: [UInt8]) {
        func starts(with text: String) -> Bool { bytes.starts(with: text.utf8) }
        if starts(with: "SSH-") {
            self = .ssh
        } else if ["HTTP/", "GET ", "POST ", "HEAD ", "PUT ", "OPTIONS "].contains(where: starts) {
            self = .http
        } else if let type = Self.nvmeType(of: bytes) {
            switch type {
            case 0x00: self = .nvmeInitializeRequest
            case 0x01: self = .nvmeInitializeResponse
            default: self = .nvme(type: type)
            }
        } else {
            self = Self.rpc(in: bytes)
        }
    }

    /// A clause that follows "the peer sent".
    package var description: String {
        switch self {
        case .rpcCall: "an RPC call"
        case .rpcReply: "an RPC reply"
        case .rpcStartTLS: "another RPC reply with STARTTLS"
        case .nvmeInitializeRequest: "an NVMe ICReq"
        case .nvmeInitializeResponse: "an NVMe ICResp"
        case .nvme(let type): "an NVMe PDU of type \(type)"
        case .http: "HTTP"
        case .ssh: "SSH"
        case .unknown: "bytes of no known protocol"
        }
    }

    /// PDU types and their header lengths (NVMe/TCP Transport Specification §3.6.2).
    private static let nvmeHeaderLengths: [UInt8: UInt8] = [
        0x00: 128, 0x01: 128, 0x02: 24, 0x03: 24, 0x04: 72, 0x05: 24, 0x06: 24, 0x07: 24, 0x09: 24,
    ]

    private static func nvmeType(of bytes: [UInt8]) -> UInt8? {
        guard bytes.count >= 3, nvmeHeaderLengths[bytes[0]] == bytes[2] else { return nil }
        return bytes[0]
    }

    private static func rpc(in bytes: [UInt8]) -> PlainText {
        // Record mark with "last fragment", transaction ID, message type.
        guard bytes.count >= 12, bytes[0] & 0x80 != 0, bytes[8...10].allSatisfy({ $0 == 0 }) else { return .unknown }
        switch bytes[11] {
        case 0: return .rpcCall
        case 1:
            let isStartTLS =
                bytes.count >= 8
                && bytes.indices.dropLast(7).contains { start in
                    bytes[start..<(start + 8)].elementsEqual("STARTTLS".utf8)
                }
            return isStartTLS ? .rpcStartTLS : .rpcReply
        default: return .unknown
        }
    }
}

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

    /// Minimum number of bytes that a read of the socket is counted as: a peer that sends a byte at a time wakes the
    /// worker for each.
    package static let leastRead = 32

    /// Limit of the bytes of all records.
    package var limit = HandshakeBytes.standard
    private var taken = 0
    private var framing = HandshakeFraming()

    package init() {}

    /// Counts a record from its header.
    package mutating func begin(_ record: TLSRecordHeader) throws(HandshakeFailure) {
        try count(max(Self.leastRecord, TLSRecordHeader.size + record.bodyLength))
    }

    /// Counts a read of the socket, by what it lacks to `leastRead`.
    package mutating func read(_ bytes: Int) throws(HandshakeFailure) {
        try count(max(0, Self.leastRead - bytes))
    }

    private mutating func count(_ bytes: Int) throws(HandshakeFailure) {
        taken += bytes
        guard taken <= limit else {
            throw HandshakeFailure(.handshakeTooLong, "more than \(limit) bytes, [limits] handshake_bytes")
        }
    }

    /// Processes a part of an unencrypted handshake record.
    package mutating func take(_ bytes: Span<UInt8>) throws(HandshakeFailure) {
        try framing.take(bytes) { (_, length) throws(HandshakeFailure) in
            guard length <= Self.longestHello else {
                throw HandshakeFailure(
                    .handshakeTooLong, "a hello of \(length) bytes, at most \(Self.longestHello) are taken")
            }
        }
    }
}

/// Boundaries of the messages in a stream of handshake bytes, which records divide anywhere (RFC 8446 §5.1).
package struct HandshakeFraming: Sendable {
    /// First bytes of a message's header, in network order.
    private var header = 0
    private var headerCount = 0
    /// Remaining bytes of a message.
    private var left = 0

    package init() {}

    /// True if the next byte is the first of a message.
    package var isAtBoundary: Bool { headerCount == 0 && left == 0 }

    /// Processes the next bytes.
    ///
    /// - Parameter begin: called with type and length of each message whose header is complete.
    package mutating func take(
        _ bytes: Span<UInt8>, begin: (UInt8, Int) throws(HandshakeFailure) -> Void
    ) throws(HandshakeFailure) {
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
            let type = UInt8(header >> 24)
            left = header & 0xFF_FFFF
            (header, headerCount) = (0, 0)
            try begin(type, left)
        }
    }
}
