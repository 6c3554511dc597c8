package import Wire

/// The probe for TLS support of an RPC server, and its answer: a NULL call with the flavor AUTH_TLS (RFC 9289 §4.1, RFC
/// 5531 §9, §11).
package enum RPCTLSProbe {
    /// NFS (RFC 7530 §1.3.1). A NULL call of any version is sufficient.
    package static let program: UInt32 = 100_003
    package static let version: UInt32 = 4
    /// Maximum length of an answer in bytes.
    package static let answerLimit = 512

    /// AUTH_TLS.
    private static let flavor: UInt32 = 7
    /// The highest bit of a record mark: the last fragment of the record.
    private static let lastFragment: UInt32 = 0x8000_0000

    /// The call, including its record mark.
    package static func call(transaction: UInt32) -> [UInt8] {
        // Transaction, CALL, RPC version, program, version, NULL, then credential and verifier, both of length 0.
        let words: [UInt32] = [transaction, 0, 2, program, version, 0, flavor, 0, 0, 0]
        return ([lastFragment | UInt32(words.count * 4)] + words).flatMap { word in
            (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32(24 - 8 * $0)) }
        }
    }

    /// Content of a record mark.
    package struct RecordMark: Sendable, Equatable {
        /// Length of the fragment in bytes.
        package let length: Int
        package let isLast: Bool

        /// Parses the first four bytes.
        package init(from bytes: Span<UInt8>) throws(WireError) {
            var reader = ByteReader(to: bytes.count)
            let word = try reader.unsigned32("record mark", in: bytes)
            length = Int(word & ~RPCTLSProbe.lastFragment)
            isLast = word & RPCTLSProbe.lastFragment != 0
        }
    }
}

/// The answer of an RPC server to the probe.
package enum RPCTLSAnswer: Sendable, Equatable {
    /// The verifier contains STARTTLS: TLS begins with the next byte.
    case startTLS
    /// The call was accepted without STARTTLS.
    case acceptedWithoutTLS
    /// The server does not know the flavor: MSG_DENIED with AUTH_ERROR and this auth_stat.
    case flavorRefused(status: UInt32)
    /// MSG_DENIED with RPC_MISMATCH: the server uses another version of RPC.
    case versionRefused

    /// Parses a complete reply without record marks.
    ///
    /// - Throws: The reason why it is no reply to the call of this transaction.
    package init(from bytes: Span<UInt8>, transaction: UInt32) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        let answered = try reader.unsigned32("transaction", in: bytes)
        guard answered == transaction else {
            throw .unknownValue(field: "transaction", value: UInt64(answered), offset: 0)
        }
        let kind = try reader.unsigned32("message type", in: bytes)
        guard kind == 1 else { throw .unknownValue(field: "message type", value: UInt64(kind), offset: 4) }
        let status = try reader.unsigned32("reply status", in: bytes)
        switch status {
        case 0: self = try Self.accepted(&reader, in: bytes)
        case 1: self = try Self.denied(&reader, in: bytes)
        default: throw .unknownValue(field: "reply status", value: UInt64(status), offset: 8)
        }
    }

    /// Only the verifier matters. The result of the call itself, such as PROG_MISMATCH, does not.
    private static func accepted(
        _ reader: inout ByteReader, in bytes: Span<UInt8>
    ) throws(WireError) -> RPCTLSAnswer {
        let flavor = try reader.unsigned32("flavor of the verifier", in: bytes)
        let start = reader.offset
        let length = try reader.unsigned32("length of the verifier", in: bytes)
        // RFC 5531 §8.2.
        guard length <= 400 else { throw .outOfRange(field: "length of the verifier", offset: start) }
        let body = try reader.range((Int(length) + 3) / 4 * 4, "verifier").prefix(Int(length))
        _ = try reader.unsigned32("accept status", in: bytes)
        let isStartTLS = flavor == 0 && body.map { bytes[$0] }.elementsEqual("STARTTLS".utf8)
        return isStartTLS ? .startTLS : .acceptedWithoutTLS
    }

    private static func denied(_ reader: inout ByteReader, in bytes: Span<UInt8>) throws(WireError) -> RPCTLSAnswer {
        let start = reader.offset
        let reason = try reader.unsigned32("reject status", in: bytes)
        switch reason {
        case 0:
            _ = try reader.range(8, "versions of RPC")
            return .versionRefused
        case 1: return .flavorRefused(status: try reader.unsigned32("authentication status", in: bytes))
        default: throw .unknownValue(field: "reject status", value: UInt64(reason), offset: start)
        }
    }
}
