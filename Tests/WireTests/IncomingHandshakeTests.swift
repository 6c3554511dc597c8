import Handshake
import TLSWire
import Testing

@Suite("What a peer may send before its handshake is done")
struct IncomingHandshakeTests {
    private func header(_ count: Int, _ type: UInt8 = 1) -> [UInt8] {
        [type, UInt8(count >> 16), UInt8(count >> 8 & 0xFF), UInt8(count & 0xFF)]
    }

    private func take(_ pieces: [[UInt8]]) throws(HandshakeFailure) {
        var incoming = IncomingHandshake()
        for piece in pieces { try incoming.take(piece.span) }
    }

    private func tooLong(_ count: Int) -> HandshakeFailure {
        HandshakeFailure(.handshakeTooLong, "a hello of \(count) bytes, at most 16384 are taken")
    }

    @Test("a hello is judged by its header, in however many pieces that comes")
    func hello() throws {
        let longest = IncomingHandshake.longestHello
        try take([header(longest)])
        #expect(throws: tooLong(longest + 1)) { try take([header(longest + 1)]) }
        #expect(throws: tooLong(0xFF_FFFF)) { try take(header(0xFF_FFFF).map { [$0] }) }
    }

    @Test("what lies between two headers is no header")
    func second() throws {
        let body = [UInt8](repeating: 0xFF, count: 300)
        for split in [1, 3, 4, 5, 100, 303, 304, 305] {
            let stream = header(300) + body + header(20_000)
            #expect(throws: tooLong(20_000)) {
                try take([Array(stream.prefix(split)), Array(stream.dropFirst(split))])
            }
        }
        try take([header(300) + body + header(0) + header(300) + body])
    }

    @Test("a stream is at a boundary behind each message, and nowhere else")
    func boundary() throws {
        let stream = header(3, 4) + [1, 2, 3] + header(0, 24) + header(1, 4) + [9]
        var framing = HandshakeFraming(), types: [UInt8] = [], boundaries: [Int] = []
        for (offset, byte) in stream.enumerated() {
            try framing.take([byte].span) { (type, _) throws(HandshakeFailure) in types.append(type) }
            if framing.isAtBoundary { boundaries.append(offset + 1) }
        }
        #expect(types == [4, 24, 4] && boundaries == [7, 11, 16])
    }

    @Test("records are summed up with their headers, short ones as longer than they are")
    func records() throws {
        var incoming = IncomingHandshake()
        incoming.limit = 1000
        try incoming.begin(TLSRecordHeader(type: .applicationData, bodyLength: 867))
        try incoming.begin(TLSRecordHeader(type: .applicationData, bodyLength: 1))
        #expect(throws: HandshakeFailure(.handshakeTooLong, "more than 1000 bytes, [limits] handshake_bytes")) {
            try incoming.begin(TLSRecordHeader(type: .handshake, bodyLength: 60))
        }
    }

    @Test("reads of a few bytes are counted as more, so that a peer cannot wake a worker for each byte")
    func reads() throws {
        var incoming = IncomingHandshake()
        incoming.limit = 3200
        for _ in 0..<103 { try incoming.read(1) }
        try incoming.read(32)
        try incoming.read(5000)
        #expect(throws: HandshakeFailure.self) { try incoming.read(1) }
    }
}

@Suite("ASN.1 elements of DER")
struct DERElementsTests {
    private func count(_ bytes: [UInt8]) -> Int { DERElements.count(in: bytes.span) }

    /// SEQUENCE { INTEGER, OID, extension { OCTET STRING { SEQUENCE { [2], [2] } } }, BIT STRING }.
    private static let sample: [UInt8] = [
        0x30, 0x16, 0x02, 0x01, 0x05, 0x06, 0x01, 0x2A, 0x30, 0x0A, 0x04, 0x08, 0x30, 0x06, 0x82, 0x01, 0x61, 0x82,
        0x01, 0x62, 0x03, 0x02, 0x00, 0x30,
    ]

    @Test("each element counts, and those inside OCTET STRINGs")
    func counts() {
        #expect(count([]) == 0)
        #expect(count(Self.sample) == 9)
        #expect(count([0x1F, 0x81, 0x01, 0x01, 0xFF]) == 1)
        #expect(count([0x04, 0x81, 0x03, 0x30, 0x01, 0x00]) == 3)
    }

    @Test("bytes that are no element count as many as there could be")
    func malformed() {
        #expect(count([0x30, 0x80] + [UInt8](repeating: 0, count: 10)) == 6)
        #expect(count([0x02, 0x09, 0x01, 0x01]) == 2)
        #expect(count([0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF, 0x05, 0x00]) == 4)
        #expect(count([UInt8](repeating: 0xFF, count: 99)) == 50)
        // Deeper than is followed.
        #expect(count([UInt8](repeating: 0x30, count: 1000)) >= 250)
    }

    @Test("an element that claims more than encloses it hides none that follow")
    func desynchronised() {
        // The INTEGER inside the first SEQUENCE claims to reach beyond it; ten NULLs follow.
        let nulls = [[UInt8]](repeating: [0x05, 0x00], count: 10).flatMap(\.self)
        let stream: [UInt8] = [0x30, 0x04, 0x02, 0x14, 0x00, 0x00] + nulls
        #expect(count(stream) >= 11)
    }

    @Test("cut short or with a bit turned over, it is counted all the same, and never as more than there can be")
    func robust() {
        for length in 0...Self.sample.count {
            #expect(count(Array(Self.sample.prefix(length))) <= (length + 1) / 2 + 1)
        }
        for bit in 0..<(Self.sample.count * 8) {
            var bytes = Self.sample
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect((1...(bytes.count + 1)).contains(count(bytes)))
        }
    }
}
