import InspectWire
import Testing
import Wire

@Suite("RPC's question for TLS")
struct RPCTLSProbeTests {
    private static let transaction: UInt32 = 0x1234_5678
    private static let startTLS = hex("12345678 00000001 00000000 00000000 00000008 5354415254544c53 00000000")

    private static func read(_ bytes: [UInt8]) throws(WireError) -> RPCTLSAnswer {
        try RPCTLSAnswer(from: bytes.span, transaction: transaction)
    }

    @Test("the call is a NULL call of NFS with AUTH_TLS in one fragment")
    func call() {
        let expected = hex(
            """
            80000028 12345678 00000000 00000002 # mark, transaction, CALL, RPC 2
            000186a3 00000004 00000000 # NFS, version 4, NULL
            00000007 00000000 00000000 00000000 # AUTH_TLS, no verifier
            """)
        #expect(RPCTLSProbe.call(transaction: Self.transaction) == expected)
    }

    @Test("the verifier STARTTLS is understood, whatever became of the call")
    func startTLS() throws {
        #expect(try Self.read(Self.startTLS) == .startTLS)
        let mismatch = Self.startTLS.dropLast(4) + hex("00000002 00000003 00000004")
        #expect(try Self.read(Array(mismatch)) == .startTLS)
    }

    @Test(
        "other answers are told apart",
        arguments: [
            ("12345678 00000001 00000000 00000000 00000000 00000000", RPCTLSAnswer.acceptedWithoutTLS),
            ("12345678 00000001 00000000 00000001 00000008 5354415254544c53 00000000", .acceptedWithoutTLS),
            ("12345678 00000001 00000001 00000001 00000001", .flavorRefused(status: 1)),
            ("12345678 00000001 00000001 00000000 00000002 00000002", .versionRefused),
        ])
    func answers(text: String, answer: RPCTLSAnswer) throws {
        #expect(try Self.read(hex(text)) == answer)
    }

    @Test(
        "each broken field is named with its place",
        arguments: [
            ("00000000 00000001", WireError.unknownValue(field: "transaction", value: 0, offset: 0)),
            ("12345678 00000000", .unknownValue(field: "message type", value: 0, offset: 4)),
            ("12345678 00000001 00000002", .unknownValue(field: "reply status", value: 2, offset: 8)),
            ("12345678 00000001 00000000 00000000 00000191", .outOfRange(field: "length of the verifier", offset: 16)),
            ("12345678 00000001 00000001 00000007", .unknownValue(field: "reject status", value: 7, offset: 12)),
        ])
    func broken(text: String, error: WireError) {
        #expect(throws: error) { try Self.read(hex(text)) }
    }

    @Test("it is refused when cut off anywhere")
    func truncated() {
        for length in 0..<Self.startTLS.count {
            #expect(throws: WireError.self, "\(length) bytes") { try Self.read(Array(Self.startTLS.prefix(length))) }
        }
    }

    @Test("no flipped bit turns another answer into STARTTLS, and only the call's own fate may differ in one that is")
    func flipped() {
        for flip in bitFlips(of: Self.startTLS) {
            let isFate = flip.index >= Self.startTLS.count - 4
            #expect(((try? Self.read(flip.bytes)) == .startTLS) == isFate, "bit \(flip.bit) of byte \(flip.index)")
        }
    }

    @Test("a record mark has a length and the last fragment's bit")
    func mark() throws {
        let last = try RPCTLSProbe.RecordMark(from: hex("8000001c").span)
        #expect(last.isLast && last.length == 28)
        #expect(try RPCTLSProbe.RecordMark(from: hex("0000001c").span).isLast == false)
        #expect(throws: WireError.truncated(field: "record mark", offset: 0)) {
            try RPCTLSProbe.RecordMark(from: hex("800000").span)
        }
    }
}
